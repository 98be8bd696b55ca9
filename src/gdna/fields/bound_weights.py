"""Skinning weights as a function of the canonical point, for given people: warp and skinning field in one value."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    laid_out: dict[int, object] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What the fused kernels take of these weights for so many people: a step's grid, search and slopes ask for it."""

    def __call__(self, points_canonical: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M J"]:
        """Rows sum to 1."""
        return self.at_neutral(self.neutral(points_canonical))

    def neutral(self, points_canonical: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3"]:
        """Where the weights are asked."""
        return points_canonical + self.warp(points_canonical)[0]

    def at_neutral(self, points_neutral: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M J"]:
        return (self.blend * self.skinning(points_neutral)[0].to(points_neutral.dtype)).softmax(-1)

    def with_slopes(
        self, points_canonical: Float[Tensor, "B M 3"], dtype: torch.dtype | None = None
    ) -> tuple[Float[Tensor, "B M J"], Float[Tensor, "3 B M J"], Float[Tensor, "3 B M 3"]]:
        """Weights, and the derivatives of weights and of neutral points along x, y and z, by forward-mode
        differentiation in `dtype`."""
        axes = torch.eye(3, dtype=points_canonical.dtype, device=points_canonical.device)
        axes = axes[:, None, None].expand(-1, *points_canonical.shape)
        moved, slopes = self.warp.with_tangents(points_canonical, axes, dtype)
        along = axes + slopes
        logits, slopes = self.skinning.with_tangents(points_canonical + moved, along, dtype)
        weights = (self.blend * logits).softmax(-1)
        slopes = self.blend * weights * slopes
        return weights, slopes - weights * slopes.sum(-1, keepdim=True), along
