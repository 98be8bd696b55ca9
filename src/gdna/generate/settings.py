"""What may be asked of generation. Free of torch, so that the command line's help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gdna.errors import GdnaError
from gdna.keys import HELP, key
from gdna.model.config import NOVELTY

GEOMETRIES = ("fine", "finest", "coarse")


class EvalMode(Enum):
    """The evaluation modes of the original."""

    interp = "interp"  # identity, detail, body shape and pose all change
    z_shape = "z_shape"
    z_detail = "z_detail"
    betas = "betas"  # the first beta goes 0, -2, 0, 2, 0
    thetas = "thetas"  # one person, a motion
    sample = "sample"  # random people in random poses


class Base(Enum):
    """Whom the modes show that change one thing only (z_shape, z_detail, betas, thetas)."""

    typical = "typical"  # the training person whom the model names, else the one nearest to the mean of all
    mean = "mean"  # the mean codes in the mean body, as the original: nobody's clothes


@dataclass(frozen=True)
class GenerateSettings:
    """A film of people."""

    eval_mode: EvalMode = field(default=EvalMode.interp, metadata={HELP: "what changes"})
    base: Base = field(
        default=Base.typical,
        metadata={
            HELP: "z_shape, z_detail, betas, thetas: who is shown; typical: the training person whom the model names, "
            "or the one nearest to the mean codes; mean: the mean codes themselves, as the original"
        },
    )
    seed: int = key(42, "the same seed makes the same people")
    frames: int = key(200, "frames of the film (betas has 40, thetas at most as many as the motion)")
    segment: int = key(10, "frames between one person and the next (interp, z_shape, z_detail)")
    frame_rate: float | str = key("auto", "frames a second; auto: 30 for thetas, 4 for sample, 15 otherwise")
    motion: str = key("dance_a", "a shipped clip by name, or a file (AMASS npz, AIST++ pkl, BVH)")
    random_betas: bool = key(True, "interp and sample: people have bodies of their own; false: the mean body")
    novelty: float = key(NOVELTY, "of random people: 0: training people as they are; 1: nothing is left of any of them")
    image_size: int = key(256, "pixels; a film is twice as wide: shaded and normals")
    mesh_resolution: int | str = key("auto", "cells along the longest side; auto: 256; 128 on a CPU but for thetas")
    geometry: str = key(
        "fine",
        "of saved files; fine: folds move vertices, finest: those of four times as many faces, coarse: folds are in "
        "the normals only",
    )
    workers: int | str = key("auto", "people meshed at a time; auto: one a core, on CUDA one")
    save: tuple[str, ...] = key((), "files per person, of glb, ply, npz: save=[glb,npz]")
    save_limit: int = key(8, "people saved at most")
    load: str | None = key(None, "a person.npz made by save=[npz]: the person shown, or the one to start from")

    def __post_init__(self) -> None:
        if self.geometry not in GEOMETRIES:
            raise GdnaError(f"geometry={self.geometry}: expected {', '.join(GEOMETRIES)}")
        if not 0 <= self.novelty <= 1:
            raise GdnaError(f"novelty={self.novelty}: expected 0 to 1")
        for name in ("frames", "segment", "image_size", "save_limit"):
            if getattr(self, name) < 1:
                raise GdnaError(f"{name}={getattr(self, name)}: expected 1 or more")

    def number(self, name: str, automatic: float | int) -> float | int:
        """The setting `name`, or `automatic` where it says auto. Raises `GdnaError` where it is no number above 0."""
        value = getattr(self, name)
        if value == "auto":
            return automatic
        if isinstance(value, str) or not value > 0:
            raise GdnaError(f"{name}={value}: expected auto or a number above 0")
        return value
