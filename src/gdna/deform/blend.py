"""Linear blend skinning with weights given by a function of the canonical point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.linalg import inverse_3x3, matvec

WeightsAt = Callable[[Tensor], Tensor]
"""points_canonical (B, M, 3) -> skinning weights (B, M, J), rows sum to 1."""


CHUNK_CPU = 4096  # points over all subjects
CHUNK_GPU = 1 << 20


@dataclass(frozen=True)
class Jacobians:
    """Derivatives with respect to the canonical point; rows are the axes of what is moved."""

    posed: Float[Tensor, "B M 3 3"]
    neutral: Float[Tensor, "B M 3 3"]


def in_chunks(weights_at: WeightsAt) -> WeightsAt:
    """The same weights asked in parts: on a CPU, parts that stay in its cache; on a GPU, parts that fit its memory."""

    def chunked(points_canonical: Tensor) -> Tensor:
        size = CHUNK_GPU if points_canonical.is_cuda else CHUNK_CPU
        columns = max(1, size // len(points_canonical))
        if points_canonical.shape[1] <= columns:
            return weights_at(points_canonical)
        return torch.cat([weights_at(part) for part in points_canonical.split(columns, 1)], 1)

    return chunked


def blend_transforms(
    weights: Float[Tensor, "B M J"], bone_transforms: Float[Tensor, "B J 4 4"]
) -> Float[Tensor, "B M 3 4"]:
    """sum_j w_j T_j without the constant last row."""
    return (weights @ bone_transforms[:, :, :3].flatten(2)).unflatten(-1, (3, 4))


def transform(blended: Float[Tensor, "*#b 3 4"], points: Float[Tensor, "*#b 3"]) -> Float[Tensor, "*_ 3"]:
    return matvec(blended[..., :3], points) + blended[..., 3]


def skin(
    points_canonical: Float[Tensor, "B M 3"], bone_transforms: Float[Tensor, "B J 4 4"], weights_at: WeightsAt
) -> Float[Tensor, "B M 3"]:
    """Canonical to posed points."""
    return transform(blend_transforms(weights_at(points_canonical), bone_transforms), points_canonical)


def skin_with_jacobian(
    points_canonical: Float[Tensor, "B M 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: BoundWeights,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "B M 3"], Jacobians]:
    """Posed points and how they and the neutral points move with the canonical ones, without differentiating backward.

    J = sum_j w_j R_j + sum_j (T_j x) (dw_j / dx)^T. The networks compute in `dtype` (None: the points' own).
    """
    weights, slopes, along = weights_at.with_slopes(points_canonical, dtype)
    flat = bone_transforms[:, :, :3].flatten(2)
    stacked = (torch.cat([weights[None], slopes]) @ flat).unflatten(-1, (3, 4))
    moved = transform(stacked, points_canonical)
    return moved[0], Jacobians(stacked[0, ..., :3] + moved[1:].permute(1, 2, 3, 0), along.permute(1, 2, 3, 0))


def rigid_starts(
    points_posed: Float[Tensor, "B N 3"], bone_transforms: Float[Tensor, "B J 4 4"], bones: tuple[int, ...]
) -> Float[Tensor, "B N I 3"]:
    """Each point moved back rigidly with each of the given bones."""
    chosen = torch.stack([bone_transforms[:, bone] for bone in bones], 1)  # a list as index would wait for the device
    inverse = inverse_3x3(chosen[..., :3, :3])
    offset = points_posed[:, :, None] - chosen[:, None, :, :3, 3]
    return matvec(inverse[:, None], offset)
