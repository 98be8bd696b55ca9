"""A raw scan's person about its middle, in metres as far as the unit is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.fit.cleaning import person_points
from gdna.fit.normals import steadied
from gdna.fit.sampling import surface_points
from gdna.fit.settings import AXES, UNITS, RegisterSettings
from gdna.fit.smoothing import NOISY, calmed, roughness
from gdna.fit.solve import Target
from gdna.fit.types import RawScan

SAMPLES = 20_000  # points from which the person is told from the rest
FEWEST = 300  # points of a person
TYPICAL_SIZE = 0.48  # metres; root mean square distance of a person's surface from its middle
SIZES = (0.2, 0.8)  # metres; the same, of anybody in any pose and of parts of them


@dataclass(frozen=True)
class Frame:
    """The person's points about their middle, in metres as far as the unit is known; orientation is the file's."""

    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"] | None
    eye: Float[Tensor, " 3"] | None
    centre: Float[np.ndarray, " 3"]
    unit: float  # file to frame
    free_scale: bool

    def target(self, count: int) -> Target:
        kept = slice(0, count)
        return Target(self.points[kept], None if self.normals is None else self.normals[kept], self.eye)


def framed(raw: RawScan, settings: RegisterSettings, device: torch.device) -> Frame:
    """A noisy mesh is calmed first: its normals, which tell fronts from backs, are those of its noise. Raises
    `GdnaError` where too few points of a person are left."""
    points, normals = _person(raw, settings)
    unit, free = _unit(_size(points), settings)
    if raw.faces is not None and normals is not None:
        noise = roughness(unit * points, normals, np.random.default_rng(settings.seed))
        if noise > NOISY:
            calm = calmed(unit * raw.points.astype(np.float64), raw.faces.astype(np.int64), noise) / unit
            points, normals = _person(replace(raw, points=calm), settings)
    if normals is not None:
        normals = steadied(points, normals)
    centre = points.mean(0)

    def tensor(values: Float[np.ndarray, "*n"]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    return Frame(
        points=tensor((points - centre) * unit),
        normals=None if normals is None else tensor(normals),
        eye=None if raw.eye is None else tensor((raw.eye - centre) * unit),
        centre=centre,
        unit=unit,
        free_scale=free,
    )


def _person(
    raw: RawScan, settings: RegisterSettings
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"] | None]:
    """Points of the person and their normals, shuffled."""
    points, normals = surface_points(raw, SAMPLES, settings.seed)
    person = person_points(points) if len(points) >= FEWEST else np.ones(len(points), bool)
    if person.sum() < FEWEST:
        raise GdnaError(f"{raw.name}: {int(person.sum())} points of a person, expected at least {FEWEST}; is it one?")
    order = np.random.default_rng(settings.seed).permutation(np.flatnonzero(person))
    return points[order], None if normals is None else normals[order]


def _size(points: Float[np.ndarray, "n 3"]) -> float:
    """Root mean square distance from the middle."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))


def _unit(size: float, settings: RegisterSettings) -> tuple[float, bool]:
    """Metres in the file's unit, and whether that is a guess to be fitted."""
    if settings.unit in UNITS:
        return UNITS[settings.unit], False
    if settings.unit == "auto":
        for metres in UNITS.values():
            if SIZES[0] < size * metres < SIZES[1]:
                return metres, False
    return TYPICAL_SIZE / size, True


def up_rotations(up: str) -> Float[Tensor, "A 3 3"]:
    """Rotations that take the axis that points up onto +y; all six for "auto"."""
    return torch.stack([_up_rotation(axis) for axis in (AXES if up == "auto" else (up,))])


def _up_rotation(axis: str) -> Float[Tensor, "3 3"]:
    rotation = torch.zeros(3, 3)
    index, sign = "xyz".index(axis[1]), 1.0 if axis[0] == "+" else -1.0
    rotation[1, index] = sign
    rotation[0, (index + 2) % 3] = 1.0
    rotation[2] = torch.linalg.cross(rotation[0], rotation[1])
    return rotation
