"""Cloth beyond the modelled shape, from which folds come: where there is how much of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from gdna.synthesize.shaping import Sheet
from gdna.synthesize.styles import SkirtStyle, Style

WAVES = 16
WAVELENGTHS = (0.07, 0.2)  # metres, of the patches of crumpled cloth
GIVES_WAY = 0.05  # metres from a cuff or band over which cloth reaches its full looseness


def slack(sheet: Sheet, gripped: Bool[np.ndarray, " V"], style: Style) -> Float[np.ndarray, "V 2"]:
    """Factors on the cloth's lengths around and along the limbs at each vertex; 1 where it is `gripped`."""
    loose = style.loose
    patches = np.stack([crumple(sheet.vertices, 2 * loose.grain + k) for k in range(2)], 1)
    extra = np.array([loose.across, loose.along]) + loose.crumple * patches
    if isinstance(style, SkirtStyle):
        extra[:, 0] += style.gathers
    if gripped.any():
        gap = cKDTree(sheet.vertices[gripped]).query(sheet.vertices)[0]
        extra *= np.clip(gap / GIVES_WAY, 0, 1)[:, None]
    return 1 + extra


def crumple(points: Float[np.ndarray, "V 3"], grain: int) -> Float[np.ndarray, " V"]:
    """Smooth noise between 0 and about 2, zero over half of space."""
    rng = np.random.default_rng([9, grain])
    total = np.zeros(len(points))
    for _ in range(WAVES):
        direction = rng.standard_normal(3)
        wave = direction * (2 * np.pi / (np.linalg.norm(direction) * rng.uniform(*WAVELENGTHS)))
        total += np.cos(points @ wave + rng.uniform(0, 2 * np.pi))
    return np.clip(total / np.sqrt(WAVES / 2), 0, 2)
