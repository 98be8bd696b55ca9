"""Iso-surfaces of a function that is dear to ask: refine a grid around the level set, then marching cubes on its cells.

Each level halves the cells that the surface crosses. On a GPU, where rounds are dear and questions cheap, all halved
cells of a crossed cell are looked at. On a CPU the new lattice points are not all asked: first the midpoints of the
crossed edges, which tell for certain one small cell per crossing, then the corners of the cells that trilinear
interpolation expects to be crossed. Either way, from every crossed cell, the neighbours behind its crossed faces
follow, until the surface is closed. So every connected surface that the coarsest lattice touches comes out whole,
thin parts included, as the dense grid would give it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.extract import cube_cases
from gdna.extract.iso_surface import IsoSurface, marching_cubes, polished
from gdna.extract.lattice import PAD, Lattice, Query, Samples, coarsest, halved_number, number_of

START_CELLS = 32
CORNERS = torch.tensor(cube_cases.CORNERS)
EDGES = torch.tensor(cube_cases.EDGES)
FACE_STEPS = torch.tensor([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
FACE_CORNERS = torch.tensor(cube_cases.FACES)
HALVES = torch.cartesian_prod(*(torch.arange(3),) * 3)  # the lattice of a cell cut in eight
_RANK = torch.tensor([9, 3, 1])  # of a point in HALVES
MIDPOINTS = (CORNERS[EDGES].sum(1) * _RANK).sum(-1)  # (12,) rows of HALVES
CHILD_CORNERS = ((CORNERS[:, None] + CORNERS) * _RANK).sum(-1)  # (8, 8) rows of HALVES
_HALF = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
TRILINEAR = torch.einsum("ax,by,cz->abcxyz", _HALF, _HALF, _HALF).reshape(27, 8)


def _mixed(inside: Bool[Tensor, "*n K"]) -> Bool[Tensor, "*n"]:
    return inside.any(-1) & ~inside.all(-1)


def _corners(cells: Int[Tensor, "*n"]) -> Int[Tensor, "*n 8"]:
    return cells[..., None] + number_of(CORNERS.to(cells.device))


def _follow(samples: Samples, front: Int[Tensor, " M"]) -> Int[Tensor, " A"]:
    """All crossed cells that hang together, face by crossed face, with the crossed ones of `front`."""
    steps, sides = number_of(FACE_STEPS.to(front.device)), FACE_CORNERS.to(front.device)
    crossed = [front[:0]]
    while len(front):
        slots = samples.need(_corners(front))
        samples.seen[slots[:, 0]] = True
        inside = samples.inside(slots)
        hit = _mixed(inside).nonzero()[:, 0]
        crossed.append(front[hit])
        through = _mixed(inside[hit][:, sides])
        behind = (crossed[-1][:, None] + steps)[through]
        samples.make_room(behind)
        slots = samples.slots(behind)
        front = samples.numbers(samples.unique(torch.where(samples.seen[slots], -1, slots)))
    return torch.cat(crossed)


def _expected_children(coarse: Samples, active: Int[Tensor, " A"], fine: Samples) -> Int[Tensor, " M"]:
    """Halved cells of the crossed cells `active` where the surface is to be expected; asks the crossed edges'
    midpoints.
    """
    device = active.device
    corners = coarse.slots(_corners(active))
    inside = coarse.inside(corners)
    halves = halved_number(active)[:, None] + number_of(HALVES.to(device))
    cut = inside[:, EDGES[:, 0].to(device)] != inside[:, EDGES[:, 1].to(device)]
    fine.need(halves[:, MIDPOINTS.to(device)][cut])
    fine.make_room(halves)
    known = fine.values[fine.slots(halves)]
    expected = coarse.values[corners] @ TRILINEAR.to(device).T
    values = torch.where(known.isnan(), expected, known)
    crossed = _mixed((values > fine.level)[:, CHILD_CORNERS.to(device)])
    return _corners(halves[:, 0])[crossed]


def find_surface(
    query: Query,
    low: Float[Tensor, " 3"],
    high: Float[Tensor, " 3"],
    resolution: int,
    level: float = 0.0,
    start: int = START_CELLS,
) -> tuple[IsoSurface, Lattice]:
    """`extract_surface` before its vertices are polished. Values are `query` minus `level`; vertices between the box
    and the lattice's pad are still to be clamped.
    """
    lattice, halvings = coarsest(low, high, resolution, start)
    samples = Samples(query, lattice, level)
    active = _follow(samples, lattice.all_cells())
    for _ in range(halvings):
        finer = Samples(query, samples.lattice.halved(), level)
        finer.inherit(samples, _corners(active))
        children = (
            _corners(halved_number(active)).flatten() if low.is_cuda else _expected_children(samples, active, finer)
        )
        active, samples = _follow(finer, children), finer
    corners = samples.slots(_corners(active))
    used = samples.unique(corners)
    place = torch.zeros_like(samples.values, dtype=torch.long)
    place[used] = torch.arange(len(used), device=used.device)
    points = samples.lattice.points(samples.numbers(used))
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
    vertices = polished(surface, lambda points: query(points) - level, polish)
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
    grid = number_of(torch.cartesian_prod(*(torch.arange(n, device=low.device) for n in shape)))
    points = lattice.points(grid)
    values = torch.full(shape, level - 1.0, device=low.device)
    box = torch.zeros(shape, dtype=torch.bool, device=low.device)
    box[PAD:-PAD, PAD:-PAD, PAD:-PAD] = True
    values[box] = query(points[box.flatten()]).to(values)
    x, y, z = shape
    arrays = values.flatten().double().cpu().numpy(), points.double().cpu().numpy()
    vertices, faces, _ = igl.marching_cubes(*arrays, z, y, x, level)  # igl counts x fastest: our z is its x
    return lattice.clamped(torch.from_numpy(vertices).float().to(low.device)), torch.from_numpy(faces).to(low.device)
