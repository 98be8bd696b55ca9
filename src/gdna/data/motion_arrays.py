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
from gdna.body.skeleton import PARENTS
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
        return Motion(path.stem, rotations, _vectors(values["translation"], len(rotations), path), _rate(values, path))
    if "poses" in values and "trans" in values:
        return _amass(values, path)
    if "pose" in values:
        rotations = _rotations(values["pose"], path)
        return Motion(path.stem, rotations, torch.zeros(len(rotations), 3), POSE_FRAME_RATE)
    raise GdnaError(
        f"{path}: found {sorted(values)}; expected poses, trans and mocap_framerate (AMASS), pose (72,) or (T, 72), or "
        "joint_rotations, translation and frame_rate"
    )


def read_folder(path: Path) -> Motion:
    """One npz with `pose` (72,) per frame, in the order of their names."""
    files = sorted(path.glob("*.npz"))
    if not files:
        raise GdnaError(f"{path}: no .npz files; expected one per frame, each with pose (72,)")
    poses = []
    for file in files:
        values = _load(file)
        if "pose" not in values:
            raise GdnaError(f"{file}: found {sorted(values)}, expected pose (72,)")
        poses.append(_rotations(values["pose"], file))
    rotations = torch.cat(poses)
    return Motion(path.name, rotations, torch.zeros(len(rotations), 3), POSE_FRAME_RATE)


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
    """AMASS has z up; its 22 body joints are SMPL's, fingers are dropped."""
    poses = np.asarray(values["poses"])
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY_JOINTS:
        raise GdnaError(f"{path}: poses has shape {poses.shape}, expected (T, {3 * BODY_JOINTS} or more)")
    padded = np.zeros((len(poses), 3 * NUM_JOINTS), np.float32)
    padded[:, : 3 * BODY_JOINTS] = poses[:, : 3 * BODY_JOINTS]
    rotations = _rotations(padded, path)
    upright = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    rotations[:, 0] = matrix_to_axis_angle(upright @ axis_angle_to_matrix(rotations[:, 0]))
    translation = _vectors(values["trans"], len(rotations), path) @ upright.T
    return place_on_floor(Motion(path.stem, rotations, translation, _rate(values, path)))


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
