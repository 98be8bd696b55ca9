"""The body under a scan's clothes, as fitting moves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.body.skeleton import blend_skinning, bone_transforms, zero_pose_joints
from gdna.types import BodyParams


@dataclass(frozen=True)
class Wearer:
    """One body in one pose, on one device; Vs vertices of its skin. Pose correctives are left out, as the model has
    none."""

    betas: Float[Tensor, " S"]
    joint_rotations: Float[Tensor, "J 3"]  # axis-angle, root first
    translation: Float[Tensor, " 3"]
    joints_zero: Float[Tensor, "J 3"]
    joints_canonical: Float[Tensor, "J 3"]
    vertices_canonical: Float[Tensor, "Vs 3"]
    skin_weights: Float[Tensor, "Vs J"]
    faces: Int[Tensor, "F 3"]  # of the skin's vertices
    parents: tuple[int, ...]

    @staticmethod
    def of(body: BodyModel, params: BodyParams) -> Wearer:
        """From parameters of one body, on the body model's device."""
        params = params.to(body.skin_weights.device)
        with torch.no_grad():
            posed = body(params)
        skin, faces = body.faces.unique(return_inverse=True)
        joints = posed.joints_canonical[0]
        return Wearer(
            params.betas[0],
            params.joint_rotations[0],
            params.translation[0],
            zero_pose_joints(joints, body.parents),
            joints,
            posed.vertices_canonical[0, skin],
            body.skin_weights[skin],
            faces,
            body.parents,
        )

    def moved(self, joint_rotations: Float[Tensor, "J 3"], translation: Float[Tensor, " 3"]) -> Wearer:
        """The same body in another pose."""
        return replace(self, joint_rotations=joint_rotations, translation=translation)

    def transforms(self) -> Float[Tensor, "J 4 4"]:
        """Canonical to posed, a bone each; gradients pass to rotations and translation."""
        return bone_transforms(
            self.joint_rotations[None], self.joints_zero[None], self.translation[None], self.parents
        )[0]

    def vertices(self) -> Float[Tensor, "Vs 3"]:
        """The posed skin."""
        return blend_skinning(self.vertices_canonical[None], self.skin_weights, self.transforms()[None])[0]

    def joints(self) -> Float[Tensor, "J 3"]:
        """Posed."""
        transforms = self.transforms()
        return (transforms[:, :3, :3] @ self.joints_canonical[..., None])[..., 0] + transforms[:, :3, 3]
