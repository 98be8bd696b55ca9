"""Limbs, trunk and head as capsules measured on a body: do limbs touch in a pose?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from gdna.body.skeleton import PARENTS, bone_poses
from gdna.synthesize.mannequin import Mannequin, joint, start_rotations

HAND_RADIUS = 0.045  # metres
FINGERS = 0.1  # metres from the hand's joint
HEAD_RADIUS = 0.1
SEGMENTS = (  # kind, bone, the joint at its end, share of the bone where the capsule starts
    ("arm", "shoulder", "elbow", 0.7),
    ("arm", "elbow", "wrist", 0.0),
    ("leg", "hip", "knee", 0.4),
    ("leg", "knee", "ankle", 0.0),
    ("leg", "ankle", "foot", 0.3),
)
ROOM = {  # metres between two kinds
    ("arm", "trunk"): 0.02,
    ("arm", "leg"): 0.02,
    ("arm", "arm"): 0.02,
    ("arm", "head"): 0.02,
    ("leg", "leg"): 0.025,
}


@dataclass(frozen=True)
class Capsules:
    """Limbs, trunk and head as capsules, in the frames of the zero pose."""

    joints_zero: Float[np.ndarray, "24 3"]
    bone: Int[np.ndarray, " K"]  # which bone carries the capsule
    ends: Float[np.ndarray, "K 2 3"]  # zero pose
    radius: Float[np.ndarray, " K"]
    pairs: Int[np.ndarray, "P 2"]
    room: Float[np.ndarray, " P"]  # metres asked between the two

    @staticmethod
    def of(body: Mannequin) -> Capsules:
        """Measured on the body: radii are the upper quartile of the skin's distance from each bone."""
        zero = _zero_joints(body)
        parts = [*_limbs(body, zero), *_trunk(body, zero)]
        pairs, room = _pairs([p.kind for p in parts], [p.side for p in parts])
        return Capsules(
            joints_zero=zero,
            bone=np.array([p.bone for p in parts]),
            ends=np.stack([p.ends for p in parts]),
            radius=np.array([p.radius for p in parts]),
            pairs=pairs,
            room=room,
        )

    def gaps(self, rotations: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, " P"]:
        """Distance between the surfaces of each pair of capsules, metres."""
        poses = self._poses(rotations)
        local = self.ends - self.joints_zero[self.bone][:, None]
        turned = np.einsum("kij,kej->kei", poses[self.bone, :3, :3], local) + poses[self.bone, None, :3, 3]
        a, b = self.pairs.T
        return _segment_distance(turned[a], turned[b]) - self.radius[a] - self.radius[b]

    def places(self, rotations: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
        """The joints in a pose."""
        return self._poses(rotations)[:, :3, 3]

    def _poses(self, rotations: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 4 4"]:
        return bone_poses(torch.from_numpy(rotations)[None], torch.from_numpy(self.joints_zero)[None])[0].numpy()


@dataclass(frozen=True)
class _Capsule:
    kind: str  # "arm", "leg", "trunk" or "head"
    side: str
    bone: int
    ends: np.ndarray  # (2, 3), zero pose
    radius: float


def _limbs(body: Mannequin, zero: Float[np.ndarray, "24 3"]) -> list[_Capsule]:
    parts = []
    for side in ("left", "right"):
        for kind, bone, child, start in SEGMENTS:
            first, last = joint(f"{side}_{bone}"), joint(f"{side}_{child}")
            ends = np.stack([zero[first] + start * (zero[last] - zero[first]), zero[last]])
            parts.append(_Capsule(kind, side, first, ends, _thickness(body, first, last)))
        wrist, hand = zero[joint(f"{side}_wrist")], zero[joint(f"{side}_hand")]
        tip = hand + FINGERS * (hand - wrist) / np.linalg.norm(hand - wrist)
        parts.append(_Capsule("arm", side, joint(f"{side}_wrist"), np.stack([wrist, tip]), HAND_RADIUS))
    return parts


def _trunk(body: Mannequin, zero: Float[np.ndarray, "24 3"]) -> list[_Capsule]:
    """Hips and chest as two upright capsules each, as wide and deep as the body together; the head."""
    at = {name: zero[joint(name)] for name in ("pelvis", "spine1", "spine2", "spine3", "head")}
    parts = []
    for bone, line in (
        ("pelvis", np.stack([at["pelvis"] - np.array([0, 0.02, 0]), at["spine1"]])),
        ("spine3", np.stack([at["spine2"], at["spine3"] + np.array([0, 0.05, 0])])),
    ):
        width, depth = _trunk_size(body, float(line[:, 1].mean()))
        for sign in (1, -1):
            shift = np.array([sign * max(width - depth, 0), 0, 0])
            parts.append(_Capsule("trunk", "", joint(bone), line + shift, min(width, depth)))
    skull = at["head"] + np.array([[0, 0.02, 0.02], [0, 0.1, 0.03]])
    return [*parts, _Capsule("head", "", joint("head"), skull, HEAD_RADIUS)]


def _pairs(kinds: list[str], sides: list[str]) -> tuple[Int[np.ndarray, "P 2"], Float[np.ndarray, " P"]]:
    """Which capsules may not touch, and how much room the cloth between them needs."""
    pairs, room = [], []
    for i in range(len(kinds)):
        for j in range(i):
            needed = ROOM.get((kinds[i], kinds[j]), ROOM.get((kinds[j], kinds[i])))
            if needed is not None and not (kinds[i] == kinds[j] and sides[i] == sides[j]):
                pairs.append((i, j))
                room.append(needed)
    return np.array(pairs), np.array(room)


def _thickness(body: Mannequin, bone: int, child: int) -> float:
    rest = _rest_joints(body)
    skin = np.unique(body.skin_quads)
    points = body.vertices_canonical[skin[body.skin_weights[skin].argmax(1) == bone]] - rest[bone]
    axis = rest[child] - rest[bone]
    along = np.clip(points @ axis / (axis @ axis), 0, 1)
    return float(np.percentile(np.linalg.norm(points - along[:, None] * axis, axis=1), 75))


def _segment_distance(first: Float[np.ndarray, "P 2 3"], second: Float[np.ndarray, "P 2 3"]) -> Float[np.ndarray, " P"]:
    """Smallest distance of two segments, by sampling one and projecting on the other (2 % of a
    limb is exact enough)."""
    shares = np.linspace(0, 1, 25)[None, :, None]
    points = first[:, :1] * (1 - shares) + first[:, 1:] * shares
    start, along = second[:, :1], second[:, 1:] - second[:, :1]
    t = ((points - start) * along).sum(-1, keepdims=True) / np.maximum((along * along).sum(-1, keepdims=True), 1e-12)
    return np.linalg.norm(points - start - np.clip(t, 0, 1) * along, axis=-1).min(1)


def _rest_joints(body: Mannequin) -> Float[np.ndarray, "24 3"]:
    """Joints in the canonical pose."""
    back = np.linalg.inv(body.transforms)
    return np.einsum("jab,jb->ja", back[:, :3, :3], body.joints) + back[:, :3, 3]


def _zero_joints(body: Mannequin) -> Float[np.ndarray, "24 3"]:
    """Joints in the zero pose: each bone turned back by its global rotation in the start pose."""
    turns = bone_poses(torch.from_numpy(start_rotations())[None], torch.from_numpy(body.joints)[None])[
        0, :, :3, :3
    ].numpy()
    zero = body.joints.copy()
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            zero[j] = zero[parent] + turns[parent].T @ (body.joints[j] - body.joints[parent])
    return zero


def _trunk_size(body: Mannequin, height: float) -> tuple[float, float]:
    """Half the trunk's width and depth at a height of the start pose."""
    skin = np.unique(body.skin_quads)
    trunk = [joint(n) for n in ("pelvis", "spine1", "spine2", "spine3")]
    near = body.vertices[skin[(body.skin_weights[skin][:, trunk].sum(1) > 0.6)]]
    near = near[np.abs(near[:, 1] - height) < 0.04]
    return float(np.percentile(np.abs(near[:, 0]), 95)), float(0.5 * np.ptp(near[:, 2]))
