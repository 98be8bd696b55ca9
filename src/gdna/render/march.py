"""Where rays enter an implicit surface."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.geometry.false_position import Bracket, false_position

Occupancy = Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]]

POINTS_AT_ONCE = 2**18


def march(
    occupancy: Occupancy,
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    steps: int = 128,
    secant: int = 8,
    near: float = 0.0,
    far: float = 2.0,
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """Depth along each ray (in lengths of its direction) of the first crossing from outside (at most 0) to inside
    (above 0), and whether there is one; the depth of a ray without is `far`.

    `steps` samples from `near` to `far` find the crossing, `secant` steps refine it. A ray is asked no further than its
    crossing; `occupancy` gets (N, 3) points, at most 2^18 at once.
    """
    sample = torch.linspace(near, far, steps, device=origins.device)
    crossing, before, after = _first_crossing(occupancy, origins, directions, sample)
    hit = crossing > 0
    depth = torch.full_like(origins[:, 0], far)
    ray = hit.nonzero()[:, 0]
    bracket = Bracket(sample[crossing[ray] - 1], sample[crossing[ray]], before[ray], after[ray])
    depth[ray] = false_position(
        lambda at: _along(occupancy, origins[ray], directions[ray], at[:, None])[:, 0], bracket, secant
    )
    return depth, hit


def _along(
    occupancy: Occupancy, origins: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"], depth: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    points = origins[:, None] + directions[:, None] * depth[..., None]
    return torch.cat([occupancy(part) for part in points.flatten(0, 1).split(POINTS_AT_ONCE)]).view_as(depth)


def _first_crossing(
    occupancy: Occupancy, origins: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"], sample: Float[Tensor, " S"]
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Index of the first sample inside after one outside (0: none), and the values before and at it."""
    count = len(origins)
    crossing = torch.zeros(count, dtype=torch.long, device=origins.device)
    before, after = torch.zeros_like(origins[:, 0]), torch.zeros_like(origins[:, 0])
    active = torch.arange(count, device=origins.device)
    last = torch.full_like(before, torch.inf)  # nothing crosses into the first sample
    start = 0
    while start < len(sample) and len(active):
        # as rays end, blocks of samples grow, so that the batches stay full
        block = sample[start : start + max(1, POINTS_AT_ONCE // len(active))]
        values = _along(occupancy, origins[active], directions[active], block.expand(len(active), -1))
        values = torch.cat([last[:, None], values], 1)
        enters = (values[:, :-1] <= 0) & (values[:, 1:] > 0)
        found, first = enters.any(1), enters.int().argmax(1)
        ray, step = active[found], first[found]
        crossing[ray] = start + step
        before[ray], after[ray] = values[found, step], values[found, step + 1]
        active, last = active[~found], values[~found, -1]
        start += len(block)
    return crossing, before, after
