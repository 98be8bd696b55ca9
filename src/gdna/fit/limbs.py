"""Other hypotheses from a state: a limb of another pose, or the person facing the other way."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from gdna.body.skeleton import BODY_JOINTS, JOINT_NAMES
from gdna.fit.puppet import State
from gdna.geometry.rotations import axis_angle_to_matrix

LIMBS = tuple(
    tuple(JOINT_NAMES.index(f"{side}_{part}") for part in parts)
    for side in ("left", "right")
    for parts in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
)
FOREARMS = tuple(
    tuple(JOINT_NAMES.index(f"{side}_{part}") for part in ("elbow", "wrist")) for side in ("left", "right")
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
