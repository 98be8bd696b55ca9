"""Points of known occupancy with their canonical correspondences: of those that lie between two limbs, both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.fields.bound_weights import BoundWeights
from gdna.fit.matching import Matches, joined, match_from, nearest_vertex, other_limb
from gdna.fit.wearer import Wearer


@dataclass(frozen=True)
class RootTable:
    """Which of P roots belong to each of N samples; -1: none in that place."""

    rows: Int[Tensor, "N 2"]

    def take(self, index: Int[Tensor, " n"]) -> tuple[Int[Tensor, " p"], RootTable]:
        """Some samples: the roots that they need, and their table among those."""
        rows = self.rows[index]
        there = rows >= 0
        number = there.flatten().cumsum(0).view_as(rows) - 1
        return rows[there], RootTable(torch.where(there, number, -1))

    def largest(self, values: Float[Tensor, " P"]) -> Float[Tensor, " N"]:
        """A point is inside if any of its correspondences is: the largest of the roots' logits."""
        return torch.where(self.rows >= 0, values[self.rows.clamp_min(0)], -torch.inf).amax(1)


@dataclass(frozen=True)
class Samples:
    """N points, all of which have a root."""

    roots: Matches
    table: RootTable
    inside: Float[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.inside)

    def take(self, index: Int[Tensor, " n"]) -> Samples:
        rows, table = self.table.take(index)
        return Samples(self.roots[rows], table, self.inside[index])

    @staticmethod
    def of(
        points_posed: Float[np.ndarray, "N 3"],
        inside: Bool[np.ndarray, " N"],
        wearer: Wearer,
        weights_at: BoundWeights,
    ) -> Samples:
        """Those of the points that have a correspondence, in their order."""
        like = wearer.betas
        first = nearest_vertex(points_posed, wearer.vertices().detach().cpu().numpy())
        twice, second = other_limb(points_posed, first, wearer)
        points = torch.from_numpy(np.concatenate([points_posed, points_posed[twice]])).to(like)
        vertex = torch.from_numpy(np.concatenate([first, second])).to(like.device)
        roots = match_from(points, vertex, wearer, weights_at)
        rows = torch.full((len(points_posed), 2), -1, device=like.device)
        rows[:, 0] = torch.arange(len(rows), device=like.device)
        rows[torch.from_numpy(twice).to(like.device), 1] = torch.arange(len(rows), len(points), device=like.device)
        rows = torch.where((rows >= 0) & roots.found[rows.clamp_min(0)], rows, -1)
        usable = (rows >= 0).any(1).nonzero()[:, 0]
        return Samples(roots, RootTable(rows), torch.from_numpy(inside).to(like)).take(usable)


def both(one: Samples, other: Samples) -> Samples:
    """One after the other."""
    shifted = torch.where(other.table.rows >= 0, other.table.rows + len(one.roots.found), -1)
    table = RootTable(torch.cat([one.table.rows, shifted]))
    return Samples(joined([one.roots, other.roots]), table, torch.cat([one.inside, other.inside]))
