"""Normals of noisy scans: a mesh's own say little where its vertices jitter by as much as its edges are long."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

NEIGHBOURS = 24
AGREEMENT = 0.75  # median length of the mean normal of neighbours under which normals are noisy


def steadied(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The normals themselves where neighbours agree; else those of planes through the neighbours, turned to the
    side that most of the neighbours' normals point to."""
    near = cKDTree(points).query(points, k=min(NEIGHBOURS, len(points)))[1]
    mean = normals[near].mean(1)
    if np.median(np.linalg.norm(mean, axis=1)) > AGREEMENT:
        return normals
    offsets = points[near] - points[near].mean(1, keepdims=True)
    spread = np.einsum("nka,nkb->nab", offsets, offsets)
    plane = np.linalg.eigh(spread)[1][:, :, 0]
    side = np.sign((plane * mean).sum(1, keepdims=True))
    return plane * np.where(side == 0, 1.0, side)
