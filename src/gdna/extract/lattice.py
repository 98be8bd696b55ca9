"""Cubic cells over a box, and their points, numbered brick by brick of 8 x 8 x 8 points.

A point's number is its brick's place among all bricks, followed by nine bits for its place within the brick. What is to
be added for a neighbour's number depends on the nine bits alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.extract.cube_cases import CORNERS

PAD = 2  # lattice points beyond the box on each side, outside by definition: surfaces end closed at the box
MOST = 2**12 - 2 * PAD - 8  # cells along an axis
SIDE = 3  # a brick has 2^3 points along each axis
BRICK = 2 ** (3 * SIDE)
AT_CORNERS = CORNERS
AT_FACES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
AT_HALVES = tuple((x, y, z) for x in range(3) for y in range(3) for z in range(3))  # the lattice of a cell cut in eight
AT_DOUBLED_CORNERS = tuple((2 * x, 2 * y, 2 * z) for x, y, z in CORNERS)

Offsets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Lattice:
    """Coordinates of points count from the pad's lowest corner; a cell has the number of its lowest corner."""

    low: Float[Tensor, " 3"]
    step: float
    cells: tuple[int, int, int]

    def halved(self) -> Lattice:
        x, y, z = (2 * n for n in self.cells)
        return Lattice(self.low, self.step / 2, (x, y, z))

    @property
    def bricks(self) -> tuple[int, int, int]:
        """Their number along the axes, pad included."""
        x, y, z = (((n + 2 * PAD) >> SIDE) + 1 for n in self.cells)
        return x, y, z

    @cached_property
    def extent(self) -> Int[Tensor, " 3"]:
        """`cells` on the lattice's device."""
        return torch.tensor(self.cells, device=self.low.device)

    def number_of(self, coordinates: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
        return (self._row(coordinates >> SIDE) << 3 * SIDE) + _packed(coordinates & (2**SIDE - 1))

    def coordinates(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n 3"]:
        return self.lowest(number >> 3 * SIDE) + within_brick(number.device)[number & (BRICK - 1)]

    def lowest(self, row: Int[Tensor, "*n"]) -> Int[Tensor, "*n 3"]:
        """Coordinates of a brick's lowest point, by its row in the table."""
        _, y, z = self.bricks
        return torch.stack([row // (y * z), row // z % y, row % z], -1) << SIDE

    def _row(self, brick: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
        _, y, z = self.bricks
        return (brick[..., 0] * y + brick[..., 1]) * z + brick[..., 2]

    def neighbours(self, number: Int[Tensor, "*n"], offsets: Offsets) -> Int[Tensor, "*n K"]:
        """Numbers of the points at the K offsets from each."""
        if offsets not in self._steps:
            carry, inner = _moves(offsets, self.low.device)
            self._steps[offsets] = (self._row(carry) << 3 * SIDE) + inner
        return number[..., None] + self._steps[offsets][number & (BRICK - 1)]

    @cached_property
    def _steps(self) -> dict[Offsets, Int[Tensor, "512 K"]]:
        """What is to be added to a number, by its place within its brick."""
        return {}

    def halved_number(self, number: Int[Tensor, "*n"], finer: Lattice) -> Int[Tensor, "*n"]:
        """The same points' numbers in the lattice of half the step."""
        return finer.number_of(2 * self.coordinates(number) - PAD)

    def points(self, coordinates: Int[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return (self.low + (coordinates - PAD) * self.step).float()

    def clamped(self, points: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """Points between the box and the pad moved onto the box."""
        high = self.low + self.extent * self.step
        return points.maximum(self.low.float()).minimum(high.float())

    def all_cells(self) -> Int[Tensor, " C"]:
        """Pad included."""
        axes = (torch.arange(n + 2 * PAD, device=self.low.device) for n in self.cells)
        return self.number_of(torch.cartesian_prod(*axes))


def _packed(within: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
    x, y, z = within.unbind(-1)
    return (((x << SIDE) + y) << SIDE) + z


@lru_cache(maxsize=16)
def within_brick(device: torch.device) -> Int[Tensor, "512 3"]:
    """Coordinates of a brick's points from its lowest."""
    return torch.cartesian_prod(*(torch.arange(2**SIDE, device=device),) * 3)


@lru_cache(maxsize=64)
def _moves(offsets: Offsets, device: torch.device) -> tuple[Int[Tensor, "512 K 3"], Int[Tensor, "512 K"]]:
    """From each place within a brick to those at the offsets: over how many bricks, and the change within the brick."""
    within = within_brick(device)
    moved = within[:, None] + torch.tensor(offsets, device=device)
    return moved >> SIDE, _packed(moved & (2**SIDE - 1)) - _packed(within)[:, None]


def coarsest(low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], resolution: int, start: int) -> tuple[Lattice, int]:
    """The lattice to begin with, of `start` to two times `start` cells along the longest axis, and how often it is
    halved for at least `resolution`.
    """
    extent = (high - low).double().cpu()
    if not bool(torch.isfinite(extent).all()) or float(extent.min()) <= 0 or not 1 <= resolution <= MOST or start < 1:
        raise GdnaError(
            f"extract_surface: found a box from {low.tolist()} to {high.tolist()} at resolution {resolution}; "
            f"expected low below high on every axis and 1 to {MOST} cells"
        )
    halvings = max(resolution // start, 1).bit_length() - 1
    step = float(extent.max()) / -(-resolution // 2**halvings)
    x, y, z = (max(1, int(torch.ceil(side / step - 1e-6))) for side in extent)
    return Lattice(low.double(), step, (x, y, z)), halvings
