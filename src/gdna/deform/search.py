"""The door to the correspondence search: which canonical points does forward skinning carry onto a posed point?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.grid import WeightGrid, sample_weights
from gdna.deform.grid_search import search_grid
from gdna.deform.reference import search_reference
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.types import Correspondences

__all__ = ["GridSettings", "SearchSettings", "find_correspondences", "uses_grid"]


def find_correspondences(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
    settings: SearchSettings,
    grid: WeightGrid | None = None,
) -> Correspondences:
    """Roots of sum_j w_j(x) T_j x = points_posed from every start bone, without gradient (see `attach_gradient`).

    backend "reference" iterates on `weights_at`; "grid" on a grid of it, then polishes on `weights_at`; "auto" takes
    the cheaper. Who asks often of the same weights makes the `grid` once (`sample_weights`); it is used unless the
    backend is "reference".
    """
    points_posed, bone_transforms = points_posed.detach(), bone_transforms.detach()
    weights_at = in_chunks(weights_at)
    with full_precision():
        if not uses_grid(settings, points_posed, grid is not None):
            return search_reference(points_posed, bone_transforms, weights_at, settings)
        if grid is None:
            grid = sample_weights(weights_at, points_posed, settings.grid)
        return search_grid(points_posed, bone_transforms, weights_at, settings, grid)


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32, no autocast within: residuals could not fall below the tolerance (recall drops from 0.99 to 0.76)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def uses_grid(settings: SearchSettings, points_posed: Tensor, have_grid: bool = False) -> bool:
    """Whether the grid is asked for, or there, or cheaper.

    Measured: the reference asks the weights 7.5 times a start; the grid once a node and its polish once a start.
    """
    if settings.backend != "auto":
        return settings.backend == "grid"
    starts = points_posed.shape[1] * len(settings.init_bones)
    return have_grid or points_posed.is_cuda or math.prod(settings.grid.shape) < 6 * starts
