"""One body in the pose in which garments are cut and put on, with the measures a tailor would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.types import BodyParams

ARM_DROP = math.radians(45.0)
LEG_SPREAD = math.radians(10.0)
ARM_JOINTS = ("shoulder", "elbow", "wrist", "hand")
LEG_JOINTS = ("hip", "knee", "ankle", "foot")


def joint(name: str) -> int:
    """Index of a joint by name."""
    return JOINT_NAMES.index(name)


def start_rotations() -> Float[np.ndarray, "24 3"]:
    """The start pose: arms lowered by 45 degrees from the T-pose, legs spread by 10 degrees each."""
    rotations = np.zeros((len(JOINT_NAMES), 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[joint(f"{side}_shoulder"), 2] = -sign * ARM_DROP
        rotations[joint(f"{side}_hip"), 2] = sign * LEG_SPREAD
    return rotations


def limb_weights(skin_weights: Float[np.ndarray, "V J"], names: tuple[str, ...]) -> Float[np.ndarray, " V"]:
    """How much each vertex belongs to the named joints of both sides."""
    return skin_weights[:, [joint(f"{s}_{n}") for s in ("left", "right") for n in names]].sum(1)


@dataclass(frozen=True)
class Mannequin:
    """All body vertices (helpers included) in the start pose, metres."""

    vertices: Float[np.ndarray, "V 3"]  # posed: start pose
    vertices_canonical: Float[np.ndarray, "V 3"]
    joints: Float[np.ndarray, "24 3"]  # posed: start pose
    skin_weights: Float[np.ndarray, "V J"]
    skin_quads: Int[np.ndarray, "K 4"]
    suit_quads: Int[np.ndarray, "Q 4"]
    skirt_quads: Int[np.ndarray, "R 4"]
    transforms: Float[np.ndarray, "J 4 4"]  # canonical -> start pose

    @property
    def skin_faces(self) -> Int[np.ndarray, "F 3"]:
        return self.skin_quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)

    def joint(self, name: str) -> Float[np.ndarray, "3"]:
        return self.joints[joint(name)]

    def centre_line(self, front: bool) -> Float[np.ndarray, "C 3"]:
        """The suit's vertices in the mirror plane, in front of or behind the spine, from the neck down."""
        suit = self.vertices[np.unique(self.suit_quads)]
        suit = suit[(np.abs(suit[:, 0]) < 0.008)]
        spine = np.interp(suit[:, 1], *self._spine())
        suit = suit[(suit[:, 2] > spine) == front]
        return suit[np.argsort(-suit[:, 1])]

    def _spine(self) -> tuple[np.ndarray, np.ndarray]:
        chain = np.stack([self.joint(n) for n in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")])
        return chain[:, 1], chain[:, 2]

    @property
    def crotch(self) -> float:
        """Height of the suit between the legs."""
        return float(np.concatenate([self.centre_line(True), self.centre_line(False)])[:, 1].min())

    @property
    def scale(self) -> float:
        """Size against the mean body, by the height of the neck over the ankles."""
        ankles = 0.5 * (self.joint("left_ankle") + self.joint("right_ankle"))
        return float((self.joint("neck")[1] - ankles[1]) / 1.37)


def mannequin(betas: Float[np.ndarray, " S"]) -> Mannequin:
    """The open body of shape `betas` in the start pose."""
    body = open_body()
    rotations = torch.from_numpy(start_rotations()).float()[None]
    posed = body(BodyParams(torch.from_numpy(np.asarray(betas, np.float32))[None], rotations, torch.zeros(1, 3)))
    return Mannequin(
        vertices=posed.vertices[0].double().numpy(),
        vertices_canonical=posed.vertices_canonical[0].double().numpy(),
        joints=posed.joints[0].double().numpy(),
        skin_weights=np.asarray(body.skin_weights, np.float64),
        skin_quads=body.skin_quads,
        suit_quads=body.helper_quads["tights"],
        skirt_quads=body.helper_quads["skirt"],
        transforms=posed.bone_transforms[0].double().numpy(),
    )
