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
    of_surface: bool

    def __call__(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        read: Float[Tensor, "B N K"],
        local_pose: Float[Tensor, "B N C"] | None = None,
    ) -> Float[Tensor, "B N 3"]:
        """Unit normals in canonical orientation, in the pose of `PoseHead.local_pose`; None: in the canonical pose."""
        if self.head is None or local_pose is None:
            return normalize(self._output(points_neutral, read)[0], dim=-1)
        return self.head.normals(self.head.posable(*self._output(points_neutral, read)), local_pose)

    def posable(self, points_neutral: Float[Tensor, "B N 3"], read: Float[Tensor, "B N K"]) -> PosableNormals:
        """What does not depend on the pose, of a field that sees it."""
        assert self.head is not None
        return self.head.posable(*self._output(points_neutral, read))

    def _output(
        self, points_neutral: Float[Tensor, "B N 3"], read: Float[Tensor, "B N K"]
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N H"]]:
        """Normals, not yet of length one, and the last hidden activation."""
        output, hidden = self.mlp(points_neutral, read)
        return (output + read[..., -3:] if self.of_surface else output), hidden


class NormalField(nn.Module):
    """Unit normal in canonical orientation from the neutral point (metres, not box coordinates), the detail code, what
    is read of the occupancy field (its hidden activation), and, with `parents`, the pose of the bones that move the
    point.

    A field `of_surface` corrects the coarse surface's own normal, which follows the activation in what is read. It
    starts as these normals and has the folds alone to learn; and what it says stays near to what some surface has, so
    that folds can be led into the geometry.
    """

    def __init__(self, sizes: MlpSizes, parents: tuple[int, ...] | None = None, of_surface: bool = False) -> None:
        super().__init__()
        self.of_surface = of_surface
        self.mlp = ConditionedMlp(sizes)
        if of_surface:
            last = self.mlp.linears[-1]
            nn.init.zeros_(last.weight_g)
            nn.init.zeros_(last.bias)
        self.head = None if parents is None else PoseHead(sizes.dim_hidden, parents)

    def bind(self, detail: Float[Tensor, "B Z"]) -> BoundNormals:
        """`forward` for people of whom many points are asked."""
        return BoundNormals(self.mlp.bind(detail), self.head, self.of_surface)

    def forward(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        read: Float[Tensor, "B N K"],
        detail: Float[Tensor, "B Z"],
        local_pose: Float[Tensor, "B N C"] | None = None,
    ) -> Float[Tensor, "B N 3"]:
        return self.bind(detail)(points_neutral, read, local_pose)
