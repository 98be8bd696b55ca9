"""Points without a surface: which of them are stray, and which way the surface looks there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

NEIGHBOURS = 16
STRAY_NEIGHBOURS = 8
STRAY_AT = 3.0  # times the usual distance to the eighth neighbour


def stray(points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
    """Points whose neighbours are much farther than is usual in the cloud."""
    from scipy.spatial import cKDTree

    count = min(STRAY_NEIGHBOURS + 1, len(points))
    distance = cKDTree(points).query(points, k=count)[0][:, -1]
    return distance > STRAY_AT * np.median(distance)


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
