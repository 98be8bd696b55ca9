"""gdna in a program: load a model, draw people, mesh and animate them, fit them to scans, look at them, take them
elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gdna.data.motion import load_motion, shipped_motions
from gdna.export.glb import write_glb
from gdna.fit.depth import Intrinsics
from gdna.fit.front_door import fit
from gdna.fit.person import FittedAvatar
from gdna.fit.person_settings import FitSettings
from gdna.generate.animation import Animation
from gdna.generate.filming import film_camera
from gdna.generate.loading import load
from gdna.generate.people import Avatar, Model, Person
from gdna.render.shade import render_pair
from gdna.types import AvatarMesh, Motion, PosedMesh

__all__ = [
    "Animation",
    "Avatar",
    "FitSettings",
    "FittedAvatar",
    "Intrinsics",
    "Model",
    "Motion",
    "Person",
    "fit",
    "load",
    "motion",
    "motions",
    "picture",
    "save_glb",
]


def motion(name_or_path: Path | str) -> Motion:
    """A shipped clip by name (`motions()` lists them), or a file: AMASS npz, AIST++ pkl, BVH, CMU amc."""
    return load_motion(name_or_path)


def motions() -> list[str]:
    """Names of the shipped clips."""
    return shipped_motions()


def picture(mesh: PosedMesh, image_size: int = 256) -> UInt8[np.ndarray, "H W2 3"]:
    """A posed person from the front, shaded, with the normals as colours to its right."""
    return render_pair(mesh, film_camera(image_size))


def save_glb(path: Path | str, person: AvatarMesh, motion: Motion | None = None) -> None:
    """A rigged person, with the clip as its animation, for Blender, engines and browsers."""
    write_glb(path, person, motion)
