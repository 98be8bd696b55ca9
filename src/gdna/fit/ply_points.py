"""The vertices of a PLY file without faces, with their normals: what mesh readers drop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gdna.errors import GdnaError

NUMBERS = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY says of its vertices, which must come first."""

    form: str
    count: int
    properties: tuple[tuple[str, str], ...]  # name, numpy's type
    faces: int
    size: int  # bytes


def read_header(path: Path) -> PlyHeader:
    """Raises `GdnaError` where it is none."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    head, found, _ = start.partition(b"end_header")
    line_end = start.find(b"\n", len(head))
    if not start.startswith(b"ply") or not found or line_end < 0:
        raise GdnaError(f"{path}: no PLY header; export it again")
    form, element, first, counts, properties = "", "", "", {"vertex": 0, "face": 0}, []
    try:
        for line in head.decode("ascii", "replace").splitlines():
            words = line.split()
            if words[:1] == ["format"]:
                form = words[1]
            elif words[:1] == ["element"]:
                element = words[1]
                first = first or element
                counts[element] = int(words[2])
            elif words[:1] == ["property"] and element == "vertex":
                properties.append((words[-1], NUMBERS[words[1]]))
    except (IndexError, KeyError, ValueError) as error:
        raise GdnaError(f"{path}: a PLY header that is not understood ({error}); export it again") from error
    if form not in BYTE_ORDERS or (first != "vertex" and counts["face"] == 0):
        raise GdnaError(
            f"{path}: a PLY of format {form or 'none'}, starting with {first or 'nothing'}; expected vertices"
        )
    return PlyHeader(form, counts["vertex"], tuple(properties), counts["face"], line_end + 1)


def read_points(path: Path, header: PlyHeader) -> Float[np.ndarray, "N k"]:
    """x y z, and nx ny nz where they are told. Raises `GdnaError` where the file is cut short or has no x, y, z."""
    names = [name for name, _ in header.properties]
    wanted: list[str] = [n for n in ("x", "y", "z") if n in names]
    if len(wanted) < 3:
        raise GdnaError(f"{path}: vertices with {', '.join(names) or 'nothing'}; expected x, y, z")
    if all(n in names for n in ("nx", "ny", "nz")):
        wanted += ["nx", "ny", "nz"]
    try:
        if header.form == "ascii":
            with path.open("rb") as file:
                file.seek(header.size)
                rows = np.loadtxt(file, max_rows=header.count, ndmin=2)
            return rows[:, [names.index(n) for n in wanted]]
        order = BYTE_ORDERS[header.form]
        kind = np.dtype([(name, order + number) for name, number in header.properties])
        table = np.fromfile(path, kind, header.count, offset=header.size)
    except (ValueError, IndexError, OSError) as error:
        raise GdnaError(f"{path}: not a readable PLY ({error}); export it again") from error
    if len(table) < header.count:
        raise GdnaError(f"{path}: {len(table)} of {header.count} vertices; the file was cut short")
    return np.stack([table[n].astype(np.float64) for n in wanted], axis=1)
