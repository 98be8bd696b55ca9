"""The nearest points of a surface, by a tree over its triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gdna.geometry.cores import each

SHORTEST = 1e-9  # metres: an edge below it makes no triangle
CELL = 0.02  # metres: points asked one after another lie close, so that the tree's nodes are still in the cache
AT_ONCE = 2**14
ANYWHERE, ANY_SIDE = 1e9, 2.0  # limits of distances and of cosines


@dataclass(frozen=True)
class TriangleTree:
    """Triangles in boxes in boxes, to be asked many times."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]  # those that are triangles
    kept: Int[np.ndarray, " F"]  # their numbers
    order: Int[np.ndarray, " F"]
    child: Int[np.ndarray, " N"]
    span: Int[np.ndarray, "N 2"]
    boxes: Float[np.ndarray, "N 6"]
    masks: Int[np.ndarray, " F"]
    node_masks: Int[np.ndarray, " N"]

    @staticmethod
    def of(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> TriangleTree:
        from gdna.synthesize.tree_kernels import build_tree, refit

        vertices = np.ascontiguousarray(vertices, np.float64)
        corners = vertices[faces]
        edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
        kept = np.flatnonzero((edges > SHORTEST).all(1))
        faces = np.ascontiguousarray(faces[kept], np.int64)
        order, child, span = build_tree(vertices[faces].mean(1))
        masks, boxes, node_masks = np.ones(len(faces), np.int64), np.zeros((len(child), 6)), np.zeros_like(child)
        refit(order, child, span, vertices, faces, masks, boxes, node_masks)
        return TriangleTree(vertices, faces, kept, order, child, span, boxes, masks, node_masks)

    def nearest(
        self, points: Float[np.ndarray, "N 3"]
    ) -> tuple[Float[np.ndarray, " N"], Int[np.ndarray, " N"], Float[np.ndarray, "N 3"]]:
        """Squared distance to the nearest point of the surface, its face, and the point itself."""
        points = np.ascontiguousarray(points, np.float64)
        cells = np.floor(points / CELL).astype(np.int64)
        sorted_rows = np.lexsort(cells.T)
        parts = [sorted_rows[i : i + AT_ONCE] for i in range(0, len(points), AT_ONCE)]
        found = np.empty(len(points), np.int64)
        if parts:
            found[sorted_rows] = np.concatenate(each(lambda rows: self._closest(points[rows]), parts))
        nearest = self._nearest_on(found, points)
        return ((nearest - points) ** 2).sum(1), self.kept[found], nearest

    def _closest(self, points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
        from gdna.synthesize.tree_kernels import closest

        found, allowed = np.full(len(points), -1), np.ones(len(points), np.int64)
        closest(
            points, allowed, ANYWHERE, np.zeros((1, 3)), ANY_SIDE, self.order, self.child, self.span, self.boxes,
            self.node_masks, self.vertices, self.faces, self.masks, found,
        )  # fmt: skip
        return found

    def _nearest_on(self, face: Int[np.ndarray, " N"], points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        from gdna.evaluate.nearest_kernels import nearest_on

        return nearest_on(self.vertices, self.faces, face, points)
