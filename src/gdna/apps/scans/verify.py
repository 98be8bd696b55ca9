"""`gdna scans verify`: one JSON object about a pack."""

from __future__ import annotations

import json
from dataclasses import asdict

from gdna.apps.config_scans import ScansVerify
from gdna.apps.progress import track
from gdna.errors import GdnaError
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack
from gdna.scans.verify import verify


def run(keys: ScansVerify) -> None:
    pack = open_pack(find_pack(keys.pack))
    report = verify(pack, track(pack.entries, len(pack), "verify", "scans"))
    print(json.dumps(asdict(report), indent=1))
    if report.faults:
        raise GdnaError(f"{pack.path}: {report.bad} of {len(pack)} scans are bad; first: {report.faults[0]}")
