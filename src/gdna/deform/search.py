"""The door to the correspondence search: which canonical points does forward skinning carry onto a posed point?"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.fused import engine_for, search_fused, why_not_here
from gdna.deform.grid import TransformGrid, WeightGrid, blend_grid, sample_weights
from gdna.deform.grid_search import search_grid
from gdna.deform.reference import search_reference
from gdna.deform.settings import FusedSettings, GridSettings, SearchSettings
from gdna.geometry.arithmetic import full_precision
from gdna.types import Correspondences

__all__ = ["FusedSettings", "GridSettings", "SearchSettings", "find_correspondences", "make_grid", "uses_grid"]


def find_correspondences(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
    settings: SearchSettings,
    grid: WeightGrid | TransformGrid | None = None,
) -> Correspondences:
    """Roots of sum_j w_j(x) T_j x = points_posed from every start bone, without gradient (see `attach_gradient`).

    backend "reference" iterates on `weights_at`; "grid" on a grid of it, then polishes on `weights_at`; "fused" does
    that in compiled kernels, and on a GPU without waiting for it; "auto" takes the cheapest that runs.
    Who asks often of the same weights makes the grid once: of the weights (`sample_weights`), or of these transforms
    (`make_grid`); it is used unless the backend is "reference". Raises `GdnaError` where "fused" cannot run.
    """
    points_posed, bone_transforms = points_posed.detach(), bone_transforms.detach()
    with full_precision():  # in TF32 residuals could not fall below the tolerance (recall drops from 0.99 to 0.76)
        backend = _backend(settings, points_posed, weights_at, grid is not None)
        if backend == "reference":
            return search_reference(points_posed, bone_transforms, in_chunks(weights_at), settings)
        if grid is None:
            grid = make_grid(points_posed, bone_transforms, weights_at, settings)
        if isinstance(grid, WeightGrid):
            grid = blend_grid(grid, bone_transforms, columns=16)
        if backend == "fused":
            engine = engine_for(points_posed, weights_at)
            return search_fused(points_posed, bone_transforms, engine, settings, grid)
        return search_grid(points_posed, bone_transforms, in_chunks(weights_at), settings, grid)


def make_grid(
    like: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
    settings: SearchSettings,
) -> TransformGrid:
    """For asking `find_correspondences` often of the same people in the same poses; `like` gives type and device."""
    bone_transforms = bone_transforms.detach()
    with full_precision():
        if _backend(settings, like, weights_at, True) == "fused":
            return engine_for(like, weights_at).fill(bone_transforms, settings.grid)
        return blend_grid(sample_weights(weights_at, like, settings.grid), bone_transforms)


def uses_grid(settings: SearchSettings, points_posed: Float[Tensor, "B N 3"], have_grid: bool = False) -> bool:
    """Whether a grid is asked for, or there, or cheaper.

    Measured: the reference asks the weights 7.5 times a start; the grid once a node and its polish once a start.
    """
    if settings.backend != "auto":
        return settings.backend != "reference"
    starts = points_posed.shape[1] * len(settings.init_bones)
    return have_grid or points_posed.is_cuda or math.prod(settings.grid.shape) < 6 * starts


def _backend(settings: SearchSettings, points_posed: Tensor, weights_at: WeightsAt, have_grid: bool) -> str:
    if settings.backend != "auto":
        return settings.backend
    if not uses_grid(settings, points_posed, have_grid):
        return "reference"
    return "grid" if why_not_here(points_posed, weights_at) else "fused"
