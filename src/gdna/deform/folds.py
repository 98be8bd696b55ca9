"""Where the skinning map folds, a posed point has two canonical ones close to each other, and every start may end in
the same: in an armpit, at the inside of an elbow. So where the map nearly loses a direction, the search begins again
from either side along that direction. In plain torch; the kernels do the same."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform.grid import TransformGrid
from gdna.geometry.linalg import inverse_3x3, matvec

DIFFERENCE = 1e-3  # metres; within a cell of the grid
SQUARINGS = 3
SIDES = 4  # starts of a fold: either side, near and far


def beyond_folds(
    grid: TransformGrid,
    points: Float[Tensor, "B N I 3"],
    candidate: Bool[Tensor, "B N I"],
    fold: float,
    reach: tuple[float, float],
) -> tuple[Float[Tensor, "B N I 3"], Bool[Tensor, "B N I"]]:
    """New starts in columns of the same points that hold no candidate, and which columns these are.

    The map folds at a candidate where its Jacobian's smallest singular value is below `fold`. The candidate of rank r
    among those of its point has the free columns from 4 r on; what finds none is left out.
    """
    away = lost_direction(jacobian(grid, points.flatten(1, 2)), fold).view_as(points)
    steps = [side * far for far in reach for side in (1.0, -1.0)]
    starts = torch.stack([points + step * away for step in steps], 3)
    wanted = (candidate & away.any(-1))[..., None].expand(*candidate.shape, SIDES)
    slot = SIDES * (candidate.cumsum(-1) - 1)[..., None] + torch.arange(SIDES, device=points.device)
    column = _free_column(candidate, slot.flatten(2)).view_as(slot)
    wanted = wanted & (column < candidate.shape[-1])
    column = torch.where(wanted, column, candidate.shape[-1])  # one column more takes what is not wanted
    padded = torch.cat([points, points[:, :, :1]], 2)
    padded = padded.scatter(2, column.flatten(2)[..., None].expand(-1, -1, -1, 3), starts.flatten(2, 3))
    taken = torch.zeros(padded.shape[:3], dtype=torch.bool, device=points.device)
    taken = taken.scatter(2, column.flatten(2), wanted.flatten(2))
    return padded[:, :, :-1], taken[:, :, :-1]


def jacobian(grid: TransformGrid, points: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3 3"]:
    """Of the map that the grid is of, by differences."""

    def moved(at: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3"]:
        read = grid.read(at)
        return matvec(read[..., :3], at) + read[..., 3]

    ahead = points[:, :, None] + DIFFERENCE * torch.eye(3, dtype=points.dtype, device=points.device)
    change = moved(ahead.flatten(1, 2)).view_as(ahead) - moved(points)[:, :, None]
    return (change / DIFFERENCE).mT


def lost_direction(jacobians: Float[Tensor, "*b 3 3"], fold: float) -> Float[Tensor, "*b 3"]:
    """The unit right singular vector of the smallest singular value, zero where that is not below `fold`.

    By squaring (J^T J)^-1, whose columns all turn to it.
    """
    inverse = inverse_3x3(jacobians)
    power = inverse @ inverse.mT
    for _ in range(SQUARINGS):
        power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        power = power @ power
    longest = power.diagonal(dim1=-2, dim2=-1).argmax(-1)
    column = power.gather(-1, longest[..., None, None].expand(*longest.shape, 3, 1))[..., 0]
    direction = torch.nn.functional.normalize(column, dim=-1)
    stretch = matvec(inverse.mT, direction).square().sum(-1)
    return torch.where((stretch * fold * fold > 1)[..., None], direction, 0.0)


def _free_column(candidate: Bool[Tensor, "B N I"], slot: Int[Tensor, "B N S"]) -> Int[Tensor, "B N S"]:
    """The free column of that number, I where there are not so many."""
    count = candidate.shape[-1]
    free = candidate.to(torch.uint8).sort(dim=-1, stable=True).indices
    there = slot < count - candidate.sum(-1, keepdim=True)
    return torch.where(there, free.gather(-1, slot.clamp(0, count - 1)), count)
