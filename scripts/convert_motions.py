"""Make the shipped clips from DeepMimic's, as the PyPI package `pybullet` carries them (zlib licence).

    pip download --no-deps pybullet==3.2.7
    python scripts/convert_motions.py pybullet-3.2.7-*.whl src/gdna/data/motions

DeepMimic's person faces +x with y up and the right side at +z; zero rotations are a pose with hanging arms. A frame has
44 numbers: seconds to the next frame, root position and quaternion (w first), then joint rotations, as quaternions or
(knees, elbows) angles about the axis to the right.
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.data.motion import interpolate_rotations, joints_zero, resample, save_motion
from gdna.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from gdna.types import BodyParams, Motion

J = {name: i for i, name in enumerate(JOINT_NAMES)}
FRAME_RATE = 30.0
FINE_RATE = 120.0  # clips have frames of unequal length; they are brought to this rate first
TO_OURS = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # x left, y up, z forward
LICENSE_FILE = "LICENSE.txt"


@dataclass(frozen=True)
class Clip:
    """How a source clip is taken over."""

    source: str
    cycles: int = 1  # repetitions of a cyclic clip
    face_travel: bool = False  # turn the direction of travel, not the first frame's heading, to +z


CLIPS = {
    "walk": Clip("walk", cycles=4, face_travel=True),
    "run": Clip("run", cycles=5, face_travel=True),
    "dance_a": Clip("dance_a", cycles=3),
    "dance_b": Clip("dance_b", cycles=2),
    "spin": Clip("spin"),
    "jump": Clip("jump"),
    "kick": Clip("kick"),
    "punch": Clip("punch"),
    "cartwheel": Clip("cartwheel"),
    "spinkick": Clip("spinkick"),
    "backflip": Clip("backflip"),
}

# joint: (number of its parent among the joints, place in the parent's frame, metres); the order is that of the file
SOURCE_JOINTS: dict[str, tuple[int, tuple[float, float, float]]] = {
    "root": (-1, (0, 0, 0)),
    "chest": (0, (0, 0.236151, 0)),
    "neck": (1, (0, 0.223894, 0)),
    "right_hip": (0, (0, 0, 0.084887)),
    "right_knee": (3, (0, -0.421546, 0)),
    "right_ankle": (4, (0, -0.40987, 0)),
    "right_shoulder": (1, (-0.02405, 0.2435, 0.18311)),
    "right_elbow": (6, (0, -0.274788, 0)),
    "left_hip": (0, (0, 0, -0.084887)),
    "left_knee": (8, (0, -0.421546, 0)),
    "left_ankle": (9, (0, -0.40987, 0)),
    "left_shoulder": (1, (-0.02405, 0.2435, -0.18311)),
    "left_elbow": (11, (0, -0.274788, 0)),
}
HINGES = ("knee", "elbow")
FOOT_CORNERS = [(x, -0.05, z) for x in (-0.0435, 0.1335) for z in (-0.045, 0.045)]
# points of the source's shapes that can touch the ground, with the radius around them
TOUCHING = {
    "neck": ([(0, 0.175, 0)], 0.1025),
    "right_ankle": (FOOT_CORNERS, 0.0),
    "left_ankle": (FOOT_CORNERS, 0.0),
    "right_elbow": ([(0, -0.258947, 0)], 0.04),
    "left_elbow": ([(0, -0.258947, 0)], 0.04),
}


@dataclass(frozen=True)
class Source:
    """T frames at equal intervals: local rotations (T, 13, 3, 3) and root positions (T, 3) in the source's own axes."""

    rotations: Tensor
    position: Tensor


def main(package: Path, out: Path) -> None:
    for name, clip in CLIPS.items():
        frames = torch.tensor(json.loads(read_member(package, f"motions/humanoid3d_{clip.source}.txt"))["Frames"])
        motion = convert(name, clip, frames)
        save_motion(out / f"{name}.npz", motion)
        print(
            f"{name}: {len(motion.translation) / FRAME_RATE:.1f} s, {float(motion.translation.norm(dim=1).max()):.2f} m"
        )
    (out / LICENSE_FILE).write_text(notice(read_member(package, "LICENSE.txt")))


