"""A stand-in."""

from __future__ import annotations

from pathlib import Path

from gdna.data.scan import read_mesh
from gdna.fit.types import RawScan


def read_raw_scan(path: Path | str, intrinsics: object = None) -> RawScan:
    vertices, faces = read_mesh(path)
    return RawScan(Path(path).stem, vertices, faces, None)
