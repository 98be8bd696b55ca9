"""The 24-joint tree that every body model here shares, and forward kinematics on it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.geometry.rotations import axis_angle_to_matrix, rigid

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
HIP_OPENING = math.radians(30.0)


def canonical_rotations() -> Float[Tensor, "24 3"]:
    """Joint rotations of the canonical pose: +30 degrees about z at the left hip, -30 at the right."""
    rotations = torch.zeros(len(PARENTS), 3)
    rotations[JOINT_NAMES.index("left_hip"), 2] = HIP_OPENING
    rotations[JOINT_NAMES.index("right_hip"), 2] = -HIP_OPENING
    return rotations


def bone_poses(
    joint_rotations: Float[Tensor, "B J 3"], joints_zero: Float[Tensor, "B J 3"], parents: tuple[int, ...] = PARENTS
) -> Float[Tensor, "B J 4 4"]:
    """Forward kinematics: where each bone's frame (at its joint, axes of the zero pose) lies in the posed world.

    `joints_zero` are the joints in the zero pose, metres. Translation is not included.
    """
    rotations = axis_angle_to_matrix(joint_rotations)
    poses: list[Tensor] = []
    for j, parent in enumerate(parents):
        if parent < 0:
            poses.append(rigid(rotations[:, j], joints_zero[:, j]))
        else:
            local = rigid(rotations[:, j], joints_zero[:, j] - joints_zero[:, parent])
            poses.append(poses[parent] @ local)
    return torch.stack(poses, 1)


def bone_transforms(
    joint_rotations: Float[Tensor, "B J 3"],
    joints_zero: Float[Tensor, "B J 3"],
    translation: Float[Tensor, "B 3"],
    parents: tuple[int, ...] = PARENTS,
) -> Float[Tensor, "B J 4 4"]:
    """Rigid transforms that carry each bone from the canonical pose to the posed world."""
    posed = bone_poses(joint_rotations, joints_zero, parents)
    shift = torch.zeros_like(posed)
    shift[..., :3, 3] = translation[:, None]
    rest = canonical_rotations().to(joint_rotations).expand(joint_rotations.shape[0], -1, -1)
    return (posed + shift) @ rigid_inverse(bone_poses(rest, joints_zero, parents))


def zero_pose_joints(joints_canonical: Float[Tensor, "J 3"]) -> Float[Tensor, "J 3"]:
    """Where the joints lie in the zero pose: the canonical pose's rotations undone, bone by bone."""
    rest = canonical_rotations().to(joints_canonical)[None]
    turns = bone_poses(rest, joints_canonical[None])[0, :, :3, :3]
    joints = [joints_canonical[0]]
    for joint, parent in enumerate(PARENTS[1:], 1):
        bone = joints_canonical[joint] - joints_canonical[parent]
        joints.append(joints[parent] + turns[parent].T @ bone)
    return torch.stack(joints)


def rigid_inverse(transform: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Inverse of rotation-plus-translation matrices."""
    rotation = transform[..., :3, :3].mT
    return rigid(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])


def blend_skinning(
    points: Float[Tensor, "B N 3"], weights: Float[Tensor, "*w N J"], transforms: Float[Tensor, "B J 4 4"]
) -> Float[Tensor, "B N 3"]:
    """Linear blend skinning: sum_j w_j T_j x. `weights` are shared by the batch (N J) or per subject (B N J)."""
    blended = torch.matmul(weights, transforms[:, :, :3].flatten(2)).unflatten(-1, (3, 4))
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]
