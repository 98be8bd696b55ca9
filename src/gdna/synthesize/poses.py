"""Random believable poses, from templates and from shipped motions, limbs kept apart so that cloth finds room between
them; and the way into a pose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from gdna.body.skeleton import JOINT_NAMES
from gdna.data.motion import load_motion
from gdna.synthesize.capsules import Capsules
from gdna.synthesize.mannequin import Mannequin, joint, start_rotations
from gdna.synthesize.templates import POSES, Draft, Template, fidget, limited, stand

MAX_TRIES = 20
MAX_REPAIRS = 8
REPAIR = 4.0  # degrees by which touching limbs are drawn apart at a time
PATH_SPREAD = np.radians(7.0)  # both legs swing this much wider on the way, so that the thighs' cloth does not catch


def crosses(rotations: Float[np.ndarray, "24 3"], capsules: Capsules) -> bool:
    """Whether the wrists have passed each other in front of the chest."""
    places = capsules.places(rotations)
    return bool(places[joint("left_wrist"), 0] < places[joint("right_wrist"), 0])


CALM = ("standing", "walking", "waving")
MOTION_CHANCE = 0.2  # of a frame of a shipped motion instead of a template
MOTIONS = {  # clip: kind
    "walk": "walking", "run": "running", "dance_a": "dancing", "dance_b": "dancing", "spin": "dancing",
    "kick": "kicking", "spinkick": "kicking", "punch": "punching", "jump": "jumping",
}  # fmt: skip
MOTION_WEIGHTS = (2, 1, 4, 4, 1, 1, 1, 1, 1)
MOTION_JITTER = 4.0  # degrees a joint
REST_JITTER = 1.5  # degrees
MOST_TILTED = 40.0  # degrees of the pelvis: frames of somersaults are left out


@dataclass(frozen=True)
class Pose:
    """Joint rotations (radians, root first) and what the person does."""

    rotations: Float[np.ndarray, "24 3"]
    kind: str


def sample_pose(body: Mannequin, rng: np.random.Generator, kinds: tuple[str, ...] | None = None) -> Pose:
    """A random pose whose limbs keep apart on this body: of the templates, or a frame of a shipped motion, jittered.

    Every pose also moves head, spine, wrists, collars and toes a little. Limbs that touch are drawn apart a few
    degrees at a time; where no free pose turns up, the freest of those tried is answered. `kinds` restricts the
    templates and leaves motions out.
    """
    capsules = Capsules.of(body)
    if kinds is None and rng.random() < MOTION_CHANCE:
        clip = str(rng.choice(list(MOTIONS), p=np.array(MOTION_WEIGHTS) / sum(MOTION_WEIGHTS)))
        return Pose(_freest(capsules, rng, lambda d: _frame(d, clip), 0.0, lambda _: True), MOTIONS[clip])
    names = list(POSES) if kinds is None else list(kinds)
    chances = np.array([POSES[name][0] for name in names])
    kind = str(rng.choice(names, p=chances / chances.sum()))
    templates = POSES[kind][1]
    template = templates[int(rng.integers(len(templates)))]
    restless = 1.0 if kind in CALM else 1.6
    if kind != "arms crossed":
        return Pose(_freest(capsules, rng, template, restless, lambda _: True), kind)
    rotations = _freest(capsules, rng, template, 0.5, lambda r: crosses(r, capsules))
    if crosses(rotations, capsules):
        return Pose(rotations, kind)
    return Pose(_freest(capsules, rng, stand, 1.0, lambda _: True), "standing")


def rest_pose(rng: np.random.Generator, attempt: int) -> Pose:
    """The start pose; in later attempts arms and legs `REST_JITTER` degrees an attempt away from it."""
    rotations = start_rotations()
    for name in ("shoulder", "hip"):
        moved = np.radians(REST_JITTER * attempt * rng.uniform(-1, 1))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            rotations[joint(f"{side}_{name}"), 2] += sign * moved
    return Pose(rotations, "at rest")


def _freest(
    capsules: Capsules,
    rng: np.random.Generator,
    template: Template,
    restless: float,
    accepted: Callable[[Float[np.ndarray, "24 3"]], bool],
) -> Float[np.ndarray, "24 3"]:
    """The first draft whose limbs keep apart, or the one of all tried that comes closest."""
    best, best_gap = start_rotations(), -np.inf
    for _ in range(MAX_TRIES):
        draft = Draft(rng)
        template(draft)
        if restless > 0:
            fidget(draft, restless)
        for _ in range(MAX_REPAIRS):
            rotations = np.radians(limited(draft.rotations))
            gaps = capsules.gaps(rotations) - capsules.room
            if gaps.min() > best_gap and accepted(rotations):
                best, best_gap = rotations, gaps.min()
            if best_gap > 0:
                return best
            _draw_apart(draft, capsules, gaps)
    return best


@lru_cache(maxsize=len(MOTIONS))
def _upright_frames(clip: str) -> Float[np.ndarray, "T 24 3"]:
    """A shipped motion's frames in which the trunk is about upright, turned to the front; degrees."""
    frames = load_motion(clip).joint_rotations.double().numpy()
    root = Rotation.from_rotvec(frames[:, 0])
    upright = np.degrees(np.arccos(np.clip(root.apply([0.0, 1.0, 0.0])[:, 1], -1, 1))) < MOST_TILTED
    ahead = root.apply([0.0, 0.0, 1.0])
    heading = np.zeros((len(frames), 3))
    heading[:, 1] = np.arctan2(ahead[:, 0], ahead[:, 2])
    frames = frames.copy()
    frames[:, 0] = (Rotation.from_rotvec(heading).inv() * root).as_rotvec()
    return np.degrees(frames[upright])


