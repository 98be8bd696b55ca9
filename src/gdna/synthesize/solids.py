"""Simple closed meshes: balls, tubes, several in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh, or several that do not share vertices."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


def join(parts: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0, *[len(p.vertices) for p in parts]])[:-1]
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]),
    )


def tube(
    path: Float[np.ndarray, "R 3"], radius: Float[np.ndarray, " R"], around: int, ripple: float = 0.0, ripples: int = 0
) -> Mesh:
    """A closed tube along a path that does not run along x, with `ripples` grooves `ripple` metres deep along it."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross([1.0, 0.0, 0.0], along)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    across = np.cross(along, side)
    angle = np.arange(around) * 2 * np.pi / around
    wave = ripple * np.cos(ripples * angle)[None] * np.clip(radius / radius.max(), 0, 1)[:, None]
    reach = radius[:, None] + wave
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * side[:, None]
    return _rings(path[:, None] + reach[..., None] * ring, path[0], path[-1])


def ball(
    centre: Float[np.ndarray, "3"], radii: Float[np.ndarray, "3"], rows: int, around: int, ripple: float, ripples: int
) -> Mesh:
    """An ellipsoid about `centre`, its poles on the z axis, with a swirl of grooves."""
    polar = np.linspace(0, np.pi, rows + 2)[1:-1, None]
    angle = np.arange(around)[None] * 2 * np.pi / around
    reach = 1 + ripple / radii.mean() * np.cos(ripples * angle + 4 * polar) * np.sin(polar)
    unit = np.stack([np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar) + 0 * angle], -1)
    points = centre + unit * reach[..., None] * radii
    pole = np.array([0.0, 0.0, radii[2]])
    return _rings(points, centre + pole, centre - pole)


def slab(outer: Float[np.ndarray, "R C 3"], inner: Float[np.ndarray, "R C 3"]) -> Mesh:
    """The solid between two grids of points, its faces outward whichever way the grids run."""
    rows, columns = outer.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    back = index + rows * columns
    loop = np.concatenate([index[0, :-1], index[:-1, -1], index[-1, :0:-1], index[:0:-1, 0]])
    quads = [
        np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4),
        np.stack([back[:-1, :-1], back[:-1, 1:], back[1:, 1:], back[1:, :-1]], -1).reshape(-1, 4),
        np.stack([loop, np.roll(loop, -1), np.roll(loop, -1) + rows * columns, loop + rows * columns], 1),
    ]
    joined = np.concatenate(quads)
    faces = np.concatenate([joined[:, [0, 1, 2]], joined[:, [0, 2, 3]]])
    points = np.concatenate([outer.reshape(-1, 3), inner.reshape(-1, 3)])
    return Mesh(points, faces if volume(points, faces) > 0 else faces[:, ::-1].copy())


def volume(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> float:
    """Of a closed mesh; negative where its faces look inward."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def _rings(points: Float[np.ndarray, "R A 3"], first: np.ndarray, last: np.ndarray) -> Mesh:
    rows, around = points.shape[:2]
    index = np.arange(rows * around).reshape(rows, around)
    right = np.roll(index, -1, 1)
    quads = np.stack([index[:-1], index[1:], right[1:], right[:-1]], -1).reshape(-1, 4)
    ends = [
        np.stack([np.full(around, rows * around), index[0], right[0]], 1),
        np.stack([np.full(around, rows * around + 1), right[-1], index[-1]], 1),
    ]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *ends])
    return Mesh(np.concatenate([points.reshape(-1, 3), first[None], last[None]]), faces)
