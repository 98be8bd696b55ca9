"""Random believable poses: about half calm, half expressive, limbs kept apart so that cloth finds room between them.

Angles are drawn in degrees. In the zero pose (T-pose) the person faces +z with the left arm along +x; rotations are
about the body's axes there: x bends forward (for the trunk; hips bend with -x, knees with +x), y turns, z leans.
"""

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

MAX_TRIES = 20
MAX_REPAIRS = 8
REPAIR = 4.0  # degrees by which touching limbs are drawn apart at a time
PATH_SPREAD = np.radians(7.0)  # both legs swing this much wider on the way, so that the thighs' cloth does not catch

LIMITS = {  # degrees about x, y, z for the left side; the right side mirrors y and z
    "spine1": ((-15, 35), (-25, 25), (-15, 15)), "spine2": ((-12, 30), (-20, 20), (-12, 12)),
    "spine3": ((-10, 20), (-20, 20), (-12, 12)), "neck": ((-25, 30), (-35, 35), (-20, 20)),
    "head": ((-25, 30), (-40, 40), (-20, 20)), "collar": ((-8, 8), (-20, 12), (-8, 25)),
    "knee": ((0, 125), (-8, 8), (-4, 4)), "ankle": ((-30, 40), (-15, 15), (-12, 12)),
    "foot": ((-30, 15), (-4, 4), (-4, 4)), "elbow": ((-80, 80), (-140, 2), (-8, 8)),
    "wrist": ((-25, 25), (-25, 25), (-50, 50)), "hand": ((-8, 8), (-10, 10), (-30, 15)),
    "hip": ((-115, 35), (-40, 40), (-4, 50)),
}  # fmt: skip


CROSSED = (  # degrees: (raised, forward, twist, elbow's flex, its roll) of two arms that pass before the chest
    ((-29, 72, 33, 84, 3), (-37, 86, 33, 88, 50)), ((-64, 70, 43, 86, 18), (-12, 89, -55, 113, 41)),
    ((-62, 67, 46, 86, 12), (-17, 83, 22, 80, 47)), ((-2, 72, 6, 116, -7), (-31, 87, 8, 83, 18)),
)  # fmt: skip

Degrees = float | int


