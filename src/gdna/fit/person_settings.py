"""How a scan is fitted. Free of torch, so that the command line's help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from gdna.errors import GdnaError
from gdna.keys import key

RESOLUTION, FINE_RESOLUTION = 256, 384
CPU_STEPS, GPU_STEPS = 300, 800
GIVEN_OFF, FOUND_OFF = 1.0, 5.0  # degrees


@dataclass(frozen=True)
class FitSettings:
    """From a scan whose body is known to a person of the model."""

    steps: int | str = key(
        "auto", "steps that look for the shape code and for small corrections of the pose; auto: 300, on a GPU 800"
    )
    starts: int = key(32, "training scans whose codes are tried as the start, beside the mean")
    detail_steps: int = key(80, "steps that look for the detail code, by the scan's normals")
    prior: float = key(3e-3, "how much the codes are drawn to likely ones; tenfold where a scan is noisy or open")
    styles: bool = key(True, "each layer of the generator is told its own, 896 numbers; false: z_shape tells them all")
    style_prior: float = key(1e-3, "how much these are drawn to what z_shape tells; tenfold likewise")
    body_off: float | str = key(
        "auto", "degrees by which joints may be off, corrected with the codes; auto: 1 where the body is given, else 5"
    )
    refine: bool = key(False, "tune a copy of the networks to this one person, for the scan's own detail")
    refine_steps: int = key(400, "steps of it")
    residual: bool = key(False, "carry the scan's own geometry as displacements of the fitted surface")
    reach: float = key(0.05, "metres that a displacement may be long")
    samples: int = key(100_000, "samples around the scan's surface; half as many on it, a quarter in the space around")
    points: int = key(4096, "of them, taken at every step")
    mesh_resolution: int | str = key("auto", "cells along the longest side; auto: 256; 384 with refine or residual")
    report_points: int = key(100_000, "points on each surface for the report's distances; published ones take 1000000")
    seed: int = key(0, "the same seed draws the same samples")

    def __post_init__(self) -> None:
        least = {"starts": 0, "detail_steps": 0, "refine_steps": 0, "samples": 1000, "points": 16}
        for name, lowest in (least | {"report_points": 100, "prior": 0.0, "style_prior": 0.0}).items():
            if getattr(self, name) < lowest:
                raise GdnaError(f"{name}={getattr(self, name)}: expected {lowest:g} or more")
        if self.steps != "auto" and (isinstance(self.steps, str) or self.steps < 0):
            raise GdnaError(f"steps={self.steps}: expected auto, or 0 or more")
        if self.body_off != "auto" and (isinstance(self.body_off, str) or not 0 <= self.body_off <= 45):
            raise GdnaError(f"body_off={self.body_off}: expected auto, or 0 to 45 degrees")
        if not 0 < self.reach <= 0.5:
            raise GdnaError(f"reach={self.reach}: expected metres above 0, at most 0.5")
        if self.mesh_resolution != "auto" and (isinstance(self.mesh_resolution, str) or self.mesh_resolution < 16):
            raise GdnaError(f"mesh_resolution={self.mesh_resolution}: expected auto, or 16 or more cells")

    def tolerance(self, given: bool) -> float:
        """Degrees by which the joints of a body may be off that is `given`, or was found."""
        if isinstance(self.body_off, str):
            return GIVEN_OFF if given else FOUND_OFF
        return float(self.body_off)

    def shape_steps(self, on_gpu: bool) -> int:
        """Steps for the shape code on such a device."""
        if isinstance(self.steps, int):
            return self.steps
        return GPU_STEPS if on_gpu else CPU_STEPS

    @property
    def resolution(self) -> int:
        """Cells along the longest side of the mesh."""
        if isinstance(self.mesh_resolution, int):
            return self.mesh_resolution
        return FINE_RESOLUTION if self.refine or self.residual else RESOLUTION
