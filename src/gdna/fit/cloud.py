"""Points without a surface: which way it looks there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 16


def estimate_normals(
    points: Float[np.ndarray, "N 3"], hint: Float[np.ndarray, "N 3"], neighbours: int = NEIGHBOURS
) -> Float[np.ndarray, "N 3"]:
    """Unit normals of the planes through each point's neighbours, on the side of `hint` (any directions outward)."""
    from scipy.spatial import cKDTree

    index = cKDTree(points).query(points, k=min(neighbours, len(points)))[1]
    around = points[index].astype(np.float64)
    around -= around.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0]
    return np.where((normals * hint).sum(1, keepdims=True) < 0, -normals, normals)


def turned_out(normals: Float[np.ndarray, "N 3"], hint: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """A sensor's normals, all turned round where most lie on the other side of their hints."""
    return normals if (normals * hint).sum() >= 0 else -normals
