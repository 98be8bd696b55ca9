"""What training draws from a prepared set."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class CoarseBatch:
    """B scans with points near the surface first, then one eighth as many in the box [-1, 1]^3."""

    indices: Int[Tensor, " B"]  # which scans of the set
    people: Int[Tensor, " B"]  # whose codes: index into the set's people
    betas: Float[Tensor, "B S"]
    bone_transforms: Float[Tensor, "B J 4 4"]
    vertices_canonical: Float[Tensor, "B Vs 3"]
    points_posed: Float[Tensor, "B N 3"]
    occupancy: Float[Tensor, "B N"]  # 1 inside, 0 outside


@dataclass(frozen=True)
class FineBatch:
    """B scans, each with points of its outer surface and one of its views."""

    indices: Int[Tensor, " B"]
    people: Int[Tensor, " B"]  # whose codes: index into the set's people
    views: Int[Tensor, " B"]
    betas: Float[Tensor, "B S"]
    bone_transforms: Float[Tensor, "B J 4 4"]
    bone_transforms_view: Float[Tensor, "B J 4 4"]  # turned to the view
    normal_maps: Float[Tensor, "B 3 H W"]  # of the turned scan, components in [-1, 1], background 1
    surface_points: Float[Tensor, "B N 3"]  # posed, not turned
    surface_normals: Float[Tensor, "B N 3"]
    cache_points: Float[Tensor, "B P 3"]  # neutral, row-major pixels; zero outside the mask
    cache_mask: Bool[Tensor, "B P"]


@dataclass(frozen=True)
class HeldOut:
    """Points of one scan that training never sees."""

    uniform_points: Float[Tensor, "Q 3"]  # in the scan's own bounding box, 5 cm wider
    uniform_occupancy: Bool[Tensor, " Q"]
    near_points: Float[Tensor, "Q 3"]
    near_occupancy: Bool[Tensor, " Q"]
