"""Iso-surfaces of a function that is dear to ask: refine a grid around the level set, then marching cubes on its cells.

Each level halves the cells that the surface crosses. On a GPU, where rounds are dear and questions cheap, all halved
cells of a crossed cell are looked at. On a CPU the new lattice points are not all asked: first the midpoints of the
crossed edges, which tell for certain one small cell per crossing, then the corners of the cells that trilinear
interpolation expects to be crossed. Either way, from every crossed cell, the neighbours behind its crossed faces
follow, until the surface is closed. So every connected surface that the coarsest lattice touches comes out whole,
thin parts included, as the dense grid would give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.extract import cube_cases
from gdna.extract.iso_surface import IsoSurface, marching_cubes, polished
from gdna.extract.lattice import AT_CORNERS, AT_FACES, AT_HALVES, PAD, Lattice, coarsest
from gdna.extract.samples import Query, Samples, samples_of

START_CELLS = 32
CELLS_AROUND = 2**17  # a GPU asks as many in the time of a round
REACH = 4  # cells
CORNERS = torch.tensor(cube_cases.CORNERS)
EDGES = torch.tensor(cube_cases.EDGES)
_RANK = torch.tensor([9, 3, 1])  # of a point in `AT_HALVES`
_HALF = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])


@dataclass(frozen=True)
class _Tables:
    """About a cell, on one device."""

    faces: Int[Tensor, "6 4"]  # corners of each
    edges: Int[Tensor, "12 2"]  # corners at the ends of each
    midpoints: Int[Tensor, " 12"]  # places in `AT_HALVES`, in the order of `edges`
    child_corners: Int[Tensor, "8 8"]  # places in `AT_HALVES`
    trilinear: Float[Tensor, "8 27"]  # values at corners to values at `AT_HALVES`


@lru_cache(maxsize=16)
def _tables(device: torch.device) -> _Tables:
    tables = _Tables(
        torch.tensor(cube_cases.FACES),
        EDGES,
        (CORNERS[EDGES].sum(1) * _RANK).sum(-1),
        ((CORNERS[:, None] + CORNERS) * _RANK).sum(-1),
        torch.einsum("ax,by,cz->abcxyz", _HALF, _HALF, _HALF).reshape(27, 8).T,
    )
    return _Tables(**{name: table.to(device) for name, table in vars(tables).items()})


def _mixed(inside: Bool[Tensor, "*n K"]) -> Bool[Tensor, "*n"]:
    return inside.any(-1) != inside.all(-1)


def _follow(samples: Samples, front: Int[Tensor, " M"], thorough: bool) -> Int[Tensor, " A"]:
    """All crossed cells that hang together, face by crossed face, with the crossed ones of `front`; if `thorough`,
    found in fewer rounds by looking at the cells all around.
    """
    tables, lattice = _tables(front.device), samples.lattice
    crossed = [front[:0]]
    while len(front):
        slots = samples.need(lattice.neighbours(front, AT_CORNERS))
        samples.seen[slots[:, 0]] = True
        inside = samples.inside(slots)
        hit = _mixed(inside).nonzero()[:, 0]
        crossed.append(front[hit])
        through = _mixed(inside[hit][:, tables.faces])
        front = samples.unseen(torch.where(through, lattice.neighbours(crossed[-1], AT_FACES), -1))
        if thorough and 0 < len(front) < CELLS_AROUND:
            front = samples.unseen(_around(front, lattice))
    return torch.cat(crossed)


def _around(cells: Int[Tensor, " M"], lattice: Lattice) -> Int[Tensor, " N"]:
    """The cells up to so many cells away that about `CELLS_AROUND` are looked at, repeatedly where they overlap."""
    reach = min(REACH, int((CELLS_AROUND / len(cells)) ** (1 / 3) - 1) // 2)
    steps = torch.arange(-reach, reach + 1, device=cells.device)
    near = lattice.coordinates(cells)[:, None] + torch.cartesian_prod(steps, steps, steps)
    return lattice.number_of(near.clamp_min(0).minimum(lattice.extent + 2 * PAD - 1)).flatten()


def _expected_children(
    coarse: Samples, active: Int[Tensor, " A"], fine: Samples, halved: Int[Tensor, " A"]
) -> Int[Tensor, " M"]:
    """Halved cells of the crossed cells `active`, `halved` in the fine lattice, where the surface is to be expected;
    asks the crossed edges' midpoints.
    """
    tables = _tables(active.device)
    corners = coarse.slots(coarse.lattice.neighbours(active, AT_CORNERS))
    inside = coarse.inside(corners)
    halves = fine.lattice.neighbours(halved, AT_HALVES)
    cut = inside[:, tables.edges[:, 0]] != inside[:, tables.edges[:, 1]]
    fine.need(halves[:, tables.midpoints][cut])
    fine.make_room(halves)
    known = fine.values[fine.slots(halves)]
    expected = coarse.values[corners] @ tables.trilinear
    values = torch.where(known.isnan(), expected, known)
    crossed = _mixed((values > fine.level)[:, tables.child_corners])
    return fine.lattice.neighbours(halved, AT_CORNERS)[crossed]


def find_surface(
    query: Query,
    low: Float[Tensor, " 3"],
    high: Float[Tensor, " 3"],
    resolution: int,
    level: float = 0.0,
    start: int = START_CELLS,
    thorough: bool | None = None,
) -> tuple[IsoSurface, Lattice]:
    """`extract_surface` before its vertices are polished. Values are `query` minus `level`; vertices between the box
    and the lattice's pad are still to be clamped. `thorough` asks more questions in fewer rounds (None: on a GPU).
    """
    thorough = low.is_cuda if thorough is None else thorough
    lattice, halvings = coarsest(low, high, resolution, start)
    samples = samples_of(query, lattice, level, thorough)
    active = _follow(samples, lattice.all_cells(), thorough)
    for _ in range(halvings):
        finer = samples_of(query, samples.lattice.halved(), level, thorough)
        halved = samples.lattice.halved_number(active, finer.lattice)
        finer.inherit(samples, active, halved)
        if thorough:
            children = finer.lattice.neighbours(halved, AT_CORNERS).flatten()
        else:
            children = _expected_children(samples, active, finer, halved)
        active, samples = _follow(finer, children, thorough), finer
    corners = samples.slots(samples.lattice.neighbours(active, AT_CORNERS))
    used = samples.unique(corners)
    place = torch.zeros_like(samples.values, dtype=torch.long)
    place[used] = torch.arange(len(used), device=used.device)
    points = samples.points(used)
    return marching_cubes(points, samples.values[used] - level, place[corners]), samples.lattice


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
    surface, lattice = find_surface(query, low, high, resolution, level, start)
    vertices = polished(surface, [lambda points: query(points) - level] * polish)
    return lattice.clamped(vertices), surface.faces


def extract_surface_dense(
    query: Query, low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], resolution: int, level: float = 0.0
) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """Plain reference of `extract_surface`: asks every point of the finest lattice, parts of any size are found, and
    another library marches the cubes."""
    import igl

    lattice, halvings = coarsest(low, high, resolution, START_CELLS)
    for _ in range(halvings):
        lattice = lattice.halved()
    shape = tuple(n + 1 + 2 * PAD for n in lattice.cells)
    grid = torch.cartesian_prod(*(torch.arange(n, device=low.device) for n in shape))
    points = lattice.points(grid)
    values = torch.full(shape, level - 1.0, device=low.device)
    box = torch.zeros(shape, dtype=torch.bool, device=low.device)
    box[PAD:-PAD, PAD:-PAD, PAD:-PAD] = True
    values[box] = query(points[box.flatten()]).to(values)
    x, y, z = shape
    arrays = values.flatten().double().cpu().numpy(), points.double().cpu().numpy()
    vertices, faces, _ = igl.marching_cubes(*arrays, z, y, x, level)  # igl counts x fastest: our z is its x
    return lattice.clamped(torch.from_numpy(vertices).float().to(low.device)), torch.from_numpy(faces).to(low.device)
