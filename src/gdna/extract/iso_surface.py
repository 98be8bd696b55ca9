"""The surface within cells whose corner values are known: marching cubes as a few gathers, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.extract.cube_cases import EDGE_AXES, EDGES, cube_cases
from gdna.extract.samples import Query
from gdna.geometry.false_position import Bracket, false_position
from gdna.geometry.mesh import largest_component


@dataclass(frozen=True)
class IsoSurface:
    """A triangle mesh and the cell edge on which each of its vertices lies; faces are counter-clockwise seen from where
    values are not positive.
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    outside: Float[Tensor, "V 3"]  # the end of the edge where the value is not positive
    inside: Float[Tensor, "V 3"]
    value_outside: Float[Tensor, " V"]
    value_inside: Float[Tensor, " V"]


def marching_cubes(points: Float[Tensor, "P 3"], values: Float[Tensor, " P"], cells: Int[Tensor, "C 8"]) -> IsoSurface:
    """Zero surface of values at the corners of cells, `cells` naming them in the order `CORNERS`.

    Closed and manifold wherever all cells around a cut edge are given: see `cube_cases`.
    """
    inside, numbers = values > 0, _edge_numbers(cells)
    corner_inside = inside[cells]
    vertex_of_edge, ends = _cut_edges(corner_inside, cells, numbers, len(values))
    case = (corner_inside.long() << torch.arange(8, device=cells.device)).sum(1)
    edges = _tables(cells.device).triangles[case]  # (C, T, 3) edges of the cell
    cell, triangle = (edges[:, :, 0] >= 0).nonzero(as_tuple=True)
    faces = vertex_of_edge[numbers[cell[:, None], edges[cell, triangle]]]
    first_inside = inside[ends[:, 0]]
    low = torch.where(first_inside, ends[:, 1], ends[:, 0])
    high = torch.where(first_inside, ends[:, 0], ends[:, 1])
    share = values[low] / (values[low] - values[high])
    vertices = torch.lerp(points[low], points[high], share[:, None])
    return IsoSurface(vertices, faces, points[low], points[high], values[low], values[high])


@dataclass(frozen=True)
class _Tables:
    """About a cell, on one device."""

    triangles: Int[Tensor, "256 T 3"]  # see `CubeCases`
    lower: Int[Tensor, " 12"]  # corner at the lower end of each edge
    upper: Int[Tensor, " 12"]
    axis: Int[Tensor, " 12"]


@lru_cache(maxsize=16)
def _tables(device: torch.device) -> _Tables:
    lower, upper = torch.tensor(EDGES).unbind(1)
    tables = _Tables(cube_cases().triangles, lower, upper, torch.tensor(EDGE_AXES))
    return _Tables(**{name: table.to(device) for name, table in vars(tables).items()})


def _edge_numbers(cells: Int[Tensor, "C 8"]) -> Int[Tensor, "C 12"]:
    """An edge is the axis it runs along from its lower corner."""
    tables = _tables(cells.device)
    return 3 * cells[:, tables.lower] + tables.axis


def _cut_edges(
    corner_inside: Bool[Tensor, "C 8"], cells: Int[Tensor, "C 8"], numbers: Int[Tensor, "C 12"], count: int
) -> tuple[Int[Tensor, " E"], Int[Tensor, "V 2"]]:
    """The vertex on each cut edge (any number elsewhere), and the corners between which each vertex lies. `count` are
    the corners of all cells."""
    tables = _tables(cells.device)
    cut = corner_inside[:, tables.lower] != corner_inside[:, tables.upper]
    upper_end = torch.full((3 * count,), -1, dtype=torch.long, device=cells.device)
    # edges that are not cut write into their place what stands there for them everywhere
    upper_end[numbers] = torch.where(cut, cells[:, tables.upper], -1)
    is_cut = upper_end >= 0
    edge = is_cut.nonzero()[:, 0]
    return is_cut.cumsum(0) - 1, torch.stack([edge // 3, upper_end[edge]], 1)


def largest_part(surface: IsoSurface) -> IsoSurface:
    """The connected part with the most area."""
    kept, faces = largest_component(surface.vertices, surface.faces)
    rows = {name: rows[kept] for name, rows in vars(surface).items() if name != "faces"}
    return replace(surface, faces=faces, **rows)


def polished(surface: IsoSurface, queries: Sequence[Query]) -> Float[Tensor, "V 3"]:
    """The vertices after a step of false position along their edges for each of the queries, which is asked once.

    Marching cubes takes values to be linear along an edge. The logit of an occupancy is not, and the error shows as
    terraces; one step takes most of it away.
    """
    if not queries or len(surface.vertices) == 0:
        return surface.vertices
    bracket = Bracket(
        torch.zeros_like(surface.value_outside),
        torch.ones_like(surface.value_inside),
        surface.value_outside,
        surface.value_inside,
    )
    edge, turn = surface.inside - surface.outside, iter(queries)
    share = false_position(lambda at: next(turn)(surface.outside + edge * at[:, None]), bracket, len(queries))
    return surface.outside + edge * share[:, None]
