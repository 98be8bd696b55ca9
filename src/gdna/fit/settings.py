"""What a registration may be told. Free of torch, so that a command line can show it at once."""

from __future__ import annotations

from dataclasses import dataclass

from gdna.errors import GdnaError

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # metres
AXES = ("+y", "-y", "+z", "-z", "+x", "-x")


@dataclass(frozen=True)
class RegisterSettings:
    """`unit`: "auto", "m", "cm", "mm", or "free": the scale is fitted with the body. `up`: "auto" or the file's axis
    that points to the head, "+y", "-z" and so on."""

    unit: str = "auto"
    up: str = "auto"
    num_betas: int = 12
    starts: int = 20  # poses refined after the search
    limb_rounds: int = 4  # of trying other limbs, joints turned and other builds
    final_points: int = 3000  # of the scan, in the last steps
    seed: int = 0

    def __post_init__(self) -> None:
        if self.unit not in ("auto", "free", *UNITS):
            raise GdnaError(f"unit={self.unit}: expected one of auto, {', '.join(UNITS)}, free")
        if self.up not in ("auto", *AXES):
            raise GdnaError(f"up={self.up}: expected one of auto, {', '.join(AXES)}")
        for name, least in (("num_betas", 1), ("starts", 2), ("limb_rounds", 0), ("final_points", 500)):
            if getattr(self, name) < least:
                raise GdnaError(f"{name}={getattr(self, name)}: expected at least {least}")
