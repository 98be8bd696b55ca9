"""Values at few of a lattice's points, each asked when it is first needed.

They are kept for whole bricks of 8 x 8 x 8 points; a table, 512 times smaller than the lattice, says where. Number -1
stands for no point, and its slot is -1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.extract.lattice import AT_CORNERS, AT_DOUBLED_CORNERS, BRICK, PAD, SIDE, Lattice, within_brick

MOST_WHOLE = 2**26  # points: 512 cells along a person

Query = Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]]


class Samples:
    """Values at points of one lattice, and which cells have been seen."""

    def __init__(self, query: Query, lattice: Lattice, level: float) -> None:
        self.query, self.lattice, self.level = query, lattice, level
        device = lattice.low.device
        x, y, z = lattice.bricks
        self._brick = torch.full((x * y * z + 1,), -1, device=device)  # the last is that of number -1
        self._row = torch.zeros(0, dtype=torch.long, device=device)  # of each brick in that table
        self._lowest = torch.zeros(0, 3, dtype=torch.long, device=device)  # coordinates of each brick's first point
        self.values = torch.zeros(0, device=device)
        self.seen = torch.zeros(0, dtype=torch.bool, device=device)

    def slots(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """Where the points' values lie; their bricks are there."""
        return (self._brick[number >> 3 * SIDE] << 3 * SIDE) + (number & (BRICK - 1))

    def numbers(self, slots: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """Inverse of `slots`."""
        return (self._row[slots >> 3 * SIDE] << 3 * SIDE) + (slots & (BRICK - 1))

    def points(self, slots: Int[Tensor, " N"]) -> Float[Tensor, "N 3"]:
        within = within_brick(slots.device)[slots & (BRICK - 1)]
        return self.lattice.points(self._lowest[slots >> 3 * SIDE] + within)

    def unique(self, slots: Int[Tensor, "*n"]) -> Int[Tensor, " U"]:
        """Each of the slots once, ascending; negative ones are left out."""
        mark = torch.zeros(len(self.values) + 1, dtype=torch.bool, device=slots.device)
        mark[slots.flatten()] = True  # -1 marks the last
        return mark[:-1].nonzero()[:, 0]

    def unseen(self, cells: Int[Tensor, "*n"]) -> Int[Tensor, " U"]:
        """Those that were not seen, each once."""
        self.make_room(cells)
        slots = self.slots(cells)
        return self.numbers(self.unique(torch.where(self.seen[slots], -1, slots)))

    def make_room(self, number: Int[Tensor, "*n"]) -> None:
        """Add the bricks of these points."""
        wanted = torch.zeros_like(self._brick, dtype=torch.bool)
        wanted[(number >> 3 * SIDE).flatten()] = True
        rows = (wanted & (self._brick < 0))[:-1].nonzero()[:, 0]
        if len(rows) == 0:
            return
        self._brick[rows] = torch.arange(len(self._row), len(self._row) + len(rows), device=rows.device)
        lowest = self.lattice.lowest(rows)
        at = lowest[:, None] + within_brick(rows.device)
        beyond = ((at < PAD) | (at > self.lattice.extent + PAD)).any(-1)
        fresh = torch.where(beyond, self.level - 1.0, torch.nan).flatten()
        self._row, self._lowest = torch.cat([self._row, rows]), torch.cat([self._lowest, lowest])
        self.values = torch.cat([self.values, fresh.to(self.values)])
        self.seen = torch.cat([self.seen, torch.zeros_like(fresh, dtype=torch.bool)])

    def need(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """Ask for the points that are not known yet; the slots of all."""
        self.make_room(number)
        slots = self.slots(number)
        unknown = self.unique(torch.where(self.values[slots].isnan(), slots, -1))
        if len(unknown):
            self.values[unknown] = self.query(self.points(unknown)).to(self.values)
        return slots

    def inherit(self, coarser: Samples, cells: Int[Tensor, " C"], halved: Int[Tensor, " C"]) -> None:
        """Take over the corners of cells, given by their numbers in `coarser` and by those in this lattice."""
        number = self.lattice.neighbours(halved, AT_DOUBLED_CORNERS)
        self.make_room(number)
        corners = coarser.slots(coarser.lattice.neighbours(cells, AT_CORNERS))
        self.values[self.slots(number)] = coarser.values[corners]

    def inside(self, slots: Int[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        return self.values[slots] > self.level


class WholeSamples(Samples):
    """`Samples` with room for all of a lattice's points from the beginning: a point's slot is its number. A GPU fills
    memory in less time than it takes to say what is to be filled."""

    def __init__(self, query: Query, lattice: Lattice, level: float) -> None:
        super().__init__(query, lattice, level)
        self._row = torch.arange(len(self._brick) - 1, device=self._brick.device)
        self._lowest = lattice.lowest(self._row)
        beyond = torch.zeros(1, dtype=torch.bool, device=self._brick.device)
        for axis, (bricks, cells) in enumerate(zip(lattice.bricks, lattice.cells, strict=True)):
            at, shape = torch.arange(bricks << SIDE, device=beyond.device), [1] * 6
            shape[axis], shape[3 + axis] = bricks, 2**SIDE
            beyond = beyond | ((at < PAD) | (at > cells + PAD)).view(shape)
        self.values = torch.where(beyond, level - 1.0, torch.nan).flatten()
        self.seen = torch.zeros_like(self.values, dtype=torch.bool)

    def slots(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        return number

    def numbers(self, slots: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        return slots

    def make_room(self, number: Int[Tensor, "*n"]) -> None:
        """There is."""


def samples_of(query: Query, lattice: Lattice, level: float, whole: bool) -> Samples:
    """Empty ones; `whole` where there is memory for that."""
    x, y, z = lattice.bricks
    return (WholeSamples if whole and x * y * z * BRICK <= MOST_WHOLE else Samples)(query, lattice, level)
