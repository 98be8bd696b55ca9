"""Poses that people take: starts for the search, and how likely a pose is.

From the templates of `gdna.synthesize` and the frames of the shipped motions, both with a fixed seed, and mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from gdna.body.skeleton import BODY_JOINTS, JOINT_NAMES
from gdna.data.motion import load_motion, shipped_motions
from gdna.synthesize.templates import LIMITS, POSES, Draft, fidget, limited

TEMPLATE_POSES = 420
FRAMES_A_CLIP = 14
WIDENING = 6.0  # degrees by which the prior trusts the library less
OWN_SHARE = 0.4  # of each rotation's own spread in the covariance; the rest keeps what joints do together
SHOULDER = ((-110, 110), (-110, 80), (-100, 90))  # degrees about x, y, z of the left one
LOOSE = 10.0  # degrees beyond the templates' limits that are still believed


@dataclass(frozen=True)
class PosePrior:
    """A Gaussian over the 21 joints below the root, and limits of each; axis-angle, radians."""

    mean: Float[Tensor, " n"]
    whitening: Float[Tensor, "n n"]  # times (pose - mean): unit variance
    low: Float[Tensor, " n"]
    high: Float[Tensor, " n"]

    def to(self, device: torch.device) -> PosePrior:
        return PosePrior(*(t.to(device) for t in (self.mean, self.whitening, self.low, self.high)))


@lru_cache(maxsize=1)
def library_poses() -> Float[np.ndarray, "K 24 3"]:
    """Joint rotations (radians) of poses of all kinds, the root's yaw taken out; the first two are T and A."""
    rng = np.random.default_rng(20)
    poses = [np.zeros((24, 3)), _a_pose()]
    kinds = list(POSES)
    chances = np.array([POSES[kind][0] for kind in kinds])
    for _ in range(TEMPLATE_POSES):
        kind = str(rng.choice(kinds, p=chances / chances.sum()))
        draft = Draft(rng)
        templates = POSES[kind][1]
        templates[int(rng.integers(len(templates)))](draft)
        fidget(draft, 1.0)
        poses.append(np.radians(limited(draft.rotations)))
    for clip in shipped_motions():
        frames = load_motion(clip).joint_rotations.numpy().astype(np.float64)
        poses.extend(frames[np.linspace(0, len(frames) - 1, FRAMES_A_CLIP).round().astype(int)])
    return np.stack([_ahead(pose) for pose in poses])


def _a_pose() -> Float[np.ndarray, "24 3"]:
    pose = np.zeros((24, 3))
    for side, sign in (("left", 1), ("right", -1)):
        pose[JOINT_NAMES.index(f"{side}_shoulder"), 2] = -sign * np.radians(45)
        pose[JOINT_NAMES.index(f"{side}_hip"), 2] = sign * np.radians(8)
    return pose


def _ahead(pose: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    root = Rotation.from_rotvec(pose[0])
    ahead = root.apply([0.0, 0.0, 1.0])
    if np.hypot(ahead[0], ahead[2]) < 0.3:
        return pose
    heading = Rotation.from_rotvec([0, np.arctan2(ahead[0], ahead[2]), 0])
    return np.concatenate([(heading.inv() * root).as_rotvec()[None], pose[1:]])


def mirrored(poses: Float[np.ndarray, "K 24 3"]) -> Float[np.ndarray, "K 24 3"]:
    """Left and right exchanged."""
    names = [n.replace("left", "*").replace("right", "left").replace("*", "right") for n in JOINT_NAMES]
    return poses[:, [JOINT_NAMES.index(n) for n in names]] * np.array([1.0, -1.0, -1.0])


@lru_cache(maxsize=1)
def pose_prior() -> PosePrior:
    """Of `library_poses` and their mirror images."""
    poses = library_poses()
    flat = np.concatenate([poses, mirrored(poses)])[:, 1:BODY_JOINTS].reshape(-1, 3 * (BODY_JOINTS - 1))
    spread = np.cov(flat.T)
    spread = (1 - OWN_SHARE) * spread + np.diag(OWN_SHARE * np.diag(spread) + np.radians(WIDENING) ** 2)
    low, high = _limits()
    whitening = np.linalg.inv(np.linalg.cholesky(spread))
    return PosePrior(*(torch.from_numpy(a.astype(np.float32)) for a in (flat.mean(0), whitening, low, high)))


def _limits() -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    rows = []
    for name in JOINT_NAMES[1:BODY_JOINTS]:
        side, _, part = name.rpartition("_")
        low, high = np.array(LIMITS.get(part, SHOULDER), float).T
        if side == "right":
            low, high = np.array([low[0], -high[1], -high[2]]), np.array([high[0], -low[1], -low[2]])
        rows.append((low, high))
    low, high = np.array(rows).transpose(1, 0, 2).reshape(2, -1)
    return np.radians(low - LOOSE), np.radians(high + LOOSE)
