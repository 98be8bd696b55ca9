"""One scan as the pack gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gdna.types import Scan


@dataclass(frozen=True)
class BodyParameters:
    """The body under the clothes, exactly. Posed space: metres, y up."""

    betas: Float[np.ndarray, " S"]
    joint_rotations: Float[np.ndarray, "J 3"]  # axis-angle relative to the parent, root first
    joints: Float[np.ndarray, "J 3"]  # posed
    translation: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Surface:
    """A union of closed solids (body, garments, hair, shoes), posed."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    face_labels: UInt8[np.ndarray, " F"]  # index into the label names
    visible: Bool[np.ndarray, " F"]  # faces that no other part hides


@dataclass(frozen=True)
class About:
    """What is said of a scan without looking at its mesh."""

    name: str
    person: str  # the same in all poses of a person
    pose_index: int
    garments: tuple[str, ...]  # innermost first, then hair, shoes, hat
    label_names: tuple[str, ...]
    seed: int
    index: int
    generator_version: int
    traits: Mapping[str, Any]  # numbers, words and lists that the generator tells


@dataclass(frozen=True)
class PackedScan:
    """A scan with all that is known of it."""

    about: About
    surface: Surface
    body: BodyParameters

    def to_scan(self) -> Scan:
        """As every other scan: the complete soup of solids in the body's frame, for inside and outside."""
        moved = self.surface.vertices - self.body.translation
        return Scan(
            self.about.name,
            moved.astype(np.float32),
            self.surface.faces,
            self.body.betas,
            self.body.joint_rotations,
        )
