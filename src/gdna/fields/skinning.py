"""Which bones move a neutral point?"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from gdna.fields.mlp import ConditionedMlp, MlpSizes


class SkinningField(nn.Module):
    """softmax(blend * logits) over the bones; `blend` > 1 lets weights become sharp early."""

    def __init__(self, sizes: MlpSizes, blend: float = 20.0) -> None:
        super().__init__()
        self.mlp = ConditionedMlp(sizes)
        self.blend = blend

    def bind(self, shape: Float[Tensor, "B Z"]) -> Callable[[Tensor], Tensor]:
        """`forward` for people of whom many points are asked."""
        mlp = self.mlp.bind(shape)
        return lambda points_neutral: (self.blend * mlp(points_neutral)[0].to(points_neutral.dtype)).softmax(-1)

    def forward(self, points_neutral: Float[Tensor, "B N 3"], shape: Float[Tensor, "B Z"]) -> Float[Tensor, "B N J"]:
        """Rows sum to 1."""
        return self.bind(shape)(points_neutral)
