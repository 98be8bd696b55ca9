"""From somebody else's skeleton to the 24-joint tree.

A bone's global rotation in the clip, times the rotation that lays our bone along the source's in the two rest poses, is
our bone's global rotation. Limbs are laid along; pelvis, spine, clavicles, feet and head are not, since the directions
between their joints differ from rig to rig without any difference in pose (aligned clavicles raise the shoulders).
The source's rest pose must be a T-, A- or N-pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import JOINT_NAMES, PARENTS
from gdna.data.joint_names import JointMap, name_joints
from gdna.data.motion import interpolate_rotations, joints_zero, place_on_floor
from gdna.errors import GdnaError
from gdna.geometry.rotations import cross_matrix, matrix_to_axis_angle
from gdna.types import Motion

ALIGNED = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}  # bone -> its other end
SPINE = ("spine1", "spine2", "spine3")
NECK = ("neck", "head")
INDEX = {name: i for i, name in enumerate(JOINT_NAMES)}


@dataclass(frozen=True)
class SourceClip:
    """T frames of a foreign skeleton of n joints, in any unit and any axes."""

    name: str
    where: str  # the file, for messages
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]  # parents come first, -1 for the root
    offsets: Float[Tensor, "n 3"]  # rest pose, from the parent
    local_rotations: Float[Tensor, "T n 3 3"]  # from the parent; identity is the rest pose
    root_positions: Float[Tensor, "T 3"]
    frame_rate: float


def retarget(clip: SourceClip) -> Motion:
    """Our joint rotations, with the travel scaled by the length of the legs, standing on the floor.

    Raises `GdnaError` where the limbs cannot be recognised by their names or the rest pose is not upright.
    """
    joints = name_joints(clip.joint_names, clip.parents, clip.where)
    rest = _rest(clip)
    turn = _upright(rest, joints, clip.where)
    rotations, positions = _forward(clip)
    ours = _global_rotations(joints, turn @ rotations @ turn.T, rest @ turn.T)
    local = torch.stack([ours[j] if p < 0 else ours[p].mT @ ours[j] for j, p in enumerate(PARENTS)], 1)
    travel = positions[:, joints.spine[0]] @ turn.T
    travel = (travel - travel[:1]) * _leg(joints_zero(), INDEX) / _leg(rest, joints.limbs)
    return place_on_floor(Motion(clip.name, matrix_to_axis_angle(local), travel, clip.frame_rate))


def _rest(clip: SourceClip) -> Float[Tensor, "n 3"]:
    joints: list[Tensor] = []
    for parent, offset in zip(clip.parents, clip.offsets, strict=True):
        joints.append(offset * 0 if parent < 0 else joints[parent] + offset)
    return torch.stack(joints)


def _forward(clip: SourceClip) -> tuple[Float[Tensor, "T n 3 3"], Float[Tensor, "T n 3"]]:
    """Global rotations and positions."""
    rotations: list[Tensor] = []
    positions: list[Tensor] = []
    for joint, parent in enumerate(clip.parents):
        if parent < 0:
            rotations.append(clip.local_rotations[:, joint])
            positions.append(clip.root_positions)
        else:
            rotations.append(rotations[parent] @ clip.local_rotations[:, joint])
            positions.append(positions[parent] + rotations[parent] @ clip.offsets[joint])
    return torch.stack(rotations, 1), torch.stack(positions, 1)


def _upright(rest: Float[Tensor, "n 3"], joints: JointMap, where: str) -> Float[Tensor, "3 3"]:
    """The quarter turns that make the source stand with y up and face +z, read from its rest pose."""
    limbs = joints.limbs
    left = _nearest_axis(rest[limbs["left_hip"]] - rest[limbs["right_hip"]])
    up = _nearest_axis(
        rest[limbs["left_hip"]] + rest[limbs["right_hip"]] - rest[limbs["left_ankle"]] - rest[limbs["right_ankle"]]
    )
    if float((left * up).abs().sum()) > 0:
        raise GdnaError(
            f"{where}: the rest pose does not stand upright; expected a T-, A- or N-pose with zero rotations"
        )
    return torch.stack([left, up, torch.linalg.cross(left, up)])


def _nearest_axis(direction: Float[Tensor, " 3"]) -> Float[Tensor, " 3"]:
    axis = torch.zeros(3)
    largest = int(direction.abs().argmax())
    axis[largest] = direction[largest].sign()
    return axis


def _global_rotations(
    joints: JointMap, source: Float[Tensor, "T n 3 3"], rest: Float[Tensor, "n 3"]
) -> list[Float[Tensor, "T 3 3"]]:
    """Our bones' global rotations in order; joints the source lacks follow their parent."""
    zero = joints_zero()
    result: list[Tensor] = []
    corrections: list[Tensor] = []
    for index, (name, parent) in enumerate(zip(JOINT_NAMES, PARENTS, strict=True)):
        side, _, part = name.partition("_")
        end = f"{side}_{ALIGNED.get(part, '')}"
        correction = torch.eye(3)
        if end in joints.limbs:
            correction = _shortest_turn(
                zero[INDEX[end]] - zero[index], rest[joints.limbs[end]] - rest[joints.limbs[name]]
            )
        elif part in ("elbow", "wrist", "hand"):
            correction = corrections[parent]
        corrections.append(correction)
        if name == "pelvis":
            result.append(source[:, joints.spine[0]])
        elif name in SPINE:
            result.append(_along(joints.spine, (SPINE.index(name) + 1) / len(SPINE), source))
        elif name in NECK:
            result.append(_along(joints.neck, (NECK.index(name) + 1) / len(NECK), source))
        elif name in joints.limbs:
            result.append(source[:, joints.limbs[name]] @ correction)
        else:
            result.append(result[parent])
    return result


def _along(chain: tuple[int, ...], share: float, source: Float[Tensor, "T n 3 3"]) -> Float[Tensor, "T 3 3"]:
    """The global rotation at a share of the way down a chain, between its joints where the numbers of joints differ."""
    place = share * (len(chain) - 1)
    before = min(int(place + 1e-6), len(chain) - 1)
    after = min(before + 1, len(chain) - 1)
    start, end = source[:, chain[before]], source[:, chain[after]]
    return interpolate_rotations(start, end, torch.tensor(max(place - before, 0.0)))


def _shortest_turn(start: Float[Tensor, " 3"], end: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The rotation by the smallest angle that carries one direction onto another."""
    a, b = torch.nn.functional.normalize(torch.stack([start, end]), dim=-1)
    cross = cross_matrix(torch.linalg.cross(a, b))
    return torch.eye(3) + cross + cross @ cross / (1 + a @ b).clamp_min(1e-6)


def _leg(joints: Float[Tensor, "n 3"], index: dict[str, int]) -> float:
    hip, knee, ankle = (joints[index[f"left_{part}"]] for part in ("hip", "knee", "ankle"))
    return float((hip - knee).norm() + (knee - ankle).norm())
