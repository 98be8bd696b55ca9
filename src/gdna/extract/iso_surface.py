"""The surface within cells whose corner values are known: marching cubes as a few gathers, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.extract.cube_cases import EDGE_AXES, EDGES, cube_cases
from gdna.extract.lattice import Query
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
    inside = values > 0
    vertex_of_edge, ends = _cut_edges(inside, cells)
    corner_inside = inside[cells]
    case = (corner_inside.long() << torch.arange(8, device=cells.device)).sum(1)
    edges = cube_cases().triangles.to(cells.device)[case]  # (C, T, 3) edges of the cell
    cell, triangle = (edges[:, :, 0] >= 0).nonzero(as_tuple=True)
    faces = vertex_of_edge[_edge_numbers(cells)[cell[:, None], edges[cell, triangle]]]
    first_inside = inside[ends[:, 0]]
    low = torch.where(first_inside, ends[:, 1], ends[:, 0])
    high = torch.where(first_inside, ends[:, 0], ends[:, 1])
    share = values[low] / (values[low] - values[high])
    vertices = torch.lerp(points[low], points[high], share[:, None])
    return IsoSurface(vertices, faces, points[low], points[high], values[low], values[high])


def _edge_numbers(cells: Int[Tensor, "C 8"]) -> Int[Tensor, "C 12"]:
    """An edge is the axis it runs along from its lower corner."""
    lower = torch.tensor([start for start, _ in EDGES], device=cells.device)
    return 3 * cells[:, lower] + torch.tensor(EDGE_AXES, device=cells.device)


def _cut_edges(inside: Bool[Tensor, " P"], cells: Int[Tensor, "C 8"]) -> tuple[Int[Tensor, " E"], Int[Tensor, "V 2"]]:
    """The vertex on each cut edge (any number elsewhere), and the corners between which each vertex lies."""
    upper_end = torch.full((3 * len(inside),), -1, dtype=torch.long, device=cells.device)
    numbers = _edge_numbers(cells)
    for k, (start, end) in enumerate(EDGES):
        cut = inside[cells[:, start]] != inside[cells[:, end]]
        # edges that are not cut write into their place what stands there for them everywhere
        upper_end[numbers[:, k]] = torch.where(cut, cells[:, end], -1)
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
