"""The 24-joint tree of SMPL and the open body, those of SMPL-H and SMPL-X, and forward kinematics on them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix, rigid
from gdna.types import Motion

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
BODY_JOINTS = 22  # joints that SMPL, SMPL-H and SMPL-X share, pelvis to wrists
HIP_OPENING = math.radians(30.0)


def _hand(wrist: int, first: int) -> tuple[int, ...]:
    """Parents of five fingers of three joints each; the first of each hangs on the wrist."""
    return tuple(wrist if joint % 3 == 0 else first + joint - 1 for joint in range(15))


_FINGERS = [f"{finger}{joint}" for finger in ("index", "middle", "pinky", "ring", "thumb") for joint in (1, 2, 3)]
_HANDS = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in _FINGERS)
_BODY, _BODY_NAMES = PARENTS[:BODY_JOINTS], JOINT_NAMES[:BODY_JOINTS]
SMPLH_PARENTS = (*_BODY, *_hand(20, 22), *_hand(21, 37))
SMPLX_PARENTS = (*_BODY, 15, 15, 15, *_hand(20, 25), *_hand(21, 40))
JOINTS_OF = {  # parents -> names, of the trees that are known here
    PARENTS: JOINT_NAMES,
    SMPLH_PARENTS: (*_BODY_NAMES, *_HANDS),
    SMPLX_PARENTS: (*_BODY_NAMES, "jaw", "left_eye", "right_eye", *_HANDS),
}
HAND_JOINTS = 30  # the last of both larger trees, left hand first


def canonical_rotations(count: int = len(PARENTS), dtype: torch.dtype = torch.float32) -> Float[Tensor, "J 3"]:
    """Joint rotations of the canonical pose: +30 degrees about z at the left hip, -30 at the right."""
    rotations = torch.zeros(count, 3, dtype=dtype)
    rotations[JOINT_NAMES.index("left_hip"), 2] = HIP_OPENING
    rotations[JOINT_NAMES.index("right_hip"), 2] = -HIP_OPENING
    return rotations


def bone_poses(
    joint_rotations: Float[Tensor, "B J 3"], joints_zero: Float[Tensor, "B J 3"], parents: tuple[int, ...] = PARENTS
) -> Float[Tensor, "B J 4 4"]:
    """Forward kinematics: where each bone's frame (at its joint, axes of the zero pose) lies in the posed world.

    `joints_zero` are the joints in the zero pose, metres. Translation is not included.
    """
    origin = torch.zeros_like(joints_zero[:, 0])
    start = torch.stack([origin if parent < 0 else joints_zero[:, parent] for parent in parents], 1)
    local = rigid(axis_angle_to_matrix(joint_rotations), joints_zero - start).unbind(1)
    poses: list[Tensor] = []
    for j, parent in enumerate(parents):
        poses.append(local[j] if parent < 0 else poses[parent] @ local[j])
    return torch.stack(poses, 1)


def bone_transforms(
    joint_rotations: Float[Tensor, "B J 3"],
    joints_zero: Float[Tensor, "B J 3"],
    translation: Float[Tensor, "B 3"],
    parents: tuple[int, ...] = PARENTS,
) -> Float[Tensor, "B J 4 4"]:
    """Rigid transforms that carry each bone from the canonical pose to the posed world."""
    rest = canonical_poses(joints_zero, parents)
    return carried(bone_poses(joint_rotations, joints_zero, parents), rest, translation)


def canonical_poses(
    joints_zero: Float[Tensor, "B J 3"], parents: tuple[int, ...] = PARENTS
) -> Float[Tensor, "B J 4 4"]:
    """`bone_poses` of the canonical pose."""
    rest = canonical_rotations(len(parents), joints_zero.dtype).to(joints_zero)
    return bone_poses(rest.expand(len(joints_zero), -1, -1), joints_zero, parents)


def carried(
    posed: Float[Tensor, "B J 4 4"], canonical: Float[Tensor, "B J 4 4"], translation: Float[Tensor, "B 3"]
) -> Float[Tensor, "B J 4 4"]:
    """`bone_transforms`, from where the bones' frames lie in the two poses."""
    shift = torch.zeros_like(posed)
    shift[..., :3, 3] = translation[:, None]
    return (posed + shift) @ rigid_inverse(canonical)


def zero_pose_joints(
    joints_canonical: Float[Tensor, "J 3"], parents: tuple[int, ...] = PARENTS
) -> Float[Tensor, "J 3"]:
    """Where the joints lie in the zero pose: the canonical pose's rotations undone, bone by bone."""
    rest = canonical_rotations(len(parents), joints_canonical.dtype).to(joints_canonical)[None]
    turns = bone_poses(rest, joints_canonical[None], parents)[0, :, :3, :3]
    joints = [joints_canonical[0]]
    for joint, parent in enumerate(parents[1:], 1):
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


def rotations_for(motion: Motion, parents: tuple[int, ...]) -> Float[Tensor, "T J 3"]:
    """A clip's joint rotations on a skeleton: as they are where it was made for it, else SMPL's 24 joints and the
    fingers, where there are any; what is not told is at rest. Raises `GdnaError` for a skeleton that is not known."""
    rotations = motion.joint_rotations
    if rotations.shape[1] == len(parents):
        return rotations
    if parents not in JOINTS_OF or rotations.shape[1] != len(PARENTS):
        raise GdnaError(
            f"motion {motion.name}: {rotations.shape[1]} joints for a person of {len(parents)}; expected "
            f"{len(PARENTS)}, or the person's own"
        )
    whole = rotations.new_zeros(len(rotations), len(parents), 3)
    whole[:, :BODY_JOINTS] = rotations[:, :BODY_JOINTS]
    if motion.hands is not None:
        whole[:, -HAND_JOINTS:] = motion.hands
    return whole
