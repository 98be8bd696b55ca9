"""Motions for the 24-joint tree: reading any supported file, resampling, placing on the floor and before the camera."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import bone_poses
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from gdna.types import Motion

SUFFIXES = (".npz", ".pkl", ".bvh", ".amc")
SWAY_SECONDS = 0.5  # `keep_in_view` leaves movement faster than this


def shipped_motions() -> list[str]:
    """Names of the clips that come with gdna."""
    folder = resources.files("gdna.data").joinpath("motions")
    return sorted(p.name.removesuffix(".npz") for p in folder.iterdir() if p.name.endswith(".npz"))


def load_motion(name_or_path: Path | str) -> Motion:
    """A shipped clip by name, or a file: AMASS .npz, AIST++ .pkl, .bvh, CMU .amc with its .asf beside it, an .npz with
    `pose` (72,) or (T, 72), a folder of such .npz, or what `save_motion` wrote.

    Clips of files start at the origin with their lowest joint on the floor. Raises `GdnaError` where the name is
    unknown, the file is missing or broken, or joints are missing.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped_motions():
        with resources.as_file(resources.files("gdna.data").joinpath("motions", f"{name_or_path}.npz")) as file:
            return _read_file(file)
    if path.is_dir():
        from gdna.data.motion_arrays import read_folder

        return read_folder(path)
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise GdnaError(
            f"motion {name_or_path}: neither a shipped clip ({', '.join(shipped_motions())}) nor an existing file "
            f"({', '.join(SUFFIXES)}) or folder of poses"
        )
    return _read_file(path)


def _read_file(path: Path) -> Motion:
    from gdna.data.motion_amc import read_amc
    from gdna.data.motion_arrays import read_aist, read_npz
    from gdna.data.motion_bvh import read_bvh

    readers = {".npz": read_npz, ".pkl": read_aist, ".bvh": read_bvh, ".amc": read_amc}
    return readers[path.suffix.lower()](path)


def save_motion(path: Path | str, motion: Motion) -> None:
    """Write an .npz that `load_motion` reads back unchanged."""
    arrays = {"joint_rotations": motion.joint_rotations, "translation": motion.translation}
    if motion.hands is not None:
        arrays["hands"] = motion.hands
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        plain: dict[str, Any] = {name: array.numpy().astype(np.float32) for name, array in arrays.items()}
        np.savez_compressed(file, frame_rate=np.float32(motion.frame_rate), **plain)


def resample(motion: Motion, frame_rate: float) -> Motion:
    """The same clip at another frame rate; rotations are interpolated along the shortest arc."""
    if not 0 < frame_rate < math.inf:
        raise GdnaError(f"frame rate {frame_rate}: expected a number of frames per second above 0")
    count = len(motion.translation)
    frames = torch.arange(int((count - 1) / motion.frame_rate * frame_rate + 1e-4) + 1) * motion.frame_rate / frame_rate
    before = frames.floor().long().clamp(max=max(count - 2, 0))
    after = (before + 1).clamp(max=count - 1)
    share = (frames - before)[:, None]
    matrices = axis_angle_to_matrix(motion.joint_rotations)
    rotations = interpolate_rotations(matrices[before], matrices[after], share)
    translation = torch.lerp(motion.translation[before], motion.translation[after], share)
    hands = motion.hands
    if hands is not None:
        turned = axis_angle_to_matrix(hands)
        hands = matrix_to_axis_angle(interpolate_rotations(turned[before], turned[after], share))
    return Motion(motion.name, matrix_to_axis_angle(rotations), translation, frame_rate, hands)


def interpolate_rotations(
    start: Float[Tensor, "*n 3 3"], end: Float[Tensor, "*n 3 3"], share: Float[Tensor, "*#n"]
) -> Float[Tensor, "*n 3 3"]:
    """Rotations on the shortest arc from `start` (share 0) to `end` (share 1)."""
    return start @ axis_angle_to_matrix(matrix_to_axis_angle(start.mT @ end) * share[..., None])


def joint_positions(motion: Motion) -> Float[Tensor, "T 24 3"]:
    """Where the joints of the average open body are, metres."""
    zero = joints_zero()
    poses = bone_poses(motion.joint_rotations, zero.expand(len(motion.translation), -1, -1))
    return poses[:, :, :3, 3] + motion.translation[:, None]


def place_on_floor(motion: Motion) -> Motion:
    """Shift a clip so that it starts at the origin and its lowest joint is where the zero pose's lowest joint (a foot)
    is."""
    floor = joints_zero()[:, 1].amin()
    start = motion.translation[0]
    shift = torch.stack([-start[0], floor - joint_positions(motion)[..., 1].amin(), -start[2]])
    return replace(motion, translation=motion.translation + shift)


def keep_in_view(motion: Motion) -> Motion:
    """Take slow horizontal travel out of a clip, for a camera that does not move; swaying and jumping stay."""
    sigma = SWAY_SECONDS * motion.frame_rate
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    travel = motion.translation[:, [0, 2]]
    # mirrored through its end points, a steady walk stays steady to the last frame
    steps = torch.arange(1, reach + 1)
    last = len(travel) - 1
    head = 2 * travel[:1] - travel[steps.flip(0).clamp(max=last)]
    tail = 2 * travel[-1:] - travel[(last - steps).clamp(min=0)]
    padded = torch.cat([head, travel, tail]).T[:, None]
    slow = torch.nn.functional.conv1d(padded, (weights / weights.sum())[None, None])[:, 0].T
    translation = motion.translation.clone()
    translation[:, [0, 2]] = travel - slow
    return replace(motion, translation=translation)


def joints_zero() -> Float[Tensor, "24 3"]:
    """The average open body's joints in the zero pose."""
    from gdna.body.open_body import open_body

    return torch.as_tensor(open_body().joint_template)
