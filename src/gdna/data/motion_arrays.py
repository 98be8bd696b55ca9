"""Motions stored as arrays of joint rotations: AMASS, AIST++, single poses, gdna's own clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.pickle_reader import read_pickle
from gdna.body.skeleton import HAND_JOINTS, PARENTS, SMPLH_PARENTS, SMPLX_PARENTS
from gdna.data.motion import place_on_floor
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from gdna.types import Motion

NUM_JOINTS = len(PARENTS)
BODY_JOINTS = 22  # joints that SMPL shares with SMPL+H and SMPL-X; hands follow the wrists
AIST_FRAME_RATE = 60.0
POSE_FRAME_RATE = 30.0


def read_npz(path: Path) -> Motion:
    """AMASS (`poses`, `trans`, a frame rate), plain poses (`pose`), or a clip written by `save_motion`."""
    values = _load(path)
    if "joint_rotations" in values and "frame_rate" in values:
        rotations = _rotations(values["joint_rotations"], path)
        translation = _vectors(values["translation"], len(rotations), path)
        hands = values.get("hands")
        fingers = None if hands is None else _fingers(hands.reshape(len(rotations), -1), path)
        return Motion(path.stem, rotations, translation, _rate(values, path), fingers)
    if "poses" in values and "trans" in values:
        return place_on_floor(_amass(values, path))
    if "pose" in values:
        rotations = _rotations(values["pose"], path)
        return Motion(path.stem, rotations, torch.zeros(len(rotations), 3), POSE_FRAME_RATE)
    raise GdnaError(
        f"{path}: found {sorted(values)}; expected poses, trans and mocap_framerate (AMASS), pose (72,) or (T, 72), or "
        "joint_rotations, translation and frame_rate"
    )


def read_folder(path: Path) -> Motion:
    """One npz per frame, in the order of their names: `pose` (72,) as in the AIST++ demo, or `poses` of AMASS, whose
    axes are turned and whose `trans` is kept."""
    files = sorted(path.glob("*.npz"))
    if not files:
        raise GdnaError(f"{path}: no .npz files; expected one per frame, each with pose (72,)")
    frames = [_frame(file) for file in files]
    hands = [f.hands for f in frames if f.hands is not None]
    motion = Motion(
        path.name,
        torch.cat([f.joint_rotations for f in frames]),
        torch.cat([f.translation for f in frames]),
        frames[0].frame_rate,
        torch.cat(hands) if len(hands) == len(frames) else None,
    )
    return place_on_floor(motion) if bool(motion.translation.any()) else motion


def _frame(path: Path) -> Motion:
    values = _load(path)
    if "poses" in values:
        poses = np.atleast_2d(values["poses"])
        trans = np.atleast_2d(values.get("trans", np.zeros((len(poses), 3))))
        return _amass({"mocap_framerate": POSE_FRAME_RATE, **values, "poses": poses, "trans": trans}, path)
    if "pose" not in values:
        raise GdnaError(f"{path}: found {sorted(values)}, expected pose (72,) or poses of AMASS")
    rotations = _rotations(values["pose"], path)
    return Motion(path.stem, rotations, torch.zeros(len(rotations), 3), POSE_FRAME_RATE)


def read_aist(path: Path) -> Motion:
    """AIST++: smpl_poses (T, 72), smpl_trans (T, 3) in units of smpl_scaling, 60 frames per second."""
    values = read_pickle(path)
    if not isinstance(values, dict) or "smpl_poses" not in values:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise GdnaError(f"{path}: found {found}; expected an AIST++ motion with smpl_poses and smpl_trans")
    rotations = _rotations(values["smpl_poses"], path)
    scale = float(np.asarray(values.get("smpl_scaling", 1.0)).ravel()[0])
    translation = _vectors(values.get("smpl_trans", np.zeros((len(rotations), 3))), len(rotations), path) / scale
    return place_on_floor(Motion(path.stem, rotations, translation, AIST_FRAME_RATE))


def _amass(values: Mapping[str, Any], path: Path) -> Motion:
    """AMASS has z up; its 22 body joints are SMPL's, the fingers those of SMPL-H (156 numbers) or SMPL-X (165)."""
    poses = np.asarray(values["poses"])
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY_JOINTS:
        raise GdnaError(f"{path}: poses has shape {poses.shape}, expected (T, {3 * BODY_JOINTS} or more)")
    padded = np.zeros((len(poses), 3 * NUM_JOINTS), np.float32)
    padded[:, : 3 * BODY_JOINTS] = poses[:, : 3 * BODY_JOINTS]
    rotations = _rotations(padded, path)
    upright = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    rotations[:, 0] = matrix_to_axis_angle(upright @ axis_angle_to_matrix(rotations[:, 0]))
    translation = _vectors(values["trans"], len(rotations), path) @ upright.T
    with_fingers = poses.shape[1] in (3 * len(SMPLH_PARENTS), 3 * len(SMPLX_PARENTS))
    hands = _fingers(poses[:, -3 * HAND_JOINTS :], path) if with_fingers else None
    return Motion(path.stem, rotations, translation, _rate(values, path), hands)


def _fingers(values: np.ndarray, path: Path) -> Float[Tensor, "T 30 3"]:
    array = np.asarray(values, np.float32)
    if array.shape[1] != 3 * HAND_JOINTS or not np.isfinite(array).all():
        raise GdnaError(f"{path}: fingers of {array.shape[1]} numbers a frame, expected {3 * HAND_JOINTS} finite ones")
    return torch.from_numpy(array.reshape(-1, HAND_JOINTS, 3).copy())


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if file[key].dtype.kind in "fiub"}
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable npz of numbers ({error})") from error


def _rotations(values: Any, path: Path) -> Float[Tensor, "T 24 3"]:
    array = np.asarray(values, np.float32)
    size = 3 * NUM_JOINTS
    if array.size == 0 or array.shape not in ((size,), (len(array), size), (len(array), NUM_JOINTS, 3)):
        raise GdnaError(
            f"{path}: joint rotations of shape {array.shape}, expected (T, {size}) or (T, {NUM_JOINTS}, 3): "
            f"axis-angle of {NUM_JOINTS} joints, root first"
        )
    if not np.isfinite(array).all():
        raise GdnaError(f"{path}: joint rotations that are not finite; repair the file")
    return torch.from_numpy(array.reshape(-1, NUM_JOINTS, 3).copy())


def _vectors(values: Any, frames: int, path: Path) -> Float[Tensor, "T 3"]:
    array = np.asarray(values, np.float32)
    if array.shape != (frames, 3) or not np.isfinite(array).all():
        raise GdnaError(f"{path}: translation of shape {array.shape}, expected ({frames}, 3) finite metres")
    return torch.from_numpy(array.copy())


def _rate(values: Mapping[str, Any], path: Path) -> float:
    for key in ("frame_rate", "mocap_framerate", "mocap_frame_rate"):
        if key in values and float(values[key]) > 0:
            return float(values[key])
    raise GdnaError(f"{path}: no frame rate above 0 (mocap_framerate or mocap_frame_rate)")
