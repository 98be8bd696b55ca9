"""The plain search: Broyden's method on the skinning weights themselves. It defines what the others approximate."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, blend_transforms, rigid_starts, skin, transform
from gdna.deform.broyden import BroydenSettings, Residual, broyden
from gdna.deform.packing import gather
from gdna.deform.settings import SearchSettings
from gdna.geometry.linalg import inverse_3x3
from gdna.types import Correspondences


@torch.no_grad()
def search_reference(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
    settings: SearchSettings,
) -> Correspondences:
    """Chen et al., SNARF (ICCV 2021), section 3.2, from the blended transform as first Jacobian."""
    starts = rigid_starts(points_posed, bone_transforms, settings.init_bones)
    size = starts.shape[1:3]
    flat = starts.flatten(1, 2)
    blended = blend_transforms(weights_at(flat), bone_transforms)
    targets = points_posed[:, :, None].expand_as(starts).flatten(1, 2)
    repack = settings.repack_for(points_posed.device.type)
    steps = BroydenSettings(settings.max_steps, settings.tolerance, settings.divergence, repack)
    residual = skinning_residual(targets, bone_transforms, weights_at)
    roots = broyden(residual, flat, inverse_3x3(blended[..., :3]), steps, transform(blended, flat) - targets)
    points = roots.points.unflatten(1, size)
    converged = roots.converged.unflatten(1, size)
    return Correspondences(points, drop_duplicates(points, converged, settings.duplicate))


def skinning_residual(
    targets: Float[Tensor, "B M 3"], bone_transforms: Float[Tensor, "B J 4 4"], weights_at: WeightsAt
) -> Residual:
    """How far forward skinning lands from the target of each start."""

    def residual(points: Tensor, index: Tensor) -> Tensor:
        return skin(points, bone_transforms, weights_at) - gather(targets, index)

    return residual


def drop_duplicates(
    points: Float[Tensor, "B N I 3"], converged: Bool[Tensor, "B N I"], distance: float
) -> Bool[Tensor, "B N I"]:
    """`converged` without the roots that an earlier start found already."""
    near = (points[:, :, :, None] - points[:, :, None]).square().sum(-1) < distance * distance
    earlier = torch.ones(near.shape[-2:], dtype=torch.bool, device=near.device).tril(-1)
    return converged & ~(near & earlier & converged[:, :, None]).any(-1)
