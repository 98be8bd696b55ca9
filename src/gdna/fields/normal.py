"""Surface normals finer than the occupancy field's surface."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from gdna.fields.mlp import BoundMlp, ConditionedMlp, MlpSizes
from gdna.fields.pose import PosableNormals, PoseHead


@dataclass(frozen=True)
class BoundNormals:
    """The normal field of given people, with their details worked in."""

    mlp: BoundMlp
    head: PoseHead | None

    def __call__(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        hidden: Float[Tensor, "B N K"],
        local_pose: Float[Tensor, "B N C"] | None = None,
    ) -> Float[Tensor, "B N 3"]:
        """Unit normals in canonical orientation, in the pose of `PoseHead.local_pose`; None: in the canonical pose."""
        if self.head is None or local_pose is None:
            return normalize(self.mlp(points_neutral, hidden)[0], dim=-1)
        return self.head.normals(self.head.posable(*self.mlp(points_neutral, hidden)), local_pose)

    def posable(self, points_neutral: Float[Tensor, "B N 3"], hidden: Float[Tensor, "B N K"]) -> PosableNormals:
        """What does not depend on the pose, of a field that sees it."""
        assert self.head is not None
        return self.head.posable(*self.mlp(points_neutral, hidden))


class NormalField(nn.Module):
    """Unit normal in canonical orientation from the neutral point (metres, not box coordinates), the detail code, the
    occupancy field's hidden activation, and, with `parents`, the pose of the bones that move the point."""

    def __init__(self, sizes: MlpSizes, parents: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.mlp = ConditionedMlp(sizes)
        self.head = None if parents is None else PoseHead(sizes.dim_hidden, parents)

    def bind(self, detail: Float[Tensor, "B Z"]) -> BoundNormals:
        """`forward` for people of whom many points are asked."""
        return BoundNormals(self.mlp.bind(detail), self.head)

    def forward(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        hidden: Float[Tensor, "B N K"],
        detail: Float[Tensor, "B Z"],
        local_pose: Float[Tensor, "B N C"] | None = None,
    ) -> Float[Tensor, "B N 3"]:
        return self.bind(detail)(points_neutral, hidden, local_pose)