def _frame(d: Draft, clip: str) -> None:
    """A frame of a motion, jittered and turned a little."""
    frames = _upright_frames(clip)
    jitter = MOTION_JITTER * d.rng.standard_normal((len(JOINT_NAMES), 3))
    d.rotations = frames[int(d.rng.integers(len(frames)))] + jitter
    d.bend("pelvis", 0, d.about(-20, 20), 0)


def _draw_apart(d: Draft, capsules: Capsules, gaps: Float[np.ndarray, " P"]) -> None:
    """Raise the arms and open the legs that touch something."""
    touching = {int(k) for k in capsules.bone[capsules.pairs[gaps < 0]].ravel()}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        if touching & {joint(f"{side}_{n}") for n in ("shoulder", "elbow", "wrist")}:
            index = joint(f"{side}_shoulder")
            away = Rotation.from_rotvec([0, 0, sign * np.radians(REPAIR)])
            d.rotations[index] = np.degrees((away * Rotation.from_rotvec(np.radians(d.rotations[index]))).as_rotvec())
        elif touching & {joint(f"{side}_{n}") for n in ("hip", "knee", "ankle")}:
            d.bend(f"{side}_hip", 0, 0, 0.75 * REPAIR)


def pose_path(
    target: Float[np.ndarray, "24 3"], frames: int, spread: float = PATH_SPREAD
) -> Float[np.ndarray, "T 24 3"]:
    """Joint rotations eased from the start pose to `target`, the legs swung a little wider in between."""
    shares = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, frames))
    path = np.empty((frames, *target.shape))
    for index, (first, last) in enumerate(zip(start_rotations(), target, strict=True)):
        path[:, index] = Slerp([0, 1], Rotation.from_rotvec([first, last]))(shares).as_rotvec()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hip = joint(f"{side}_hip")
        wider = np.zeros((frames, 3))
        wider[:, 2] = sign * spread * np.sin(np.pi * shares)
        path[:, hip] = (Rotation.from_rotvec(wider) * Rotation.from_rotvec(path[:, hip])).as_rotvec()
    path[-1] = target
    return path
