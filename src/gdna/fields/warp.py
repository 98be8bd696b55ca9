"""From the subject's own body shape to the neutral one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gdna.fields.mlp import BoundMlp, ConditionedMlp, MlpSizes

BETA_UNIT = 10.0  # betas enter divided by it
FIRST_LENGTH = 1e-2


class ShapeWarp(nn.Module):
    """Takes the betas out of a canonical point.

    The last layer starts a hundred times smaller than usual: displacements then begin near zero rather than at
    decimetres of noise, so that the bootstrap losses and the first searches see points where they belong.
    """

    def __init__(self, sizes: MlpSizes) -> None:
        super().__init__()
        self.mlp = ConditionedMlp(sizes)
        last = self.mlp.linears[-1]
        with torch.no_grad():
            last.weight_g.mul_(FIRST_LENGTH)
            last.bias.zero_()

    def bind(self, betas: Float[Tensor, "B S"]) -> Callable[[Tensor], Tensor]:
        """`forward` for bodies that many points are asked of; betas past the condition's size are left out."""
        mlp = self.bind_mlp(betas)
        return lambda points_canonical: points_canonical + mlp(points_canonical)[0]

    def bind_mlp(self, betas: Float[Tensor, "B S"]) -> BoundMlp:
        """The perceptron of displacements for these bodies."""
        return self.mlp.bind(betas[:, : self.mlp.sizes.dim_condition] / BETA_UNIT)

    def forward(self, points_canonical: Float[Tensor, "B N 3"], betas: Float[Tensor, "B S"]) -> Float[Tensor, "B N 3"]:
        """Neutral points, metres."""
        return self.bind(betas)(points_canonical)
