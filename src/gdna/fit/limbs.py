"""Other hypotheses from a state: a limb of another pose, a joint turned, another build, the person facing the other
way."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from gdna.body.skeleton import BODY_JOINTS, JOINT_NAMES
from gdna.fit.puppet import Puppet, State
from gdna.geometry.rotations import axis_angle_to_matrix

LIMBS = tuple(
    tuple(JOINT_NAMES.index(f"{side}_{part}") for part in parts)
    for side in ("left", "right")
    for parts in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
)
HALVES = tuple(
    tuple(JOINT_NAMES.index(f"{side}_{part}") for part in parts)
    for side in ("left", "right")
    for parts in (("elbow", "wrist"), ("knee", "ankle", "foot"))
)
HEAD = JOINT_NAMES.index("head")
BUILDS = 4  # betas that are tried
BUILD_STEP = 1.5  # of a beta
LENGTHS = tuple(  # by the bones' ends
    tuple(map(JOINT_NAMES.index, ends))
    for ends in (
        ("left_knee", "left_ankle", "right_knee", "right_ankle"),
        ("left_elbow", "left_wrist", "right_elbow", "right_wrist"),
        ("spine1", "spine2", "spine3", "neck"),
    )
)
LONGER = (0.10, 0.08, 0.05)  # metres: both legs together, both arms, the trunk
NUDGED_PARTS = ("collar", "shoulder", "elbow", "hip", "knee", "ankle")
NUDGED = tuple(
    JOINT_NAMES.index(name)
    for name in (
        *(f"{side}_{part}" for side in ("left", "right") for part in NUDGED_PARTS),
        *("spine1", "spine2", "spine3"),
    )
)
NUDGE = 0.3  # radians
SWAPPED = [
    JOINT_NAMES.index(n.replace("left", "*").replace("right", "left").replace("*", "right"))
    for n in JOINT_NAMES[:BODY_JOINTS]
]


def with_limb(state: State, limb: tuple[int, ...], poses: Float[np.ndarray, "K 24 3"]) -> State:
    """One state with one limb taken from each of K poses."""
    others = repeated(state, len(poses))
    rotations = others.rotations.clone()
    taken = torch.from_numpy(poses[:, list(limb)].astype(np.float32)).to(rotations)
    rotations[:, list(limb)] = axis_angle_to_matrix(taken)
    return State(rotations, others.betas, others.translation, others.scale)


def with_builds(state: State, puppet: Puppet) -> State:
    """One state with each of the first betas changed, and with longer legs, longer arms, a longer trunk; then the same
    the other way. The head stays where it was: loose clothes hide how long legs are, and feet that end above the hem of
    trousers stay there."""
    steps = BUILD_STEP * torch.eye(state.betas.shape[1])[:BUILDS].to(state.betas)
    steps = torch.cat([steps, _lengths(puppet)])
    others = repeated(state, 2 * len(steps))
    others = State(others.rotations, state.betas + torch.cat([steps, -steps]), others.translation, others.scale)
    shift = puppet.pose(state).joints[:, HEAD] - puppet.pose(others).joints[:, HEAD]
    return State(others.rotations, others.betas, others.translation + shift, others.scale)


def _lengths(puppet: Puppet) -> Float[torch.Tensor, "k S"]:
    """The smallest changes of the betas by which some bones become longer together."""
    steps = []
    for ends, longer in zip(LENGTHS, LONGER, strict=True):
        starts = [puppet.parents[end] for end in ends]
        bones = puppet.joints_zero[list(ends)] - puppet.joints_zero[starts]
        change = puppet.joints_zero_basis[:, list(ends)] - puppet.joints_zero_basis[:, starts]
        slope = (change * torch.nn.functional.normalize(bones, dim=-1)).sum((1, 2))
        steps.append(slope * longer / (slope**2).sum().clamp_min(1e-6))
    return torch.stack(steps)


def nudged(state: State) -> State:
    """One state with each of the larger joints turned a little about each of three axes, both ways: an arm can lie a
    hand's breadth too far up its sleeve and still be held by it."""
    turns = NUDGE * torch.cat([torch.eye(3), -torch.eye(3)])
    turned = axis_angle_to_matrix(turns).to(state.rotations)
    others = repeated(state, len(NUDGED) * len(turned))
    rotations = others.rotations.clone()
    for index, joint in enumerate(NUDGED):
        some = slice(index * len(turned), (index + 1) * len(turned))
        rotations[some, joint] = turned @ rotations[some, joint]
    return State(rotations, others.betas, others.translation, others.scale)


def repeated(state: State, times: int) -> State:
    """One state that many times."""
    return State(
        state.rotations.expand(times, -1, -1, -1),
        state.betas.expand(times, -1),
        state.translation.expand(times, -1),
        state.scale.expand(times),
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
