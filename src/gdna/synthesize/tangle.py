"""Places where a sheet of cloth passes through itself, and ironing them flat."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from gdna.synthesize.collider import Collider


def tangled(own: Collider, ends: Int[np.ndarray, "E 2"]) -> Bool[np.ndarray, " V"]:
    """Vertices of edges `ends` that pass through the sheet `own`, and of the triangles that they pass through."""
    by_edge, by_triangle = own.crossings(own.vertices, ends, same=True)
    mask = np.zeros(len(own.vertices), bool)
    mask[ends[by_edge]] = True
    mask[own.faces[by_triangle]] = True
    return mask


def widen(mask: Bool[np.ndarray, " V"], average: sp.csr_matrix, rings: int) -> Bool[np.ndarray, " V"]:
    """The mask grown along edges."""
    grown = mask.astype(np.float64)
    for _ in range(rings):
        grown = np.maximum(grown, (average.T @ grown > 0) | (average @ grown > 0))
    return grown > 0


def iron(
    x: Float[np.ndarray, "V 3"], where: Bool[np.ndarray, " V"], average: sp.csr_matrix, times: int
) -> Float[np.ndarray, "V 3"]:
    """Averages neighbours (`quads.laplacian`) inside a mask, its outside held."""
    rows = np.flatnonzero(where)
    part = average[rows]
    x = x.copy()
    for _ in range(times):
        x[rows] = 0.5 * x[rows] + 0.5 * (part @ x)
    return x


def untangle(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    ends: Int[np.ndarray, "E 2"],
    average: sp.csr_matrix,
) -> Float[np.ndarray, "V 3"]:
    """The sheet with the places ironed where it passes through itself, at most 12 rounds, ever wider ones."""
    own = Collider(vertices[None], faces, np.ones(len(faces), np.int64))
    for attempt in range(12):
        mask = tangled(own, ends)
        if not mask.any():
            break
        vertices = iron(vertices, widen(mask, average, 1 + attempt // 3), average, 4)
        own.move_to(vertices)
    return vertices
