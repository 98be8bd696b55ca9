"""Triangles in a tree of boxes: exact distances to a surface, and winding numbers around it, without libigl.

Triangles lie along a curve that fills space (Morton 1966), so neighbours in the list are neighbours in space, and a
balanced binary tree over the list needs no pointers and no search for splits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gdna.geometry import cores

LEAF = 4  # triangles
BITS = 16  # an axis: hundredths of a millimetre on a person
FAR = 3.0  # radii of a node, from where it counts as one dipole (Barill et al. 2018, whose second order needs but 2)
POINTS_AT_ONCE = 4096  # a thread's share


@dataclass(frozen=True, eq=False)
class TriangleTree:
    """`order[k]` is the number of the k-th triangle among the faces given. Boxes are those of nodes, root first."""

    corners: Float[np.ndarray, "F 3 3"]
    order: Int[np.ndarray, " F"]
    low: Float[np.ndarray, "N 3"]
    high: Float[np.ndarray, "N 3"]

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> TriangleTree:
        """Of at least one face."""
        corners = np.ascontiguousarray(vertices, np.float64)[faces]
        order = np.argsort(_along_the_curve(corners.mean(1)), kind="stable")
        corners = np.ascontiguousarray(corners[order])
        low = _levels(corners.min(1), np.inf, np.minimum)
        return cls(corners, order, low, _levels(corners.max(1), -np.inf, np.maximum))

    def nearest(
        self, points: Float[np.ndarray, "P 3"]
    ) -> tuple[Float[np.ndarray, " P"], Int[np.ndarray, " P"], Float[np.ndarray, "P 3"]]:
        """Squared distance to the nearest point of the surface, its face, and the point itself."""
        from gdna.geometry.triangle_kernels import nearest

        def part(some: Float[np.ndarray, "p 3"]) -> tuple[np.ndarray, ...]:
            return nearest(self.corners, self.low, self.high, LEAF, some)

        walk = np.argsort(_along_the_curve(points), kind="stable")  # neighbours have neighbours for their answers
        answers = cores.each(part, _parts(points[walk]))
        back = np.empty_like(walk)
        back[walk] = np.arange(len(walk))
        squared, found, closest = (np.concatenate(column)[back] for column in zip(*answers, strict=True))
        return squared, self.order[found], closest

    def winding(self, points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, " P"]:
        """How often the surface winds around each point: 1 inside of one that is closed and looks outward, and in
        between at its holes; far parts of it are rounded (by some hundredths)."""
        from gdna.geometry.triangle_kernels import winding

        a, b, c = self.corners.transpose(1, 0, 2)
        vectors = np.cross(b - a, c - a) / 2
        size = np.linalg.norm(vectors, axis=1, keepdims=True)
        area, weight = _levels(vectors, 0.0, np.add), _levels(size, 0.0, np.add)
        moment = _levels(size * self.corners.mean(1), 0.0, np.add)
        empty = weight[:, 0] == 0
        centre = np.where(empty[:, None], 0.0, moment / np.where(empty[:, None], 1.0, weight))
        reach = np.maximum(np.abs(self.high - centre), np.abs(centre - self.low))
        radius = np.linalg.norm(np.where(empty[:, None], 0.0, reach), axis=1)

        def part(some: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, " p"]:
            return winding(self.corners, centre, area, radius, LEAF, FAR, some)

        return np.concatenate(cores.each(part, _parts(points)))


def _parts(points: Float[np.ndarray, "P 3"]) -> list[Float[np.ndarray, "p 3"]]:
    points = np.ascontiguousarray(points, np.float64)
    return np.split(points, range(POINTS_AT_ONCE, len(points), POINTS_AT_ONCE))


def _along_the_curve(points: Float[np.ndarray, "N 3"]) -> Int[np.ndarray, " N"]:
    """The bits of the three coordinates, taken in turn."""
    low, size = points.min(0), np.maximum(np.ptp(points, axis=0).max(), 1e-12)
    cells = ((points - low) / size * (2**BITS - 1)).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _levels(values: Float[np.ndarray, "F C"], nothing: float, join: np.ufunc) -> Float[np.ndarray, "N C"]:
    """Values of triangles joined to those of nodes, level by level, root first."""
    leaves = 1
    while leaves * LEAF < len(values):
        leaves *= 2
    padded = np.full((leaves * LEAF, values.shape[1]), nothing)
    padded[: len(values)] = values
    level = join.reduce(padded.reshape(leaves, LEAF, -1), axis=1)
    levels = [level]
    while len(level) > 1:
        level = join.reduce(level.reshape(len(level) // 2, 2, -1), axis=1)
        levels.append(level)
    return np.concatenate(levels[::-1])
