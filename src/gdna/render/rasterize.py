"""Which face is seen at which pixel: a z-buffer in plain torch (the definition) and the same fused in numba.

A pixel belongs to a face if its centre lies in the face or on its border; the nearest face wins, the lower index at
equal depth. Both backends make the same float32 operations in the same order, so they agree to the last bit on a
CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.render.camera import Orthographic

ROWS_AT_ONCE = 4_000_000  # (face, pixel) pairs of the reference


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees. `face` is meaningless, and `barycentric` zero, outside `mask`."""

    face: Int[Tensor, "H W"]
    barycentric: Float[Tensor, "H W 3"]
    mask: Bool[Tensor, "H W"]

    def interpolate(self, values: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "P C"]:
        """Values at the P pixels of the mask, in row-major order, from values at the vertices."""
        corners = faces[self.face[self.mask]]
        weights = self.barycentric[self.mask]
        a, b, c = (values[corners[:, k]] * weights[:, k, None] for k in range(3))
        return a + b + c


def rasterize(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], camera: Orthographic, backend: str = "auto"
) -> Fragments:
    """Fragments of a mesh; faces are seen from both sides. "auto" takes the fused kernel on a CPU and the reference
    elsewhere.
    """
    if backend == "fused" and vertices.device.type != "cpu":
        raise GdnaError(
            f"rasterize: backend 'fused' runs on a CPU, the mesh lies on {vertices.device}; use 'reference'"
        )
    if backend not in ("auto", "reference", "fused"):
        raise GdnaError(f"rasterize: unknown backend {backend!r}; expected 'auto', 'reference' or 'fused'")
    fused = backend == "fused" or (backend == "auto" and vertices.device.type == "cpu")
    corners = camera.to_pixels(vertices.detach().float())
    return _fused(corners, faces, camera.image_size) if fused else _reference(corners, faces, camera.image_size)


def _fused(corners: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], size: int) -> Fragments:
    from gdna.render.raster_kernels import z_buffer

    face, barycentric = z_buffer(corners.contiguous().numpy(), faces.long().contiguous().numpy(), size)
    found = torch.from_numpy(face)
    return Fragments(found, torch.from_numpy(barycentric), found >= 0)


@dataclass(frozen=True)
class _Screen:
    """Faces on the image: corners, the pixels of their bounding boxes, twice their signed area."""

    x: Float[Tensor, "F 3"]
    y: Float[Tensor, "F 3"]
    z: Float[Tensor, "F 3"]
    first: Int[Tensor, "F 2"]
    extent: Int[Tensor, "F 2"]
    area: Float[Tensor, " F"]

    def edges(self, face: Int[Tensor, " N"], column: Int[Tensor, " N"], row: Int[Tensor, " N"]) -> Float[Tensor, "N 3"]:
        """Twice the signed areas of the three parts into which the pixel's centre divides the face."""
        x, y = self.x[face] - column[:, None], self.y[face] - row[:, None]
        parts = [x[:, i] * y[:, j] - x[:, j] * y[:, i] for i, j in ((1, 2), (2, 0), (0, 1))]
        return torch.stack(parts, -1)


def _screen(corners: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], size: int) -> _Screen:
    x, y, z = corners[faces].unbind(-1)
    xy = torch.stack([x, y], -1)
    first = xy.amin(1).ceil().clamp(0, size).long()
    last = xy.amax(1).floor().clamp(-1, size - 1).long()
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    extent = (last - first + 1).clamp_min(0) * (area.abs() > 0)[:, None]
    return _Screen(x, y, z, first, extent, area)


def _candidates(screen: _Screen) -> list[Int[Tensor, " N"]]:
    """Runs of faces whose boxes hold together at most `ROWS_AT_ONCE` pixels (or one face)."""
    count = screen.extent.prod(1)
    faces = count.nonzero()[:, 0]
    runs = (count[faces].cumsum(0) - 1) // ROWS_AT_ONCE
    return list(faces.split(torch.unique_consecutive(runs, return_counts=True)[1].tolist()))


def _reference(corners: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], size: int) -> Fragments:
    screen, device = _screen(corners, faces, size), corners.device
    nearest = torch.full((size * size,), -torch.inf, device=device)
    face = torch.full((size * size,), len(faces), device=device)
    for run in _candidates(screen):
        count = screen.extent[run].prod(1)
        index = run.repeat_interleave(count)
        offset = torch.arange(len(index), device=device) - (count.cumsum(0) - count).repeat_interleave(count)
        width = screen.extent[index, 0]
        column, row = screen.first[index, 0] + offset % width, screen.first[index, 1] + offset // width
        parts = screen.edges(index, column, row) * screen.area[index].sign()[:, None]
        covered = (parts >= 0).all(1)
        index, parts, pixel = index[covered], parts[covered], (row * size + column)[covered]
        weights = parts / (parts[:, :1] + parts[:, 1:2] + parts[:, 2:])
        a, b, c = (weights * screen.z[index]).unbind(-1)
        depth = a + b + c
        before = nearest.clone()
        nearest.scatter_reduce_(0, pixel, depth, "amax")
        face = torch.where(nearest > before, len(faces), face)
        seen = depth == nearest[pixel]
        face.scatter_reduce_(0, pixel[seen], index[seen], "amin")
    return _fragments(screen, face.view(size, size), face.view(size, size) < len(faces))


def _fragments(screen: _Screen, face: Int[Tensor, "H W"], mask: Bool[Tensor, "H W"]) -> Fragments:
    row, column = mask.nonzero().unbind(-1)
    parts = screen.edges(face[mask], column, row) * screen.area[face[mask]].sign()[:, None]
    barycentric = torch.zeros(*mask.shape, 3, device=mask.device)
    barycentric[mask] = parts / (parts[:, :1] + parts[:, 1:2] + parts[:, 2:])
    return Fragments(torch.where(mask, face, -1), barycentric, mask)
