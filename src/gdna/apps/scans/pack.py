"""`gdna scans pack`: folders of scans, and packs, into one pack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gdna.apps.batch import in_order
from gdna.apps.config_scans import ScansPack
from gdna.apps.progress import track
from gdna.scans.build import Packed, PackPlace, build_pack


def run(keys: ScansPack) -> None:
    def pack_places(work: PackPlace, places: Sequence[Path]) -> Iterator[list[Packed]]:
        return track(in_order(work, places, keys.workers), len(places), "pack", "sources")

    pack = build_pack(keys.out, keys.source, keys.quantum / 1000, pack_places)
    size = pack.path.stat().st_size
    held_out = {entry.about.person: entry.held_out for entry in pack.entries}
    print(
        f"{pack.path}: {len(pack)} scans of {len(held_out)} people, {sum(held_out.values())} held out; "
        f"{size / 2**20:.1f} MB, {size / len(pack) / 1000:.1f} kB a scan"
    )
