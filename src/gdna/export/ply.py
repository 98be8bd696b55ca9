"""Meshes as binary PLY files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path

HEADER = """ply
format binary_little_endian 1.0
comment metres, y up
element vertex {vertices}
property float x
property float y
property float z
property float nx
property float ny
property float nz
element face {faces}
property list uchar int vertex_indices
end_header
"""


def write_ply(
    path: Path | str, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], normals: Float[Tensor, "V 3"]
) -> None:
    """Vertices with normals, and faces. Raises `GdnaError` where a face names a vertex that is not there."""
    corners = faces.cpu().numpy()
    if corners.size and (corners.min() < 0 or corners.max() >= len(vertices)):
        found = f"{corners.min()} to {corners.max()}"
        raise GdnaError(f"{path}: faces name vertices {found}, the mesh has {len(vertices)}; check the faces")
    points = np.concatenate([vertices.detach().cpu().numpy(), normals.detach().cpu().numpy()], 1).astype("<f4")
    rows = np.empty(len(corners), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"], rows["corners"] = 3, corners
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(HEADER.format(vertices=len(points), faces=len(rows)).encode("ascii"))
        file.write(points.tobytes())
        file.write(rows.tobytes())
