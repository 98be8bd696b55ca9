"""What is measured, and how much of it. Free of torch, so that the command line's help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from gdna.errors import GdnaError
from gdna.generate.settings import GEOMETRIES
from gdna.keys import key

PARTS = ("scans", "people", "variety", "health", "skinning", "motion")


@dataclass(frozen=True)
class EvaluateSettings:
    """The defaults are sizes to publish; tests take a few of everything."""

    parts: tuple[str, ...] = key(PARTS, "what is measured: scans, people, variety, health, skinning, motion")
    people: int = key(40, "generated people; as many scans of the training set and of held-out people are compared")
    scans: int = key(40, "scans of each kind that are reconstructed (trained, other poses, other people)")
    samples: int = key(100, "random people whose health is looked at")
    views: int = key(18, "normal maps around each person, at most as many as were prepared")
    points: int = key(100_000, "points on each surface for distances; published protocols take 1000000")
    geometry: str = key(
        "fine",
        "raw geometry; fine: with the predicted folds, finest: on four times as many faces, coarse: the occupancy's "
        "surface",
    )
    mesh_resolution: int = key(256, "cells along the longest side of a mesh")
    health_resolution: int | None = key(None, "cells of the surfaces whose health is looked at; null: mesh_resolution")
    motion: str = key("walk", "a shipped clip by name, or a file, along which normals must not flicker")
    fit_steps: int = key(200, "steps that look for the shape code of a person never trained on; 0: the mean code")
    seed: int = key(0, "the same seed draws the same people and points")
    inception: str | None = key(
        None, "Inception v3 weights (.safetensors or .pth): standard FID; null: EfficientNet-Lite0"
    )

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise GdnaError(f"parts=[{','.join(self.parts)}]: expected some of {', '.join(PARTS)}")
        if self.geometry not in GEOMETRIES:
            raise GdnaError(f"geometry={self.geometry}: expected {', '.join(GEOMETRIES)}")
        for name, least in (("people", 4), ("scans", 1), ("samples", 1), ("views", 1), ("points", 100)):
            if getattr(self, name) < least:
                raise GdnaError(f"{name}={getattr(self, name)}: expected {least} or more")
        if self.health_resolution is not None and self.health_resolution < 16:
            raise GdnaError(f"health_resolution={self.health_resolution}: expected 16 or more, or null")
        if self.mesh_resolution < 16 or self.fit_steps < 0:
            raise GdnaError(
                f"mesh_resolution={self.mesh_resolution} fit_steps={self.fit_steps}: expected 16 or more, 0 or more"
            )
