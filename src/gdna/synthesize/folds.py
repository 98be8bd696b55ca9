"""Are there folds? Mean curvature of a cloth surface at the scale of a centimetre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from gdna.synthesize.quads import vertex_normals

SCALE = 0.01  # metres
NEAREST, FURTHEST = 0.5, 1.5  # of the scale: between which neighbours are asked
SAME_SIDE = 0.2  # smallest cosine between normals: neighbours across a gap do not count
FOLDED = 15.0  # 1/m: bent over 3 cm (a cylinder has half of one over its radius)


@dataclass(frozen=True)
class FoldStatistic:
    """The distribution of the absolute mean curvature (1/m) over a surface's area, and the share of it in folds."""

    median: float
    p90: float
    p99: float
    folded: float  # share of the area bent more than `FOLDED`


def mean_curvature(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], scale: float = SCALE
) -> Float[np.ndarray, " V"]:
    """Signed mean curvature (1/m, positive where the surface bulges outward) at a scale: the mean over neighbours about
    `scale` metres away of the normal curvature towards them, (n_j - n_i) . (x_j - x_i) / |x_j - x_i|^2. 0 where there
    are none."""
    normals = vertex_normals(vertices, faces)
    pairs = cKDTree(vertices).query_pairs(FURTHEST * scale, output_type="ndarray")
    along = vertices[pairs[:, 1]] - vertices[pairs[:, 0]]
    length = np.linalg.norm(along, axis=1)
    first, second = normals[pairs[:, 0]], normals[pairs[:, 1]]
    good = (length > NEAREST * scale) & ((first * second).sum(1) > SAME_SIDE)
    pairs = pairs[good]
    bend = ((second - first)[good] * along[good]).sum(1) / length[good] ** 2
    total, count = np.zeros(len(vertices)), np.zeros(len(vertices))
    for side in range(2):
        np.add.at(total, pairs[:, side], bend)
        np.add.at(count, pairs[:, side], 1)
    return total / np.maximum(count, 1)


def fold_statistic(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> FoldStatistic:
    """Of one garment's surface; vertices count by the area around them."""
    bent = np.abs(mean_curvature(vertices, faces))
    corners = vertices[faces]
    face_area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = np.zeros(len(vertices))
    np.add.at(area, faces, face_area[:, None])
    order = np.argsort(bent)
    reached = np.cumsum(area[order]) / area.sum()
    median, p90, p99 = (float(bent[order[np.searchsorted(reached, share)]]) for share in (0.5, 0.9, 0.99))
    return FoldStatistic(median, p90, p99, float(area[bent > FOLDED].sum() / area.sum()))
