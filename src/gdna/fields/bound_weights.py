"""Skinning weights as a function of the canonical point, for given people: warp and skinning field in one value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.fields.mlp import BoundMlp


@dataclass(frozen=True)
class BoundWeights:
    """softmax(blend * skinning(x + warp(x))) for B people, with their conditions worked in."""

    warp: BoundMlp
    skinning: BoundMlp
    blend: float

    def __call__(self, points_canonical: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M J"]:
        """Rows sum to 1."""
        points_neutral = points_canonical + self.warp(points_canonical)[0]
        return (self.blend * self.skinning(points_neutral)[0].to(points_neutral.dtype)).softmax(-1)

    def with_jacobian(
        self, points_canonical: Float[Tensor, "B M 3"], dtype: torch.dtype | None = None
    ) -> tuple[Float[Tensor, "B M J"], Float[Tensor, "3 B M J"]]:
        """Weights and their derivatives along x, y and z, by forward-mode differentiation in `dtype`."""
        axes = torch.eye(3, dtype=points_canonical.dtype, device=points_canonical.device)
        axes = axes[:, None, None].expand(-1, *points_canonical.shape)
        moved, slopes = self.warp.with_tangents(points_canonical, axes, dtype)
        logits, slopes = self.skinning.with_tangents(points_canonical + moved, axes + slopes, dtype)
        weights = (self.blend * logits).softmax(-1)
        slopes = self.blend * weights * slopes
        return weights, slopes - weights * slopes.sum(-1, keepdim=True)
