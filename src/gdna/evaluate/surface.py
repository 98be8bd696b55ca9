"""How near two surfaces are, by points on either: the protocol of CustomHumans and its followers (Ho et al., CVPR 2023
and 2024): up to a million points, mean distances one way and the other, |cos| of normals, F-score at one centimetre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from gdna.data.inside import inside
from gdna.data.surface import OUTER_STEP, orient_outward, sample_surface
from gdna.errors import GdnaError
from gdna.geometry.triangle_tree import TriangleTree

POINTS = 1_000_000  # of the published protocol
F_SCORE_AT = 0.01  # metres


@dataclass(frozen=True)
class Surface:
    """A triangle mesh without regard to where it came from; metres."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]

    @cached_property
    def tree(self) -> TriangleTree:
        """To look for nearest points; of a surface with faces."""
        return TriangleTree.of(self.vertices, self.faces.astype(np.int64))

    def normals(self) -> Float[np.ndarray, "F 3"]:
        """Unit normals; zero where a face has no area."""
        a, b, c = (self.vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        cross = np.cross(b - a, c - a)
        return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-30)


@dataclass(frozen=True)
class SurfaceDistance:
    """A prediction against a scan."""

    chamfer_mm: float  # mean of the two one-way means
    pred_to_scan_mm: float  # one way: mean distance of the prediction's points to the scan, "point to surface"
    scan_to_pred_mm: float
    normal_consistency: float  # mean |cos| of the two surfaces' normals, of both ways
    f_score_1cm: float  # harmonic mean of the shares of points within 1 cm, one way and the other
    points: int


def surface_distance(
    predicted: Surface, scan: Surface, points: int = POINTS, seed: int = 0, threshold: float = F_SCORE_AT
) -> SurfaceDistance:
    """Exact distances from `points` samples, uniform by area, of each surface to the other's triangles; normals are the
    faces'. Raises `GdnaError` for a surface without area."""
    rng = np.random.default_rng(seed)
    to_scan, cosine_to_scan = one_way(predicted, scan, points, rng)
    to_pred, cosine_to_pred = one_way(scan, predicted, points, rng)
    precision, recall = float((to_scan < threshold).mean()), float((to_pred < threshold).mean())
    return SurfaceDistance(
        chamfer_mm=500 * float(to_scan.mean() + to_pred.mean()),
        pred_to_scan_mm=1000 * float(to_scan.mean()),
        scan_to_pred_mm=1000 * float(to_pred.mean()),
        normal_consistency=float(cosine_to_scan.mean() + cosine_to_pred.mean()) / 2,
        f_score_1cm=2 * precision * recall / max(precision + recall, 1e-30),
        points=points,
    )


def one_way(
    source: Surface, target: Surface, points: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Distance (metres) of points on `source` to `target`, and |cos| between the normals at either end."""
    for surface in (source, target):
        if len(surface.faces) == 0:
            raise GdnaError("surface_distance: a mesh without faces; is the model trained, the scan whole?")
    samples, normals = sample_surface(source.vertices, source.faces, points, rng)
    squared, face, _ = nearest_points(samples, target)
    return np.sqrt(squared), np.abs((normals * target.normals()[face]).sum(1))


def nearest_points(
    points: Float[np.ndarray, "N 3"], target: Surface
) -> tuple[Float[np.ndarray, " N"], Int[np.ndarray, " N"], Float[np.ndarray, "N 3"]]:
    """Squared distance to the nearest point of the surface, its face, and the point itself."""
    return target.tree.nearest(points)


def outer_surface(surface: Surface) -> Surface:
    """The faces of a scan that are on its outside, turned outward: layers under clothes are no part of what is seen.

    A face is outer if the point 4 mm above its middle is outside.
    """
    faces = orient_outward(surface.vertices, surface.faces.astype(np.int64))
    oriented = Surface(surface.vertices, faces)
    middle = surface.vertices[faces].astype(np.float64).mean(1)
    outer = ~inside(surface.vertices, faces, middle + OUTER_STEP * oriented.normals())
    return Surface(surface.vertices, faces[outer])
