"""What does not belong to the person: stray points and the floor."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

NEIGHBOURS = 8
STRAY = 3.0  # medians of the distance to the eighth neighbour from which a point is stray
SLAB = 0.015  # of the extent; half the thickness of a floor
FLOOR_SHARE = 0.08  # of all points that a floor has at least
FLOOR_WIDTH = 0.5  # of the extent across that a floor has both ways


def person_points(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Which points may be a person's."""
    kept = ~stray(points)
    kept[kept] &= ~floor(points[kept])
    second = ~stray(points[kept])
    kept[kept] &= second
    return kept


def stray(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Points much lonelier than most."""
    distance = cKDTree(points).query(points, k=min(NEIGHBOURS + 1, len(points)))[0][:, -1]
    return distance > STRAY * np.median(distance) + 1e-12


def floor(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Points in a flat slab at an end of one of the axes, as wide as a floor and as full; none where there is none."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    extent = high - low
    found = np.zeros(len(points), bool)
    for axis in range(3):
        for end in (low[axis], high[axis]):
            near = np.abs(points[:, axis] - end) < SLAB * extent.max()
            if near.mean() < FLOOR_SHARE:
                continue
            across = np.delete(points[near], axis, axis=1)
            width = np.ptp(np.percentile(across, [2, 98], axis=0), axis=0)
            if (width > FLOOR_WIDTH * extent.max()).all():
                centre = np.median(points[near, axis])
                found |= np.abs(points[:, axis] - centre) < SLAB * extent.max()
    return found
