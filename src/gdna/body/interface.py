"""What gdna asks of a body model. Two answer: `OpenBody` (shipped) and `Smpl` (the user's own file)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.types import BodyParams, PosedBody


@runtime_checkable
class BodyModel(Protocol):
    """Betas, joint rotations, translation -> vertices, joints, bone transforms.

    A module inherits from it: from Python 3.12 on, `isinstance` with a protocol does not look among a module's buffers.
    """

    num_betas: int
    parents: tuple[int, ...]
    faces: Int[Tensor, "F 3"]
    skin_weights: Float[Tensor, "V J"]
    vertices_neutral: Float[Tensor, "V 3"]  # canonical pose, zero betas
    joints_neutral: Float[Tensor, "J 3"]

    def __call__(self, params: BodyParams) -> PosedBody:
        """Pose the body. Raises `GdnaError` where the number of betas or joints does not fit."""
        ...


def check_params(params: BodyParams, num_betas: int, num_joints: int) -> None:
    """Raise `GdnaError` where the sizes are not the body model's."""
    if params.betas.shape[1] != num_betas:
        raise GdnaError(f"betas: found {params.betas.shape[1]} numbers a body, this body model takes {num_betas}")
    if params.joint_rotations.shape[1] != num_joints:
        raise GdnaError(
            f"joint_rotations: found {params.joint_rotations.shape[1]} joints, "
            f"expected {num_joints} (axis-angle, root first)"
        )
