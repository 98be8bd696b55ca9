"""Other hypotheses from a state: a limb of another pose, or the person facing the other way."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import BODY_JOINTS, JOINT_NAMES
from gdna.fit.puppet import State
from gdna.geometry.rotations import axis_angle_to_matrix

LIMBS = tuple(
    tuple(JOINT_NAMES.index(f"{side}_{part}") for part in parts)
    for side in ("left", "right")
    for parts in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
)
SWAPPED = [
    JOINT_NAMES.index(n.replace("left", "*").replace("right", "left").replace("*", "right"))
    for n in JOINT_NAMES[:BODY_JOINTS]
]


def with_limb(state: State, limb: tuple[int, ...], poses: Float[np.ndarray, "K 24 3"]) -> State:
    """One state with one limb taken from each of K poses."""
    count = len(poses)
    rotations = state.rotations.expand(count, -1, -1, -1).clone()
    taken = torch.from_numpy(poses[:, list(limb)].astype(np.float32)).to(rotations)
    rotations[:, list(limb)] = axis_angle_to_matrix(taken)
    return State(
        rotations, state.betas.expand(count, -1), state.translation.expand(count, -1), state.scale.expand(count)
    )


def turned_round(state: State) -> State:
    """Everybody turned by half a turn about their own vertical, with the limbs where they were: a left arm takes the
    place of the right one. Knees that would bend forward are stretched."""
    half = torch.diag(torch.tensor([-1.0, 1.0, -1.0])).to(state.rotations)
    rotations = state.rotations.clone()
    rotations[:, :BODY_JOINTS] = half @ state.rotations[:, SWAPPED] @ half
    rotations[:, 0] = state.rotations[:, 0] @ half
    for side in ("left", "right"):
        for part in ("knee", "ankle", "foot"):
            rotations[:, JOINT_NAMES.index(f"{side}_{part}")] = torch.eye(3).to(rotations)
    return State(rotations, state.betas, state.translation, state.scale)


def joined(*states: State) -> State:
    """One after the other."""
    return State(*(torch.cat([getattr(s, n) for s in states]) for n in ("rotations", "betas", "translation", "scale")))


def spread_over(poses: Float[np.ndarray, "K 24 3"], limb: tuple[int, ...], count: int) -> Float[np.ndarray, "k 24 3"]:
    """`count` poses in which this limb differs most, by farthest points."""
    flat = poses[:, list(limb)].reshape(len(poses), -1)
    chosen = [0]
    nearest = ((flat - flat[0]) ** 2).sum(1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((flat - flat[chosen[-1]]) ** 2).sum(1))
    return poses[chosen]


def mean_distance(first: Float[Tensor, "J 3"], second: Float[Tensor, "J 3"]) -> float:
    """Between two sets of joints, metres."""
    return float((first - second).norm(dim=-1).mean())
