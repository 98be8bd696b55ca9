"""Inside or outside of a scan, by generalised winding numbers (Jacobson et al. 2013; fast: Barill et al. 2018)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

MIN_COMPONENT = 4  # fewer triangles enclose nothing


def inside(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "N 3"]
) -> Bool[np.ndarray, " N"]:
    """True where the winding number of any connected component exceeds one half in absolute value.

    Components are asked one by one and united, since layers of clothes overlap; the absolute value survives components
    that are turned inside out. Holes are closed softly. Points are only asked of components whose box holds them.
    """
    import igl

    result = np.zeros(len(points), bool)
    points = points.astype(np.float64)
    for component in components(faces, len(vertices)):
        if len(component) < MIN_COMPONENT:
            continue
        used, local = np.unique(faces[component], return_inverse=True)
        corners = vertices[used].astype(np.float64)
        boxed = ((points >= corners.min(0)) & (points <= corners.max(0))).all(1) & ~result
        if boxed.any():
            winding = igl.fast_winding_number(corners, local.reshape(-1, 3).astype(np.int64), points[boxed])
            result[boxed] = np.abs(winding) > 0.5
    return result


def components(faces: Int[np.ndarray, "F 3"], num_vertices: int) -> list[Int[np.ndarray, " n"]]:
    """Face numbers of every connected component (faces that share a vertex)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.concatenate([faces[:, 0], faces[:, 1]]), np.concatenate([faces[:, 1], faces[:, 2]])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(num_vertices, num_vertices))
    labels = connected_components(graph, directed=False)[1][faces[:, 0]]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
