"""Values that cross boundaries between the packages.

Axes: B subjects or frames, S betas, Z code channels, J bones, V vertices, F faces, H x W pixels. Metres, radians,
y up, the person faces +z. Spaces: *posed* is the world of a scan or frame; *canonical* is the subject's own body shape
in the canonical pose (zero pose, both hips opened by 30 degrees); *neutral* is canonical with the betas removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class BodyParams:
    """Shape and pose of B bodies; zero rotations are the T-pose."""

    betas: Float[Tensor, "B S"]  # unit variance over the population
    joint_rotations: Float[Tensor, "B J 3"]  # axis-angle relative to the parent, root first
    translation: Float[Tensor, "B 3"]

    def __len__(self) -> int:
        return self.betas.shape[0]

    def __getitem__(self, index: slice) -> BodyParams:
        return BodyParams(self.betas[index], self.joint_rotations[index], self.translation[index])

    def to(self, device) -> BodyParams:
        return BodyParams(self.betas.to(device), self.joint_rotations.to(device), self.translation.to(device))


@dataclass(frozen=True)
class PosedBody:
    """What a body model answers for B parameters. `bone_transforms` map canonical to posed points."""

    vertices: Float[Tensor, "B V 3"]  # posed
    joints: Float[Tensor, "B J 3"]  # posed
    bone_transforms: Float[Tensor, "B J 4 4"]
    vertices_canonical: Float[Tensor, "B V 3"]
    joints_canonical: Float[Tensor, "B J 3"]


@dataclass(frozen=True)
class Motion:
    """A clip of T frames; `joint_rotations` as in `BodyParams`, of SMPL's 24 joints unless it was made for others."""

    name: str
    joint_rotations: Float[Tensor, "T J 3"]
    translation: Float[Tensor, "T 3"]
    frame_rate: float
    hands: Float[Tensor, "T 30 3"] | None = None  # fingers of SMPL-H and SMPL-X, left hand first


@dataclass(frozen=True)
class Codes:
    """Latent codes of B people. Someone fitted to a scan may have `styles` of their own, the channels' statistics in
    the generator's layers; None: those that the shape code asks for."""

    shape: Float[Tensor, "B Z"]
    detail: Float[Tensor, "B Zd"]
    styles: Float[Tensor, "B Y"] | None = None


@dataclass(frozen=True)
class Subject:
    """B people as the fields see them: `features` is the shape generator's volume (channels, z, y, x)."""

    betas: Float[Tensor, "B S"]
    shape: Float[Tensor, "B Z"]
    detail: Float[Tensor, "B Zd"]
    features: Float[Tensor, "B C D H W"]


@dataclass(frozen=True)
class Correspondences:
    """Canonical points that forward skinning carries onto each of N posed points, one per start i of I."""

    points_canonical: Float[Tensor, "B N I 3"]
    converged: Bool[Tensor, "B N I"]  # also false for a duplicate of an earlier start's root
    dropped: Int[Tensor, ""] | None = None  # candidates that a search in fixed memory had no room for; None: unlimited


@dataclass(frozen=True)
class AvatarMesh:
    """One person as a canonical mesh that linear blend skinning can pose."""

    vertices: Float[Tensor, "V 3"]  # canonical
    faces: Int[Tensor, "F 3"]  # counter-clockwise seen from outside
    normals: Float[Tensor, "V 3"]  # unit, canonical, in the canonical pose; from the normal field where there is one
    skin_weights: Float[Tensor, "V J"]  # rows sum to 1
    joints: Float[Tensor, "J 3"]  # canonical
    parents: tuple[int, ...]  # -1 for the root
    normals_in: Callable[[Tensor], Tensor] | None = None  # of poses: bone transforms (T, J, 4, 4) -> unit, canonical
    # (T, V, 3); None where normals do not see the pose
    base: Float[Tensor, "V 3"] | None = None  # vertices before predicted folds moved them; None: none did


@dataclass(frozen=True)
class PosedMesh:
    vertices: Float[Tensor, "V 3"]  # posed
    faces: Int[Tensor, "F 3"]
    normals: Float[Tensor, "V 3"]  # unit, posed


@dataclass(frozen=True)
class NormalMap:
    """Seen along -z by an orthographic camera; normals of pixels outside `mask` are zero."""

    normals: Float[Tensor, "H W 3"]  # unit, posed
    mask: Bool[Tensor, "H W"]


@dataclass(frozen=True)
class Scan:
    """A clothed person as a triangle mesh with the body underneath. Posed space: the body's translation is taken out
    and the scale divided out, so the pelvis lies where the body model puts it for zero translation."""

    name: str
    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    betas: Float[np.ndarray, " S"]
    joint_rotations: Float[np.ndarray, "J 3"]
