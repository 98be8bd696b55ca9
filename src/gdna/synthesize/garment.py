"""What the cloth engine is given: a garment's coarse quad mesh with its fabric, and the body's way into the pose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Fabric:
    """Material of a cloth sheet. Stiffnesses are per metre of cloth, hence independent of the mesh."""

    stretch: float = 2000.0  # N/m along the threads
    shear: float = 150.0  # N/m across them; small = drapes softly
    bend: float = 2e-5  # N m; 5e-6 silk, 2e-5 jersey, 1e-4 denim
    density: float = 0.2  # kg/m^2
    thickness: float = 0.0035  # metres kept between the cloth's surface and what lies under it
    friction: float = 0.4  # Coulomb, against the body and inner garments
    name: str = "cotton"


@dataclass(frozen=True)
class Garment:
    """A garment in its start pose: the coarsest quad mesh, about 0.8k-1.5k vertices."""

    name: str
    vertices: Float[np.ndarray, "V 3"]  # start pose, metres, y up
    quads: Int[np.ndarray, "Q 4"]  # counter-clockwise seen from outside
    skin_weights: Float[np.ndarray, "V J"]  # rows sum to 1
    pinned: Bool[np.ndarray, " V"]  # held to the body (waistband, belt line)
    fabric: Fabric = field(default_factory=Fabric)
    across: Float[np.ndarray, " V"] | None = None  # size against the modelled shape, around the limbs
    along: Float[np.ndarray, " V"] | None = None  # and along them; None: as large


@dataclass(frozen=True)
class BodyPath:
    """The moving body that cloth collides with. Frame 0 is the start pose, in which garments were modelled."""

    vertices: Float[np.ndarray, "T C 3"]  # posed, metres
    faces: Int[np.ndarray, "F 3"]
    bone_weights: Float[np.ndarray, "C J"]  # collider triangles are told apart by the bone they follow
    transforms: Float[np.ndarray, "T J 4 4"]  # start pose -> frame t
