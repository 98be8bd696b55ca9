"""Cubic cells over a box, and values at few of its points, kept in bricks of 8 x 8 x 8 points.

Points have numbers made of three bit fields, so a neighbour's number is the point's plus a constant. A table of bricks,
512 times smaller than the lattice, says where the values of a number lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.errors import GdnaError

Query = Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]]

PAD = 2  # lattice points beyond the box on each side, outside by definition: surfaces end closed at the box
BITS = 12  # of one coordinate in a point's number
MOST = 2**BITS - 2 * PAD - 8  # cells along an axis
SIDE = 3  # a brick has 2^3 points along each axis
BRICK = 2 ** (3 * SIDE)


@dataclass(frozen=True)
class Lattice:
    """Coordinates of points count from the pad's lowest corner; a cell has the number of its lowest corner."""

    low: Float[Tensor, " 3"]
    step: float
    cells: tuple[int, int, int]

    def halved(self) -> Lattice:
        x, y, z = (2 * n for n in self.cells)
        return Lattice(self.low, self.step / 2, (x, y, z))

    def points(self, number: Int[Tensor, " N"]) -> Float[Tensor, "N 3"]:
        return (self.low + (coordinates(number) - PAD) * self.step).float()

    def clamped(self, points: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """Points between the box and the pad moved onto the box."""
        high = self.low + torch.tensor(self.cells, device=self.low.device) * self.step
        return points.maximum(self.low.float()).minimum(high.float())

    def all_cells(self) -> Int[Tensor, " C"]:
        """Pad included."""
        axes = (torch.arange(n + 2 * PAD, device=self.low.device) for n in self.cells)
        return number_of(torch.cartesian_prod(*axes))


def number_of(coordinates: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
    x, y, z = coordinates.unbind(-1)
    return (((x << BITS) + y) << BITS) + z


def coordinates(number: Int[Tensor, "*n"]) -> Int[Tensor, "*n 3"]:
    mask = 2**BITS - 1
    return torch.stack([number >> 2 * BITS, (number >> BITS) & mask, number & mask], -1)


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


class Samples:
    """Values at points of one lattice, asked when first needed, and which cells have been seen."""

    def __init__(self, query: Query, lattice: Lattice, level: float) -> None:
        self.query, self.lattice, self.level = query, lattice, level
        device = lattice.low.device
        self._shape = tuple(((n + 2 * PAD) >> SIDE) + 1 for n in lattice.cells)
        self._brick = torch.full((self._shape[0] * self._shape[1] * self._shape[2],), -1, device=device)
        self._within = number_of(torch.cartesian_prod(*(torch.arange(2**SIDE, device=device),) * 3))
        self._high = PAD + torch.tensor(lattice.cells, device=device)
        self._first = torch.zeros(0, dtype=torch.long, device=device)  # number of each brick's lowest point
        self.values = torch.zeros(0, device=device)
        self.seen = torch.zeros(0, dtype=torch.bool, device=device)

    def _table_row(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        mask = 2 ** (BITS - SIDE) - 1
        x, y, z = number >> 2 * BITS + SIDE, (number >> BITS + SIDE) & mask, (number >> SIDE) & mask
        return (x * self._shape[1] + y) * self._shape[2] + z

    def slots(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """Where the points' values lie; their bricks are there."""
        mask = 2**SIDE - 1
        x, y, z = (number >> 2 * BITS) & mask, (number >> BITS) & mask, number & mask
        return (self._brick[self._table_row(number)] << 3 * SIDE) + (((x << SIDE) + y) << SIDE) + z

    def numbers(self, slots: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """Inverse of `slots`."""
        return self._first[slots >> 3 * SIDE] + self._within[slots & (BRICK - 1)]

    def unique(self, slots: Int[Tensor, "*n"]) -> Int[Tensor, " U"]:
        """Each of the slots once, ascending; negative ones are left out."""
        mark = torch.zeros(len(self.values) + 1, dtype=torch.bool, device=slots.device)
        mark[slots.flatten()] = True  # -1 marks the last
        return mark[:-1].nonzero()[:, 0]

    def unseen(self, cells: Int[Tensor, " N"]) -> Int[Tensor, " U"]:
        """Those that were not seen, each once."""
        self.make_room(cells)
        slots = self.slots(cells)
        return self.numbers(self.unique(torch.where(self.seen[slots], -1, slots)))

    def make_room(self, number: Int[Tensor, "*n"]) -> None:
        """Add the bricks of these points."""
        wanted = torch.zeros_like(self._brick, dtype=torch.bool)
        wanted[self._table_row(number.flatten())] = True
        rows = (wanted & (self._brick < 0)).nonzero()[:, 0]
        if len(rows) == 0:
            return
        self._brick[rows] = torch.arange(len(rows), device=rows.device) + len(self._first)
        _, y, z = self._shape
        first = number_of(torch.stack([rows // (y * z), rows // z % y, rows % z], 1) << SIDE)
        at = coordinates(first[:, None] + self._within)
        beyond = ((at < PAD) | (at > self._high)).any(-1)
        fresh = torch.where(beyond, self.level - 1.0, torch.nan).flatten()
        self._first = torch.cat([self._first, first])
        self.values = torch.cat([self.values, fresh.to(self.values)])
        self.seen = torch.cat([self.seen, torch.zeros_like(fresh, dtype=torch.bool)])

    def need(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """Ask for the points that are not known yet; the slots of all."""
        self.make_room(number)
        slots = self.slots(number)
        unknown = self.unique(torch.where(self.values[slots].isnan(), slots, -1))
        if len(unknown):
            self.values[unknown] = self.query(self.lattice.points(self.numbers(unknown))).to(self.values)
        return slots

    def inherit(self, coarser: Samples, cells: Int[Tensor, "C 8"]) -> None:
        """Take over the corners, by their numbers in `coarser`, of cells."""
        number = halved_number(cells)
        self.make_room(number)
        self.values[self.slots(number)] = coarser.values[coarser.slots(cells)]

    def inside(self, slots: Int[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        return self.values[slots] > self.level


def halved_number(number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """A lattice point's number in the lattice of half the step."""
    return 2 * number - PAD * ((((1 << BITS) + 1) << BITS) + 1)
