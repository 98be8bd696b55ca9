"""`gdna scans export`: one scan as PLY and npz."""

from __future__ import annotations

from gdna.apps.config_scans import ScansExport
from gdna.errors import GdnaError
from gdna.scans.export import export_scan
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack


def run(keys: ScansExport) -> None:
    pack = open_pack(find_pack(keys.pack))
    if keys.person is not None:
        name = keys.person
    else:
        held_out, index = pack.people(held_out=True), keys.held_out or 0
        if not 0 <= index < len(held_out):
            raise GdnaError(f"held_out={index}: expected 0 to {len(held_out) - 1}, so many people are held out")
        name = held_out[index].about.person
    print("\n".join(str(path) for path in export_scan(pack.read(pack.find(name, keys.pose)), keys.out)))
