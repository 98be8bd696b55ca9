"""The body under a scan's clothes, from the files of many registrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gdna.body.pickle_reader import read_pickle
from gdna.body.skeleton import JOINTS_OF
from gdna.errors import GdnaError

JOINT_COUNTS = tuple(len(parents) for parents in JOINTS_OF)
HAND_NUMBERS = 45
PARTS = {  # numbers of each part of a pose in files of SMPL-X
    "global_orient": 3, "body_pose": 63, "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3,
    "left_hand_pose": HAND_NUMBERS, "right_hand_pose": HAND_NUMBERS,
}  # fmt: skip
ORIGINAL_PARAMS = 86  # scale, translation 3, joint rotations 72, betas 10


@dataclass(frozen=True)
class ScanParams:
    """The body underneath and where it stands in the scan's own frame."""

    betas: Float[np.ndarray, " S"]
    joint_rotations: Float[np.ndarray, "J 3"]
    translation: Float[np.ndarray, " 3"]
    scale: float


def read_params(path: Path | str) -> ScanParams:
    """Parameters from an npz or pickle: betas; joint_rotations (J, 3), pose (3 J,), or global_orient and body_pose with
    the other parts that SMPL-X files have; translation (or transl, trans) and scale where they are given; or
    smpl_params (86,) as the original's files have. J is 24, 52 (SMPL-H) or 55 (SMPL-X).

    Raises `GdnaError` where the file is missing or broken, a value is missing, or the number of joints does not fit.
    """
    path = Path(path)
    return params_from(_read_values(path), path)


def params_from(values: Mapping[str, Any], path: Path) -> ScanParams:
    """As `read_params`, from the file's values."""
    if "smpl_params" in values:
        vector = np.asarray(values["smpl_params"], np.float64).ravel()
        if vector.size != ORIGINAL_PARAMS:
            raise GdnaError(f"{path}: smpl_params has {vector.size} numbers, expected {ORIGINAL_PARAMS}")
        values = {"scale": vector[0], "translation": vector[1:4], "pose": vector[4:76], "betas": vector[76:]}
    pose = _pose(values, path)
    translation = next((values[k] for k in ("translation", "transl", "trans") if k in values), np.zeros(3))
    if "betas" not in values:
        raise GdnaError(f"{path}: no betas among {sorted(values)}; expected the body's shape parameters")
    params = ScanParams(
        np.asarray(values["betas"], np.float32).ravel(),
        pose.astype(np.float32).reshape(-1, 3),
        np.asarray(translation, np.float64).ravel(),
        float(np.asarray(values.get("scale", 1.0)).ravel()[0]),
    )
    if not (np.isfinite(params.translation).all() and params.translation.size == 3 and 0 < params.scale < np.inf):
        raise GdnaError(
            f"{path}: translation {params.translation}, scale {params.scale}; expected three metres, scale above 0"
        )
    return params


def _read_values(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise GdnaError(f"{path}: not found; expected body parameters (npz or pkl)")
    if path.suffix.lower() == ".pkl":
        values = read_pickle(path)
        if not isinstance(values, dict):
            raise GdnaError(f"{path}: holds a {type(values).__name__}, expected a dict of body parameters")
        return values
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable npz of numbers ({error})") from error


def _pose(values: Mapping[str, Any], path: Path) -> Float[np.ndarray, " n"]:
    if "global_orient" in values and "body_pose" in values:
        pose = _in_parts(values, path)
    else:
        key = next((k for k in ("joint_rotations", "fullpose", "pose", "poses") if k in values), None)
        if key is None:
            raise GdnaError(f"{path}: no joint_rotations (24, 3) or pose (72,) among {sorted(values)}")
        pose = np.asarray(values[key], np.float64).ravel()
    if pose.size not in {3 * count for count in JOINT_COUNTS}:
        raise GdnaError(
            f"{path}: {pose.size / 3:g} joint rotations, expected {joint_counts()} (axis-angle, root first)"
        )
    return pose


def _in_parts(values: Mapping[str, Any], path: Path) -> Float[np.ndarray, " n"]:
    """SMPL: global_orient, body_pose; SMPL-H adds both hands, SMPL-X jaw and eyes before them (at rest if left out)."""
    parts = {k: np.asarray(values[k], np.float64).ravel() for k in PARTS if k in values}
    hands = [name for name in ("left_hand_pose", "right_hand_pose") if name in parts]
    for name in hands:
        if parts[name].size != HAND_NUMBERS:
            raise GdnaError(
                f"{path}: {name} has {parts[name].size} numbers, expected {HAND_NUMBERS} (15 joints as axis-angle; "
                "save components of a hand's basis as rotations first)"
            )
    chosen = ["global_orient", "body_pose"]
    if hands:
        face = ["jaw_pose", "leye_pose", "reye_pose"]
        chosen += (face if any(name in parts for name in face) else []) + ["left_hand_pose", "right_hand_pose"]
    return np.concatenate([parts.get(name, np.zeros(PARTS[name])) for name in chosen])


def joint_counts() -> str:
    """For messages."""
    return ", ".join(str(count) for count in JOINT_COUNTS)
