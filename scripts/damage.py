"""Damage done to scans, to measure what it costs: noise, holes, stray points. Lengths in metres."""

from __future__ import annotations

import numpy as np

STRAY_MARGIN = 0.3  # metres by which the box of the stray points is larger than that of the others

Mesh = tuple[np.ndarray, np.ndarray]


def only(points: np.ndarray, faces: np.ndarray, kept: np.ndarray) -> Mesh:
    """The mesh of some faces, (F,) bool: points (V, 3) without those that are not used, faces (F, 3)."""
    used, left = np.unique(faces[kept], return_inverse=True)
    return points[used], left.reshape(-1, 3).astype(np.int64)


def noisy(points: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of `sigma` a coordinate on every point (N, 3)."""
    return points + sigma * rng.normal(size=points.shape)


def in_patches(
    points: np.ndarray, faces: np.ndarray, radius: float, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Faces, (F,) bool, whose middles lie in balls around middles drawn by area, as many as make up a share of the
    mesh's area."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    middle, area = (a + b + c) / 3, np.linalg.norm(np.cross(b - a, c - a), axis=1)
    gone, chance = np.zeros(len(faces), bool), area / area.sum()
    while chance[gone].sum() < share:
        gone |= np.linalg.norm(middle - middle[rng.choice(len(middle), p=chance)], axis=1) < radius
    return gone


def with_strays(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The points and so many more, anywhere in their box and a little around it."""
    low, high = points.min(0) - STRAY_MARGIN, points.max(0) + STRAY_MARGIN
    return np.concatenate([points, rng.uniform(low, high, (count, 3))])
