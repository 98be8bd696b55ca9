"""Surface normals finer than the occupancy field's surface."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from gdna.fields.mlp import ConditionedMlp, MlpSizes


class NormalField(nn.Module):
    """Unit normal in canonical orientation from the neutral point (metres, not box coordinates), the detail code and
    the occupancy field's hidden activation."""

    def __init__(self, sizes: MlpSizes) -> None:
        super().__init__()
        self.mlp = ConditionedMlp(sizes)

    def bind(self, detail: Float[Tensor, "B Z"]) -> Callable[[Tensor, Tensor], Tensor]:
        """`forward` for people of whom many points are asked."""
        mlp = self.mlp.bind(detail)
        return lambda points_neutral, hidden: normalize(mlp(points_neutral, hidden)[0], dim=-1)

    def forward(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        hidden: Float[Tensor, "B N K"],
        detail: Float[Tensor, "B Z"],
    ) -> Float[Tensor, "B N 3"]:
        return self.bind(detail)(points_neutral, hidden)