def read_member(package: Path, suffix: str) -> str:
    if package.is_dir():
        return next(package.rglob(f"*{suffix}")).read_text()
    with zipfile.ZipFile(package) as archive:
        names = [n for n in archive.namelist() if n.endswith(suffix) and (suffix != "LICENSE.txt" or "dist-info" in n)]
        return archive.read(names[0]).decode()


def notice(license_text: str) -> str:
    return (
        "The clips in this folder are altered versions of the DeepMimic motion clips (Xue Bin Peng, 2018) as\n"
        "distributed with Bullet Physics / PyBullet 3.2.7: retargeted to another skeleton, resampled, looped and\n"
        "set on the floor by scripts/convert_motions.py. Their licence follows.\n\n" + license_text.strip() + "\n"
    )


def convert(name: str, clip: Clip, frames: Tensor) -> Motion:
    source = loop(even(frames), clip.cycles)
    motion = Motion(name, joint_rotations(source), travel(source), FINE_RATE)
    motion = face_forward(set_on_floor(motion, source_heights(source)), clip.face_travel)
    return resample(motion, FRAME_RATE)


def even(frames: Tensor) -> Source:
    """Decode, and interpolate to equal intervals."""
    times = frames[:-1, 0].cumsum(0)
    times = torch.cat([times.new_zeros(1), times])
    columns, rotations = 4, []
    for joint in SOURCE_JOINTS:
        if any(hinge in joint for hinge in HINGES):
            vector = torch.zeros(len(frames), 3)
            vector[:, 2] = frames[:, columns]
            rotations.append(axis_angle_to_matrix(vector))
            columns += 1
        else:
            rotations.append(quaternion_to_matrix(frames[:, columns : columns + 4]))
            columns += 4
    at = torch.arange(0, float(times[-1]) + 1e-4, 1 / FINE_RATE)
    after = torch.searchsorted(times, at, right=True).clamp(1, len(times) - 1)
    share = ((at - times[after - 1]) / (times[after] - times[after - 1])).clamp(0, 1)
    stacked = torch.stack(rotations, 1)
    mixed = interpolate_rotations(stacked[after - 1], stacked[after], share[:, None])
    return Source(mixed, torch.lerp(frames[after - 1, 1:4], frames[after, 1:4], share[:, None]))


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Unit quaternions, w first."""
    w, vector = quaternion[:, :1], quaternion[:, 1:]
    sign = torch.where(w < 0, -1.0, 1.0)
    norm = vector.norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2(norm, w.abs())
    return axis_angle_to_matrix(vector * sign * torch.where(norm < 1e-7, torch.full_like(norm, 2.0), angle / norm))


def loop(source: Source, cycles: int) -> Source:
    """Repeat a cycle: what separates its last pose from its first is spread over the cycle, travel is carried on."""
    if cycles == 1:
        return source
    count = len(source.position) - 1
    share = (torch.arange(count) / count)[:, None]
    gap = matrix_to_axis_angle(source.rotations[-1].mT @ source.rotations[0])
    rotations = source.rotations[:-1] @ axis_angle_to_matrix(gap * share[..., None])
    step = source.position[-1] - source.position[0]
    position = source.position[:-1] - share * step * torch.tensor([0.0, 1, 0])
    step = step * torch.tensor([1.0, 0, 1])
    return Source(rotations.repeat(cycles, 1, 1, 1), torch.cat([position + k * step for k in range(cycles)]))


def joint_rotations(source: Source) -> Tensor:
    """Ours (T, 24, 3), axis-angle: the chest's bend is shared by three spine joints, the neck's by neck and head, and
    our T-pose's arms first hang down."""
    turned = dict(zip(SOURCE_JOINTS, (TO_OURS @ source.rotations @ TO_OURS.T).unbind(1), strict=True))
    result = torch.zeros(len(source.position), len(JOINT_NAMES), 3)
    result[:, J["pelvis"]] = matrix_to_axis_angle(turned["root"])
    for part in ("spine1", "spine2", "spine3"):
        result[:, J[part]] = matrix_to_axis_angle(turned["chest"]) / 3
    for part in ("neck", "head"):
        result[:, J[part]] = matrix_to_axis_angle(turned["neck"]) / 2
    for side, sign in (("left", -1), ("right", 1)):
        for part in ("hip", "knee", "ankle"):
            result[:, J[f"{side}_{part}"]] = matrix_to_axis_angle(turned[f"{side}_{part}"])
        hang = axis_angle_to_matrix(torch.tensor([0.0, 0.0, sign * math.pi / 2]))
        result[:, J[f"{side}_shoulder"]] = matrix_to_axis_angle(turned[f"{side}_shoulder"] @ hang)
        result[:, J[f"{side}_elbow"]] = matrix_to_axis_angle(hang.T @ turned[f"{side}_elbow"] @ hang)
    return result


