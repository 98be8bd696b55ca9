"""How near a fit is to its scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from gdna.data.inside import inside
from gdna.data.surface import sample_surface
from gdna.evaluate.surface import F_SCORE_AT, Surface, nearest_points, surface_distance
from gdna.fit.evidence import Evidence
from gdna.objectives import intersection_over_union

IOU_POINTS = 20_000


@dataclass(frozen=True)
class FitMeasures:
    """Distances as in `gdna.evaluate.surface`. None: not known of this scan."""

    chamfer_mm: float
    pred_to_scan_mm: float
    scan_to_pred_mm: float
    normal_consistency: float
    f_score_1cm: float
    iou: float | None  # of the insides, over points in the space around the scan; None: the scan has no inside


def measure(fit: Surface, evidence: Evidence, points: int, seed: int) -> FitMeasures:
    """The posed fit against the scan's outer surface, or against its points where it has no faces."""
    if evidence.target is None:
        return _against_points(fit, evidence, points, np.random.default_rng(seed))
    found = surface_distance(fit, evidence.target, points, seed)
    overlap = None
    if evidence.solids is not None:
        box, occupied = evidence.box_points[:IOU_POINTS], evidence.box_inside[:IOU_POINTS]
        mine = torch.from_numpy(inside(fit.vertices, fit.faces, box))
        overlap = intersection_over_union(mine, torch.from_numpy(occupied))
    return FitMeasures(
        found.chamfer_mm, found.pred_to_scan_mm, found.scan_to_pred_mm, found.normal_consistency,
        found.f_score_1cm, overlap,
    )  # fmt: skip


def vertex_distance(vertices: Float[np.ndarray, "V 3"], evidence: Evidence) -> Float[np.ndarray, " V"]:
    """Metres from each of the points to the scan."""
    from scipy.spatial import cKDTree

    if evidence.target is not None:
        return np.sqrt(nearest_points(vertices, evidence.target)[0])
    return cKDTree(evidence.surface_points).query(vertices)[0]


def _against_points(fit: Surface, evidence: Evidence, points: int, rng: np.random.Generator) -> FitMeasures:
    """To the nearest point instead of the nearest triangle, one way; half the points' spacing is in that distance."""
    from scipy.spatial import cKDTree

    samples, normals = sample_surface(fit.vertices, fit.faces, points, rng)
    there, index = cKDTree(evidence.surface_points).query(samples)
    squared, face, _ = nearest_points(evidence.surface_points, fit)
    back = np.sqrt(squared)
    consistency = np.abs((normals * evidence.surface_normals[index]).sum(1)).mean()
    consistency += np.abs((fit.normals()[face] * evidence.surface_normals).sum(1)).mean()
    precision, recall = float((there < F_SCORE_AT).mean()), float((back < F_SCORE_AT).mean())
    return FitMeasures(
        chamfer_mm=500 * float(there.mean() + back.mean()),
        pred_to_scan_mm=1000 * float(there.mean()),
        scan_to_pred_mm=1000 * float(back.mean()),
        normal_consistency=float(consistency) / 2,
        f_score_1cm=2 * precision * recall / max(precision + recall, 1e-30),
        iou=None,
    )
