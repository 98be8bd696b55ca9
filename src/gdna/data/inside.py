"""Inside or outside of a scan: the winding number of any of its connected components.

Winding numbers are generalised ones (Jacobson et al. 2013; fast: Barill et al. 2018). Around a closed surface they are
whole numbers, which counting crossings along a ray gives exactly and some twenty times faster; so the sums over
triangles are left for the components that have holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

MIN_COMPONENT = 4  # fewer triangles enclose nothing
CELL = 0.003  # metres, about half a scan's triangle: points are looked up by such squares

Part = Int[np.ndarray, " _"]


@dataclass(frozen=True)
class Solids:
    """A scan's surface, taken apart into its connected components."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    closed: tuple[Part, ...]  # face numbers of the components in which every edge runs both ways
    open: tuple[Part, ...]

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Solids:
        faces = faces.astype(np.int64)
        on_border = border_vertices(faces, len(vertices))
        parts: tuple[list[Part], list[Part]] = [], []
        for part in components(faces, len(vertices)):
            if len(part) >= MIN_COMPONENT:
                parts[bool(on_border[faces[part]].any())].append(part)
        return cls(np.ascontiguousarray(vertices, np.float64), faces, *map(tuple, parts))

    def contain(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """As `inside`."""
        points = np.ascontiguousarray(points, np.float64)
        result = _by_crossings(self, points)
        _add_by_winding(self, self.open, points, result)
        return result


def inside(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "N 3"]
) -> Bool[np.ndarray, " N"]:
    """True where the winding number of any connected component exceeds one half in absolute value.

    Components are asked one by one and united, since layers of clothes overlap; the absolute value survives components
    that are turned inside out. Holes are closed softly.
    """
    return Solids.of(vertices, faces).contain(points)


def inside_reference(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "N 3"]
) -> Bool[np.ndarray, " N"]:
    """`inside` by the winding number of every component, closed or not."""
    solids = Solids.of(vertices, faces)
    result = np.zeros(len(points), bool)
    _add_by_winding(solids, solids.closed + solids.open, points.astype(np.float64), result)
    return result


def _by_crossings(solids: Solids, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
    from gdna.data.crossing_kernels import enclosed

    if not solids.closed:
        return np.zeros(len(points), bool)
    faces = solids.faces[np.concatenate(solids.closed)]
    ends = np.cumsum([len(part) for part in solids.closed])
    return enclosed(solids.vertices, faces, ends, points, CELL)


def _add_by_winding(
    solids: Solids, parts: Sequence[Part], points: Float[np.ndarray, "N 3"], result: Bool[np.ndarray, " N"]
) -> None:
    """Set the points in `parts`. Points are only asked of components whose box holds them."""
    for part in parts:
        used, local = np.unique(solids.faces[part], return_inverse=True)
        corners = solids.vertices[used]
        boxed = ((points >= corners.min(0)) & (points <= corners.max(0))).all(1) & ~result
        if boxed.any():
            winding = winding_number(corners, local.reshape(-1, 3).astype(np.int64), points[boxed])
            result[boxed] = np.abs(winding) > 0.5


def winding_number(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, " N"]:
    """libigl's fast one; where that is not installed our own, which is some times slower."""
    try:
        import igl
    except ImportError:
        from gdna.geometry.triangle_tree import TriangleTree

        return TriangleTree.of(vertices, faces).winding(points)
    return igl.fast_winding_number(vertices, faces, points)


def border_vertices(faces: Int[np.ndarray, "F 3"], num_vertices: int) -> Bool[np.ndarray, " V"]:
    """Vertices of edges that are run through more often in one direction than in the other: at holes, and where
    neighbours face opposite ways."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    keys = np.sort((np.minimum(start, end) * num_vertices + np.maximum(start, end)) * 2 + (start < end))
    edges = keys >> 1
    first = np.flatnonzero(np.diff(edges, prepend=-1))
    unequal = edges[first[np.add.reduceat(2 * (keys & 1) - 1, first) != 0]]
    on_border = np.zeros(num_vertices, bool)
    on_border[unequal // num_vertices] = on_border[unequal % num_vertices] = True
    return on_border


def components(faces: Int[np.ndarray, "F 3"], num_vertices: int) -> list[Part]:
    """Face numbers of every connected component (faces that share a vertex)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.concatenate([faces[:, 0], faces[:, 1]]), np.concatenate([faces[:, 1], faces[:, 2]])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(num_vertices, num_vertices))
    labels = connected_components(graph, directed=False)[1][faces[:, 0]]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
