"""The surface within cells whose corner values are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.geometry.false_position import Bracket, false_position

# igl's order of a cell's corners with our z as its x: the triangles are then those of its dense marching cubes
IGL_CORNERS = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]])


@dataclass(frozen=True)
class IsoSurface:
    """A triangle mesh and the cell edge on which each of its vertices lies."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    outside: Float[Tensor, "V 3"]  # the end of the edge where the value is not positive
    inside: Float[Tensor, "V 3"]
    value_outside: Float[Tensor, " V"]
    value_inside: Float[Tensor, " V"]


def marching_cubes(points: Float[Tensor, "P 3"], values: Float[Tensor, " P"], cells: Int[Tensor, "C 8"]) -> IsoSurface:
    """Zero surface of values at the corners of cells, `cells` naming them in the order `IGL_CORNERS`; faces are
    counter-clockwise seen from where values are not positive.
    """
    import igl

    device = points.device
    if len(cells) == 0:
        nowhere, nothing = points.new_zeros(0, 3), values.new_zeros(0)
        return IsoSurface(nowhere, cells.new_zeros(0, 3), nowhere, nowhere, nothing, nothing)
    arrays = (values.double().cpu().numpy(), points.double().cpu().numpy(), cells.cpu().numpy())
    vertices, faces, edges = igl.marching_cubes(*arrays, 0.0)
    keys, order = (np.fromiter(numbers, np.int64, len(edges)) for numbers in (edges.keys(), edges.values()))
    ends = np.empty((len(vertices), 2), np.int64)
    ends[order] = np.stack([keys & 0xFFFFFFFF, keys >> 32], 1)
    first, second = torch.from_numpy(ends).to(device).unbind(1)
    first_inside = values[first] > 0
    outside, inside = torch.where(first_inside, second, first), torch.where(first_inside, first, second)
    placed = torch.from_numpy(vertices).float().to(device)
    triangles = torch.from_numpy(faces).to(device)
    return IsoSurface(placed, triangles, points[outside], points[inside], values[outside], values[inside])


def polished(
    surface: IsoSurface, query: Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]], steps: int
) -> Float[Tensor, "V 3"]:
    """The vertices after `steps` steps of false position along their edges, one question a vertex and step.

    Marching cubes takes values to be linear along an edge. The logit of an occupancy is not, and the error shows as
    terraces; one step takes most of it away.
    """
    if steps == 0 or len(surface.vertices) == 0:
        return surface.vertices
    bracket = Bracket(
        torch.zeros_like(surface.value_outside),
        torch.ones_like(surface.value_inside),
        surface.value_outside,
        surface.value_inside,
    )
    edge = surface.inside - surface.outside
    share = false_position(lambda at: query(surface.outside + edge * at[:, None]), bracket, steps)
    return surface.outside + edge * share[:, None]