def leg_ratio() -> float:
    zero = joints_zero()
    ours = (zero[J["left_hip"]] - zero[J["left_knee"]]).norm() + (zero[J["left_knee"]] - zero[J["left_ankle"]]).norm()
    return float(ours) / (0.421546 + 0.40987)


def travel(source: Source) -> Tensor:
    moved = source.position @ TO_OURS.T * leg_ratio()
    return moved - moved[:1]


def source_heights(source: Source) -> Tensor:
    """The lowest point of the source's person in each frame, above its ground (T,), metres."""
    rotations, positions, lowest = [], [], []
    for index, (joint, (parent, offset)) in enumerate(SOURCE_JOINTS.items()):
        local = source.rotations[:, index]
        rotations.append(local if parent < 0 else rotations[parent] @ local)
        place = source.position if parent < 0 else positions[parent] + rotations[parent] @ torch.tensor(offset)
        positions.append(place)
        points, radius = TOUCHING.get(joint, ([], 0.0))
        lowest += [(place + rotations[index] @ torch.tensor(point))[:, 1] - radius for point in points]
    return torch.stack(lowest).amin(0)


def set_on_floor(motion: Motion, heights: Tensor) -> Motion:
    """Whoever touches the ground in the source touches the floor on which our zero pose stands, in each frame; in the
    air the source's height counts. The correction is smoothed over a twentieth of a second."""
    body = open_body()
    skin = body.faces.unique()

    def lowest(rotations: Tensor) -> Tensor:
        count = len(rotations)
        params = BodyParams(torch.zeros(count, body.num_betas), rotations, torch.zeros(count, 3))
        return body(params).vertices[:, skin, 1].amin(1)

    floor = lowest(torch.zeros(1, len(JOINT_NAMES), 3))
    ours = torch.cat([lowest(part) for part in motion.joint_rotations.split(32)])
    wanted = floor + heights.clamp_min(0) * leg_ratio() - ours
    translation = motion.translation.clone()
    translation[:, 1] = smooth(wanted, 0.05 * FINE_RATE / 2)
    return Motion(motion.name, motion.joint_rotations, translation, motion.frame_rate)


def smooth(values: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    padded = torch.nn.functional.pad(values[None, None], (reach, reach), mode="replicate")
    return torch.nn.functional.conv1d(padded, (weights / weights.sum())[None, None])[0, 0]


def face_forward(motion: Motion, by_travel: bool) -> Motion:
    """Turn the clip about the vertical so that it starts towards +z."""
    rotation = axis_angle_to_matrix(motion.joint_rotations[:, 0])
    ahead = motion.translation[-1] - motion.translation[0] if by_travel else rotation[0, :, 2]
    yaw = axis_angle_to_matrix(torch.tensor([0.0, -math.atan2(float(ahead[0]), float(ahead[2])), 0.0]))
    rotations = motion.joint_rotations.clone()
    rotations[:, 0] = matrix_to_axis_angle(yaw @ rotation)
    return Motion(motion.name, rotations, motion.translation @ yaw.T, motion.frame_rate)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
