"""The fast search: Broyden's method on a grid of blended transforms, then a polish on the weights themselves."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, rigid_starts, transform
from gdna.deform.broyden import BroydenSettings, Roots, broyden
from gdna.deform.grid import TransformGrid
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.reference import drop_duplicates, skinning_residual
from gdna.deform.settings import SearchSettings
from gdna.geometry.linalg import inverse_3x3
from gdna.types import Correspondences


@torch.no_grad()
def search_grid(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
    settings: SearchSettings,
    blended: TransformGrid,
) -> Correspondences:
    """The answer of `search_reference` but for the few roots that the grid cannot see."""
    starts = rigid_starts(points_posed, bone_transforms, settings.init_bones)
    targets = points_posed[:, :, None].expand_as(starts).flatten(1, 2)
    roots = _on_grid(starts.flatten(1, 2), targets, blended, settings)
    size = starts.shape[1:3]
    points = roots.points.unflatten(1, size)
    candidate = (roots.residual_norm < settings.grid.candidate).unflatten(1, size)
    candidate = drop_duplicates(points, candidate, settings.duplicate)

    packed = pack(roots.points, candidate.flatten(1))
    residual = skinning_residual(gather(targets, packed.index), bone_transforms, weights_at)
    steps = BroydenSettings(
        settings.grid.polish_steps,
        settings.tolerance,
        settings.divergence,
        settings.repack_for(points_posed.device.type),
    )
    polished = broyden(residual, packed.values, gather(roots.inverse_jacobian, packed.index), steps)
    points = unpack(polished.points, packed, roots.points).unflatten(1, size)
    converged = unpack(polished.converged & packed.mask, packed, torch.zeros_like(candidate.flatten(1))).unflatten(
        1, size
    )
    return Correspondences(points, drop_duplicates(points, converged, settings.duplicate))


def _on_grid(
    starts: Float[Tensor, "B M 3"], targets: Float[Tensor, "B M 3"], blended: TransformGrid, settings: SearchSettings
) -> Roots:
    def residual(points: Tensor, index: Tensor) -> Tensor:
        return transform(blended.read(points), points) - gather(targets, index)

    first = blended.read(starts)
    steps = BroydenSettings(
        settings.grid.steps, settings.tolerance, settings.divergence, repack=int(not starts.is_cuda)
    )
    return broyden(residual, starts, inverse_3x3(first[..., :3]), steps, transform(first, starts) - targets)
