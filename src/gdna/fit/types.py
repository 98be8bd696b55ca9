"""Values that cross the parts of fitting: what a sensor gave, and where a body lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gdna.types import BodyParams


@dataclass(frozen=True)
class RawScan:
    """A person as the sensor gave it: a mesh, a cloud of points, or one side of a person seen by a depth camera.

    In the file's own frame and unit: nothing is known of scale, up axis, facing or place.
    """

    name: str
    points: Float[np.ndarray, "N 3"]  # of a mesh: its vertices
    faces: Int[np.ndarray, "F 3"] | None  # of a mesh: any orientation, holes, several shells
    normals: Float[np.ndarray, "N 3"] | None  # unit, outward where the source says so; None: not known
    eye: Float[np.ndarray, " 3"] | None = None  # where a depth camera stood: between it and the points is free space


@dataclass(frozen=True)
class Placement:
    """From the file's frame to the body's: posed = scale * rotation @ point + translation; metres, y up."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]

    def __call__(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        return self.scale * points @ self.rotation.T + self.translation


@dataclass(frozen=True)
class Registration:
    """The body inside a scan. The placement takes out the body's translation, so `body.translation` is zero."""

    placement: Placement
    body: BodyParams  # of one
    residual_mm: float  # how far the scan's points lie from the body and its clothing margin, robustly
    sure: bool
    reason: str  # why not sure; empty if it is
