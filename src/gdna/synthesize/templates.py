"""Templates of poses: functions that bend the joints of a draft.

Angles are drawn in degrees. In the zero pose (T-pose) the person faces +z with the left arm along +x; rotations are
about the body's axes there: x bends forward (for the trunk; hips bend with -x, knees with +x), y turns, z leans.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from gdna.body.skeleton import JOINT_NAMES
from gdna.synthesize.mannequin import joint

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


class Draft:
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


def _hang(d: Draft, side: str) -> None:
    d.arm(side, -d.about(58, 73), d.about(-15, 25), d.about(-25, 25))
    d.elbow(side, d.about(5, 40), d.about(-30, 30))


def stand(d: Draft) -> None:
    for side in ("left", "right"):
        _hang(d, side)
        d.leg(side, d.about(-4, 6), d.about(4, 12), d.about(0, 8), d.about(0, 15))


def _contrapposto(d: Draft) -> None:
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


def _walk(d: Draft, stride: Degrees = 1.0) -> None:
    front, back = d.rng.permutation(["left", "right"])
    swing = d.about(16, 30) * stride
    d.leg(front, swing, d.about(3, 7), d.about(5, 25) * stride, d.about(0, 8))
    d.leg(back, -0.7 * swing, d.about(3, 7), d.about(12, 45) * stride, d.about(0, 8))
    d.bend(f"{back}_foot", -d.about(5, 25))
    d.trunk(d.about(0, 8) * stride, d.about(3, 10) * (1 if back == "left" else -1))
    for side, ahead in ((back, 1.0), (front, -1.0)):
        d.arm(side, -d.about(55, 68), 40 * ahead * stride * d.about(0.7, 1.2), d.about(-15, 15))
        d.elbow(side, d.about(15, 40) + (d.about(25, 50) if stride > 1.2 else 0), d.about(-20, 20))


def _run(d: Draft) -> None:
    _walk(d, d.about(1.3, 1.8))


def _reach(d: Draft) -> None:
    active, other = d.rng.permutation(["left", "right"])
    d.arm(active, d.about(-15, 60), d.about(10, 95), d.about(-30, 40))
    d.elbow(active, d.about(5, 55), d.about(-40, 40))
    _hang(d, other)
    d.trunk(d.about(-5, 18), d.about(5, 25) * (1 if active == "right" else -1), d.about(-8, 8))
    d.leg(active, d.about(5, 35), d.about(6, 16), d.about(10, 45), d.about(0, 15))
    d.leg(other, -d.about(0, 18), d.about(6, 16), d.about(2, 15), d.about(0, 15))


def _arms_up(d: Draft) -> None:
    for side in ("left", "right"):
        d.arm(side, d.about(15, 72), d.about(0, 70), d.about(-40, 30))
        d.elbow(side, d.about(5, 85), d.about(-40, 40))
        d.leg(side, d.about(-5, 12), d.about(5, 18), d.about(0, 20), d.about(0, 15))
    d.trunk(d.about(-12, 10), d.about(-15, 15), d.about(-10, 10))


def _wave(d: Draft) -> None:
    _contrapposto(d) if d.rng.random() < 0.5 else stand(d)
    side = str(d.rng.choice(["left", "right"]))
    d.rotations[[joint(f"{side}_{n}") for n in ("shoulder", "elbow", "collar")]] = 0
    d.arm(side, d.about(-20, 25), d.about(0, 45), d.about(-110, -60))
    d.elbow(side, d.about(60, 115), d.about(-30, 30))


def _squat(d: Draft) -> None:
    depth = d.about(0.5, 1.0)
    for side in ("left", "right"):
        d.leg(side, 95 * depth + d.about(-6, 6), d.about(14, 26), 100 * depth + d.about(-6, 6), d.about(5, 22))
        d.arm(side, -d.about(5, 50), d.about(40, 85), d.about(-20, 20))
        d.elbow(side, d.about(10, 80), d.about(-30, 30))
    d.trunk(d.about(5, 35) * depth, d.about(-8, 8))
    d.bend("pelvis", d.about(5, 25) * depth)


def _sit(d: Draft) -> None:
    for side in ("left", "right"):
        d.leg(side, d.about(72, 92), d.about(8, 20), d.about(70, 95), d.about(-2, 12))
        d.arm(side, -d.about(48, 65), d.about(20, 55), d.about(-10, 15))
        d.elbow(side, d.about(25, 60), d.about(-20, 20))
    d.trunk(d.about(-5, 22), d.about(-10, 10), d.about(-5, 5))


def _lunge(d: Draft) -> None:
    front, back = d.rng.permutation(["left", "right"])
    d.leg(front, d.about(45, 80), d.about(6, 16), d.about(50, 85), d.about(0, 15))
    d.leg(back, -d.about(8, 28), d.about(6, 16), d.about(10, 55), d.about(0, 15))
    d.bend(f"{back}_foot", -d.about(10, 28))
    d.trunk(d.about(-5, 25), d.about(-25, 25), d.about(-8, 8))
    for side in ("left", "right"):
        d.arm(side, d.about(-55, 30), d.about(-20, 80), d.about(-40, 40))
        d.elbow(side, d.about(10, 95), d.about(-50, 50))


def _kick(d: Draft) -> None:
    active, other = d.rng.permutation(["left", "right"])
    d.leg(active, d.about(25, 80), d.about(6, 35), d.about(5, 90), d.about(-5, 20))
    d.leg(other, d.about(-8, 10), d.about(2, 10), d.about(2, 20), d.about(0, 15))
    d.trunk(d.about(-12, 15), d.about(-20, 20), d.about(-12, 12))
    for side in ("left", "right"):
        d.arm(side, d.about(-50, 25), d.about(-25, 80), d.about(-40, 40))
        d.elbow(side, d.about(10, 95), d.about(-50, 50))


def _dance(d: Draft) -> None:
    for side in ("left", "right"):
        d.arm(side, d.about(-60, 65), d.about(-25, 85), d.about(-70, 40))
        d.elbow(side, d.about(5, 115), d.about(-60, 60))
        d.leg(side, d.about(-18, 50), d.about(6, 26), d.about(5, 65), d.about(-10, 28))
    d.trunk(d.about(-15, 30), d.about(-35, 35), d.about(-20, 20))
    d.bend("pelvis", d.about(-5, 12), 0, d.about(-8, 8))


def _bend_over(d: Draft) -> None:
    stand(d)
    d.trunk(d.about(25, 60), d.about(-20, 20), d.about(-10, 10))
    d.bend("pelvis", d.about(0, 20))
    for side in ("left", "right"):
        d.rotations[[joint(f"{side}_{n}") for n in ("shoulder", "elbow", "collar")]] = 0
        d.arm(side, -d.about(30, 70), d.about(30, 90), d.about(-20, 20))
        d.elbow(side, d.about(5, 60), d.about(-30, 30))
        d.bend(f"{side}_hip", -d.about(0, 20))


def _arms_crossed(d: Draft) -> None:
    stand(d) if d.rng.random() < 0.6 else _contrapposto(d)
    d.rotations[[joint(f"{s}_{n}") for s in ("left", "right") for n in ("shoulder", "elbow", "collar")]] = 0
    arms = CROSSED[int(d.rng.integers(len(CROSSED)))]
    for side, angles in zip(d.rng.permutation(["left", "right"]), arms, strict=True):
        raised, forward, twist, flex, roll = (a + d.about(-4, 4) for a in angles)
        d.arm(side, raised, forward, twist)
        d.elbow(side, flex, roll)


def fidget(d: Draft, amount: float) -> None:
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


def limited(degrees: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    """Clip joints to what people can do; pelvis and shoulders keep what their templates drew."""
    result = degrees.copy()
    for index, name in enumerate(JOINT_NAMES):
        side, _, part = name.rpartition("_")
        if part in LIMITS:
            low, high = np.array(LIMITS[part], float).T
            mirror = np.array([1, -1, -1]) if side == "right" else np.ones(3)
            result[index] = np.clip(result[index] * mirror, low, high) * mirror
    return result


Template = Callable[[Draft], None]
POSES: dict[str, tuple[float, tuple[Template, ...]]] = {  # kind: chance, templates
    "standing": (0.17, (stand, _contrapposto)),
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