class _Draft:
    """A pose in the making."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rotations = np.zeros((len(JOINT_NAMES), 3))  # degrees

    def about(self, low: Degrees, high: Degrees) -> float:
        return float(self.rng.uniform(low, high))

    def bend(self, name: str, x: Degrees = 0.0, y: Degrees = 0.0, z: Degrees = 0.0) -> None:
        """Add to a joint of the trunk, or of a side ("left_knee"); y and z are given for the left side."""
        mirror = -1.0 if name.startswith("right") else 1.0
        self.rotations[joint(name)] += np.array([x, mirror * y, mirror * z])

    def trunk(self, x: Degrees = 0.0, y: Degrees = 0.0, z: Degrees = 0.0) -> None:
        """Bend the spine, divided over its three joints."""
        for name, share in (("spine1", 0.4), ("spine2", 0.35), ("spine3", 0.25)):
            self.bend(name, x * share, y * share, z * share)

    def arm(self, side: str, raise_: Degrees, forward: Degrees, twist: Degrees = 0.0) -> None:
        """Point the upper arm: `raise_` -90 (down) .. 90 (up) in the plane that is turned `forward` (0: sideways, 90:
        ahead) about the vertical; `twist` turns the elbow's hinge, positive lifts the forearm. The collar follows a
        high arm."""
        up, ahead = np.radians(raise_), np.radians(forward)
        target = np.array([np.cos(up) * np.cos(ahead), np.sin(up), np.cos(up) * np.sin(ahead)])
        axis = np.cross([1.0, 0.0, 0.0], target)
        length = np.linalg.norm(axis)
        angle = np.arctan2(length, target[0])
        swing = Rotation.from_rotvec(axis / length * angle if length > 1e-9 else np.zeros(3))
        turn = Rotation.from_rotvec(np.radians(twist) * target)
        vector = np.degrees((turn * swing).as_rotvec())
        self.bend(f"{side}_shoulder", *vector)
        if raise_ > 0:
            self.bend(f"{side}_collar", 0, 0, min(0.25 * raise_, 20))

    def elbow(self, side: str, flex: Degrees, roll: Degrees = 0.0) -> None:
        self.bend(f"{side}_elbow", roll, -flex, 0)

    def leg(self, side: str, flex: Degrees, open_: Degrees, knee: Degrees, turn: Degrees = 0.0) -> None:
        """Hip flexion forward, opening sideways, outward turn, and the knee; the ankle keeps the sole about level."""
        self.bend(f"{side}_hip", -flex, turn, open_)
        self.bend(f"{side}_knee", knee)
        self.bend(f"{side}_ankle", np.clip(0.5 * (flex - knee), -25, 25), 0, -0.5 * open_)


def _hang(d: _Draft, side: str) -> None:
    d.arm(side, -d.about(58, 73), d.about(-15, 25), d.about(-25, 25))
    d.elbow(side, d.about(5, 40), d.about(-30, 30))


def _stand(d: _Draft) -> None:
    for side in ("left", "right"):
        _hang(d, side)
        d.leg(side, d.about(-4, 6), d.about(4, 12), d.about(0, 8), d.about(0, 15))


def _contrapposto(d: _Draft) -> None:
    rest, free = d.rng.permutation(["left", "right"])
    lean = d.about(4, 9) * (1 if rest == "left" else -1)
    d.bend("pelvis", 0, d.about(-8, 8), lean * 0.6)
    d.trunk(0, 0, -lean * 1.4)
    d.leg(rest, d.about(-4, 3), d.about(6, 10), 0, d.about(0, 8))
    d.leg(free, d.about(8, 22), d.about(8, 16), d.about(18, 40), d.about(5, 20))
    _hang(d, "left")
    _hang(d, "right")
    if d.rng.random() < 0.5:  # a hand before the belly, as if holding something
        d.rotations[[joint(f"{free}_{n}") for n in ("shoulder", "elbow", "collar")]] = 0
        d.arm(free, -d.about(55, 68), d.about(15, 40), d.about(-10, 15))
        d.elbow(free, d.about(65, 105), d.about(-15, 15))


def _walk(d: _Draft, stride: Degrees = 1.0) -> None:
    front, back = d.rng.permutation(["left", "right"])
    swing = d.about(16, 30) * stride
    d.leg(front, swing, d.about(3, 7), d.about(5, 25) * stride, d.about(0, 8))
    d.leg(back, -0.7 * swing, d.about(3, 7), d.about(12, 45) * stride, d.about(0, 8))
    d.bend(f"{back}_foot", -d.about(5, 25))
    d.trunk(d.about(0, 8) * stride, d.about(3, 10) * (1 if back == "left" else -1))
    for side, ahead in ((back, 1.0), (front, -1.0)):
        d.arm(side, -d.about(55, 68), 40 * ahead * stride * d.about(0.7, 1.2), d.about(-15, 15))
        d.elbow(side, d.about(15, 40) + (d.about(25, 50) if stride > 1.2 else 0), d.about(-20, 20))


def _run(d: _Draft) -> None:
    _walk(d, d.about(1.3, 1.8))


def _reach(d: _Draft) -> None:
    active, other = d.rng.permutation(["left", "right"])
    d.arm(active, d.about(-15, 60), d.about(10, 95), d.about(-30, 40))
    d.elbow(active, d.about(5, 55), d.about(-40, 40))
    _hang(d, other)
    d.trunk(d.about(-5, 18), d.about(5, 25) * (1 if active == "right" else -1), d.about(-8, 8))
    d.leg(active, d.about(5, 35), d.about(6, 16), d.about(10, 45), d.about(0, 15))
    d.leg(other, -d.about(0, 18), d.about(6, 16), d.about(2, 15), d.about(0, 15))


def _arms_up(d: _Draft) -> None:
    for side in ("left", "right"):
        d.arm(side, d.about(15, 72), d.about(0, 70), d.about(-40, 30))
        d.elbow(side, d.about(5, 85), d.about(-40, 40))
        d.leg(side, d.about(-5, 12), d.about(5, 18), d.about(0, 20), d.about(0, 15))
    d.trunk(d.about(-12, 10), d.about(-15, 15), d.about(-10, 10))


def _wave(d: _Draft) -> None:
    _contrapposto(d) if d.rng.random() < 0.5 else _stand(d)
    side = str(d.rng.choice(["left", "right"]))
    d.rotations[[joint(f"{side}_{n}") for n in ("shoulder", "elbow", "collar")]] = 0
    d.arm(side, d.about(-20, 25), d.about(0, 45), d.about(-110, -60))
    d.elbow(side, d.about(60, 115), d.about(-30, 30))


def _squat(d: _Draft) -> None:
    depth = d.about(0.5, 1.0)
    for side in ("left", "right"):
        d.leg(side, 95 * depth + d.about(-6, 6), d.about(14, 26), 100 * depth + d.about(-6, 6), d.about(5, 22))
        d.arm(side, -d.about(5, 50), d.about(40, 85), d.about(-20, 20))
        d.elbow(side, d.about(10, 80), d.about(-30, 30))
    d.trunk(d.about(5, 35) * depth, d.about(-8, 8))
    d.bend("pelvis", d.about(5, 25) * depth)


def _sit(d: _Draft) -> None:
    for side in ("left", "right"):
        d.leg(side, d.about(72, 92), d.about(8, 20), d.about(70, 95), d.about(-2, 12))
        d.arm(side, -d.about(48, 65), d.about(20, 55), d.about(-10, 15))
        d.elbow(side, d.about(25, 60), d.about(-20, 20))
    d.trunk(d.about(-5, 22), d.about(-10, 10), d.about(-5, 5))


def _lunge(d: _Draft) -> None:
    front, back = d.rng.permutation(["left", "right"])
    d.leg(front, d.about(45, 80), d.about(6, 16), d.about(50, 85), d.about(0, 15))
    d.leg(back, -d.about(8, 28), d.about(6, 16), d.about(10, 55), d.about(0, 15))
    d.bend(f"{back}_foot", -d.about(10, 28))
    d.trunk(d.about(-5, 25), d.about(-25, 25), d.about(-8, 8))
    for side in ("left", "right"):
        d.arm(side, d.about(-55, 30), d.about(-20, 80), d.about(-40, 40))
        d.elbow(side, d.about(10, 95), d.about(-50, 50))


def _kick(d: _Draft) -> None:
    active, other = d.rng.permutation(["left", "right"])
    d.leg(active, d.about(25, 80), d.about(6, 35), d.about(5, 90), d.about(-5, 20))
    d.leg(other, d.about(-8, 10), d.about(2, 10), d.about(2, 20), d.about(0, 15))
    d.trunk(d.about(-12, 15), d.about(-20, 20), d.about(-12, 12))
    for side in ("left", "right"):
        d.arm(side, d.about(-50, 25), d.about(-25, 80), d.about(-40, 40))
        d.elbow(side, d.about(10, 95), d.about(-50, 50))


def _dance(d: _Draft) -> None:
    for side in ("left", "right"):
        d.arm(side, d.about(-60, 65), d.about(-25, 85), d.about(-70, 40))
        d.elbow(side, d.about(5, 115), d.about(-60, 60))
        d.leg(side, d.about(-18, 50), d.about(6, 26), d.about(5, 65), d.about(-10, 28))
    d.trunk(d.about(-15, 30), d.about(-35, 35), d.about(-20, 20))
    d.bend("pelvis", d.about(-5, 12), 0, d.about(-8, 8))


def _bend_over(d: _Draft) -> None:
    _stand(d)
    d.trunk(d.about(25, 60), d.about(-20, 20), d.about(-10, 10))
    d.bend("pelvis", d.about(0, 20))
    for side in ("left", "right"):
        d.rotations[[joint(f"{side}_{n}") for n in ("shoulder", "elbow", "collar")]] = 0
        d.arm(side, -d.about(30, 70), d.about(30, 90), d.about(-20, 20))
        d.elbow(side, d.about(5, 60), d.about(-30, 30))
        d.bend(f"{side}_hip", -d.about(0, 20))


def _arms_crossed(d: _Draft) -> None:
    _stand(d) if d.rng.random() < 0.6 else _contrapposto(d)
    d.rotations[[joint(f"{s}_{n}") for s in ("left", "right") for n in ("shoulder", "elbow", "collar")]] = 0
    arms = CROSSED[int(d.rng.integers(len(CROSSED)))]
    for side, angles in zip(d.rng.permutation(["left", "right"]), arms, strict=True):
        raised, forward, twist, flex, roll = (a + d.about(-4, 4) for a in angles)
        d.arm(side, raised, forward, twist)
        d.elbow(side, flex, roll)


def crosses(rotations: Float[np.ndarray, "24 3"], capsules: Capsules) -> bool:
    """Whether the wrists have passed each other in front of the chest."""
    places = capsules.places(rotations)
    return bool(places[joint("left_wrist"), 0] < places[joint("right_wrist"), 0])


Template = Callable[[_Draft], None]
POSES: dict[str, tuple[float, tuple[Template, ...]]] = {  # kind: chance, templates
    "standing": (0.17, (_stand, _contrapposto)),
    "walking": (0.13, (_walk,)),
    "running": (0.04, (_run,)),
    "waving": (0.05, (_wave,)),
    "reaching": (0.1, (_reach,)),
    "arms up": (0.08, (_arms_up,)),
    "arms crossed": (0.08, (_arms_crossed,)),
    "sitting": (0.07, (_sit,)),
    "squatting": (0.03, (_squat,)),
    "lunging": (0.04, (_lunge,)),
    "kicking": (0.02, (_kick,)),
    "bending": (0.03, (_bend_over,)),
    "dancing": (0.06, (_dance,)),
}
CALM = ("standing", "walking", "waving")
MOTION_CHANCE = 0.2  # of a frame of a shipped motion instead of a template
MOTIONS = {  # clip: kind
    "walk": "walking", "run": "running", "dance_a": "dancing", "dance_b": "dancing", "spin": "dancing",
    "kick": "kicking", "spinkick": "kicking", "punch": "punching", "jump": "jumping",
}  # fmt: skip
MOTION_WEIGHTS = (2, 1, 4, 4, 1, 1, 1, 1, 1)
MOTION_JITTER = 4.0  # degrees a joint
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
    fidget = 1.0 if kind in CALM else 1.6
    if kind != "arms crossed":
        return Pose(_freest(capsules, rng, template, fidget, lambda _: True), kind)
    rotations = _freest(capsules, rng, template, 0.5, lambda r: crosses(r, capsules))
    if crosses(rotations, capsules):
        return Pose(rotations, kind)
    return Pose(_freest(capsules, rng, _stand, 1.0, lambda _: True), "standing")


def _freest(
    capsules: Capsules,
    rng: np.random.Generator,
    template: Template,
    fidget: float,
    accepted: Callable[[Float[np.ndarray, "24 3"]], bool],
) -> Float[np.ndarray, "24 3"]:
    """The first draft whose limbs keep apart, or the one of all tried that comes closest."""
    best, best_gap = start_rotations(), -np.inf
    for _ in range(MAX_TRIES):
        draft = _Draft(rng)
        template(draft)
        if fidget > 0:
            _fidget(draft, fidget)
        for _ in range(MAX_REPAIRS):
            rotations = np.radians(_limited(draft.rotations))
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


def _frame(d: _Draft, clip: str) -> None:
    """A frame of a motion, jittered and turned a little."""
    frames = _upright_frames(clip)
    jitter = MOTION_JITTER * d.rng.standard_normal((len(JOINT_NAMES), 3))
    d.rotations = frames[int(d.rng.integers(len(frames)))] + jitter
    d.bend("pelvis", 0, d.about(-20, 20), 0)


def _draw_apart(d: _Draft, capsules: Capsules, gaps: Float[np.ndarray, " P"]) -> None:
    """Raise the arms and open the legs that touch something."""
    touching = {int(k) for k in capsules.bone[capsules.pairs[gaps < 0]].ravel()}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        if touching & {joint(f"{side}_{n}") for n in ("shoulder", "elbow", "wrist")}:
            index = joint(f"{side}_shoulder")
            away = Rotation.from_rotvec([0, 0, sign * np.radians(REPAIR)])
            d.rotations[index] = np.degrees((away * Rotation.from_rotvec(np.radians(d.rotations[index]))).as_rotvec())
        elif touching & {joint(f"{side}_{n}") for n in ("hip", "knee", "ankle")}:
            d.bend(f"{side}_hip", 0, 0, 0.75 * REPAIR)


def _fidget(d: _Draft, amount: float) -> None:
    """Small movements of the joints that the templates leave alone."""
    d.bend("pelvis", d.about(-4, 4), d.about(-20, 20), d.about(-3, 3))
    d.trunk(d.about(-7, 9) * amount, d.about(-10, 10) * amount, d.about(-7, 7) * amount)
    d.bend("neck", d.about(-10, 12) * amount, d.about(-14, 14) * amount, d.about(-7, 7) * amount)
    d.bend("head", d.about(-10, 12) * amount, d.about(-16, 16) * amount, d.about(-7, 7) * amount)
    for side in ("left", "right"):
        d.bend(f"{side}_wrist", d.about(-12, 12), d.about(-14, 14) * amount, d.about(-28, 22) * amount)
        d.bend(f"{side}_hand", 0, d.about(-5, 5), d.about(-18, 8))
        d.bend(f"{side}_collar", d.about(-4, 4), d.about(-7, 6) * amount, d.about(-4, 5) * amount)
        d.bend(f"{side}_ankle", d.about(-6, 6), d.about(-6, 6), d.about(-4, 4))
        d.bend(f"{side}_foot", d.about(-8, 4))


def _limited(degrees: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    """Clip joints to what people can do; pelvis and shoulders keep what their templates drew."""
    result = degrees.copy()
    for index, name in enumerate(JOINT_NAMES):
        side, _, part = name.rpartition("_")
        if part in LIMITS:
            low, high = np.array(LIMITS[part], float).T
            mirror = np.array([1, -1, -1]) if side == "right" else np.ones(3)
            result[index] = np.clip(result[index] * mirror, low, high) * mirror
    return result


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
