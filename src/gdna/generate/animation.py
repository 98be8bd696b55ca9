"""Motions onto people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import bone_transforms, rotations_for, zero_pose_joints
from gdna.extract.pose import pose_mesh
from gdna.types import AvatarMesh, Motion, PosedMesh


@dataclass(frozen=True)
class Animation(Sequence[PosedMesh]):
    """The frames of a motion played by one person; each is posed when it is asked for."""

    avatar: AvatarMesh
    bone_transforms: Float[Tensor, "T J 4 4"]
    frame_rate: float

    def __len__(self) -> int:
        return len(self.bone_transforms)

    @overload
    def __getitem__(self, index: int) -> PosedMesh: ...
    @overload
    def __getitem__(self, index: slice) -> Animation: ...
    def __getitem__(self, index: int | slice) -> PosedMesh | Animation:
        if isinstance(index, slice):
            return replace(self, bone_transforms=self.bone_transforms[index])
        return next(iter(pose_mesh(self.avatar, self.bone_transforms[index][None])))

    def __iter__(self) -> Iterator[PosedMesh]:
        return iter(pose_mesh(self.avatar, self.bone_transforms))


def animate(avatar: AvatarMesh, motion: Motion) -> Animation:
    """A person playing a clip. Raises `GdnaError` where the clip is for another skeleton."""
    joints = zero_pose_joints(avatar.joints, avatar.parents).expand(len(motion.joint_rotations), -1, -1)
    rotations, translation = rotations_for(motion, avatar.parents).to(joints), motion.translation.to(joints)
    return Animation(avatar, bone_transforms(rotations, joints, translation, avatar.parents), motion.frame_rate)
