"""Iso-surfaces of a function that is dear to ask: refine a grid around the level set, then marching cubes on its cells.

Each level halves the cells that the surface crosses. The new lattice points are not all asked: first the midpoints
of the crossed edges, which tell for certain one small cell per crossing, then the corners of the cells that
trilinear interpolation expects to be crossed, then, from every crossed cell, the neighbours behind its crossed
faces, until the surface is closed. So every connected surface that the coarsest lattice touches comes out whole,
thin parts included, as the dense grid would give it, for few more questions than the final cells have corners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.extract.iso_surface import IGL_CORNERS, marching_cubes, polished

Query = Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]]

PAD = 2  # lattice points beyond the box on each side, outside by definition: surfaces end closed at the box
START_CELLS = 32
CORNERS = torch.tensor(list(product((0, 1), repeat=3)))
EDGES = torch.tensor([(corner, corner | axis) for axis in (4, 2, 1) for corner in range(8) if not corner & axis])
FACE_STEPS = torch.tensor([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
FACE_CORNERS = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 4, 5], [2, 3, 6, 7], [0, 2, 4, 6], [1, 3, 5, 7]])
HALVES = torch.tensor(list(product((0, 1, 2), repeat=3)))  # the lattice of a cell cut in eight
_RANK = torch.tensor([9, 3, 1])  # of a point in HALVES
MIDPOINTS = (CORNERS[EDGES].sum(1) * _RANK).sum(-1)  # (12,) rows of HALVES
CHILD_CORNERS = ((CORNERS[:, None] + CORNERS) * _RANK).sum(-1)  # (8, 8) rows of HALVES
_HALF = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
TRILINEAR = torch.einsum("ax,by,cz->abcxyz", _HALF, _HALF, _HALF).reshape(27, 8)


@dataclass(frozen=True)
class _Lattice:
    """Cubic cells over a box. Points are numbered with the pad included, z fastest; a cell by its lowest corner."""

    low: Float[Tensor, " 3"]
    step: float
    cells: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = (n + 1 + 2 * PAD for n in self.cells)
        return x, y, z

    def strides(self) -> Int[Tensor, " 3"]:
        _, y, z = self.shape
        return torch.tensor([y * z, z, 1], device=self.low.device)

    def number(self, coordinates: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
        return (coordinates * self.strides()).sum(-1)

    def coordinates(self, number: Int[Tensor, "*n"]) -> Int[Tensor, "*n 3"]:
        _, y, z = self.shape
        return torch.stack([number // (y * z), number // z % y, number % z], -1)

    def points(self, number: Int[Tensor, "*n"]) -> Float[Tensor, "*n 3"]:
        return (self.low + (self.coordinates(number) - PAD) * self.step).float()

    def clamped(self, points: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """Points between the box and the pad moved onto the box."""
        high = self.low + torch.tensor(self.cells, device=self.low.device) * self.step
        return points.maximum(self.low.float()).minimum(high.float())

    def halved(self) -> _Lattice:
        x, y, z = (2 * n for n in self.cells)
        return _Lattice(self.low, self.step / 2, (x, y, z))


def _coarsest(low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], resolution: int, start: int) -> tuple[_Lattice, int]:
    """The lattice to begin with, of `start` to two times `start` cells along the longest axis, and how often it is
    halved for at least `resolution`.
    """
    extent = (high - low).double()
    if not bool(torch.isfinite(extent).all()) or float(extent.min()) <= 0 or min(resolution, start) < 1:
        raise GdnaError(
            f"extract_surface: found a box from {low.tolist()} to {high.tolist()} at resolution {resolution}; "
            "expected low below high on every axis and at least one cell"
        )
    halvings = max(resolution // start, 1).bit_length() - 1
    step = float(extent.max()) / -(-resolution // 2**halvings)
    x, y, z = (max(1, int(torch.ceil(side / step - 1e-6))) for side in extent)
    return _Lattice(low.double(), step, (x, y, z)), halvings


class _Samples:
    """Values at the points of one lattice, asked when first needed."""

    def __init__(self, query: Query, lattice: _Lattice, level: float) -> None:
        self.query, self.lattice, self.level = query, lattice, level
        self._grid = torch.full(lattice.shape, level - 1.0, device=lattice.low.device)
        self._grid[PAD:-PAD, PAD:-PAD, PAD:-PAD] = torch.nan
        self.values = self._grid.view(-1)

    def need(self, number: Int[Tensor, "*n"]) -> None:
        unknown = number[self.values[number].isnan()].unique()
        if len(unknown):
            self.values[unknown] = self.query(self.lattice.points(unknown)).to(self.values)

    def inherit(self, coarser: _Samples) -> None:
        inner = slice(PAD, -PAD)
        self._grid[PAD:-PAD:2, PAD:-PAD:2, PAD:-PAD:2] = coarser._grid[inner, inner, inner]

    def inside(self, number: Int[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        return self.values[number] > self.level


def _mixed(inside: Bool[Tensor, "*n K"]) -> Bool[Tensor, "*n"]:
    return inside.any(-1) & ~inside.all(-1)


def _follow(samples: _Samples, front: Int[Tensor, " M"]) -> Int[Tensor, " A"]:
    """All crossed cells that hang together, face by crossed face, with the crossed ones of `front`."""
    lattice, device = samples.lattice, front.device
    corners, steps = lattice.number(CORNERS.to(device)), lattice.number(FACE_STEPS.to(device))
    seen = torch.zeros(len(samples.values), dtype=torch.bool, device=device)
    crossed = [front[:0]]
    while len(front):
        seen[front] = True
        around = front[:, None] + corners
        samples.need(around)
        inside = samples.inside(around)
        hit = _mixed(inside)
        crossed.append(front[hit])
        through = _mixed(inside[hit][:, FACE_CORNERS.to(device)])
        behind = (crossed[-1][:, None] + steps)[through]
        front = behind[~seen[behind]].unique()
    return torch.cat(crossed)


def _expected_children(coarse: _Samples, active: Int[Tensor, " A"], fine: _Samples) -> Int[Tensor, " M"]:
    """Halved cells of the crossed cells `active` where the surface is to be expected; asks the crossed edges'
    midpoints.
    """
    device = active.device
    corners = active[:, None] + coarse.lattice.number(CORNERS.to(device))
    inside = coarse.inside(corners)
    base = fine.lattice.number(2 * (coarse.lattice.coordinates(active) - PAD) + PAD)
    halves = base[:, None] + fine.lattice.number(HALVES.to(device))
    cut = inside[:, EDGES[:, 0].to(device)] != inside[:, EDGES[:, 1].to(device)]
    fine.need(halves[:, MIDPOINTS.to(device)][cut])
    known = fine.values[halves]
    expected = coarse.values[corners] @ TRILINEAR.to(device).T
    values = torch.where(known.isnan(), expected, known)
    crossed = _mixed((values > fine.level)[:, CHILD_CORNERS.to(device)])
    return (base[:, None] + fine.lattice.number(CORNERS.to(device)))[crossed]


def extract_surface(
    query: Query,
    low: Float[Tensor, " 3"],
    high: Float[Tensor, " 3"],
    resolution: int,
    level: float = 0.0,
    start: int = START_CELLS,
    polish: int = 0,
) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """The surface `query == level` in a box as a closed triangle mesh; inside is above `level`, faces are
    counter-clockwise from outside, and a surface that leaves the box is closed by the box's side.

    `query` takes (N, 3) points and answers (N,) values, in batches of any size. `resolution` counts the cells along
    the longest axis and is rounded up to a whole number of cells, `start` to two times `start`, halved again and again.
    `polish` vertices are moved along their cell's edge so many times by asking once more (see `polished`).
    Cells are cubes: the shorter axes' `high` is rounded up to whole cells of the coarsest lattice.
    Parts smaller than a coarsest cell that touch none of its points, and touch nothing that does, are not found.
    """
    lattice, halvings = _coarsest(low, high, resolution, start)
    samples = _Samples(query, lattice, level)
    everywhere = torch.cartesian_prod(*(torch.arange(n - 1, device=low.device) for n in samples.lattice.shape))
    active = _follow(samples, samples.lattice.number(everywhere))
    for _ in range(halvings):
        finer = _Samples(query, samples.lattice.halved(), level)
        finer.inherit(samples)
        active = _follow(finer, _expected_children(samples, active, finer))
        samples = finer
    corners = active[:, None] + samples.lattice.number(IGL_CORNERS.to(low.device))
    number, cells = corners.unique(return_inverse=True)
    surface = marching_cubes(samples.lattice.points(number), samples.values[number] - level, cells)
    vertices = polished(surface, lambda points: query(points) - level, polish)
    return samples.lattice.clamped(vertices), surface.faces


def extract_surface_dense(
    query: Query, low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], resolution: int, level: float = 0.0
) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """Plain reference of `extract_surface`: asks every point of the finest lattice, parts of any size are found."""
    import igl

    lattice, halvings = _coarsest(low, high, resolution, START_CELLS)
    for _ in range(halvings):
        lattice = lattice.halved()
    samples = _Samples(query, lattice, level)
    everything = torch.arange(len(samples.values), device=low.device)
    samples.need(everything)
    x, y, z = lattice.shape
    values, points = (t.double().cpu().numpy() for t in (samples.values, lattice.points(everything)))
    vertices, faces, _ = igl.marching_cubes(values, points, z, y, x, level)  # igl counts x fastest: our z is its x
    return lattice.clamped(torch.from_numpy(vertices).float().to(low.device)), torch.from_numpy(faces).to(low.device)
