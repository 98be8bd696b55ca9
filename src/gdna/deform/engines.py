"""The steps of the fused search in plain torch, which its kernels are compared with, and on CPUs in part compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform.blend import WeightsAt
from gdna.deform.broyden import BroydenSettings, Roots, broyden
from gdna.deform.folds import beyond_folds
from gdna.deform.grid import TransformGrid, blend_grid, sample_weights
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.reference import drop_duplicates, skinning_residual
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.geometry.linalg import inverse_3x3, matvec


@dataclass(frozen=True)
class GridRoots:
    """What the search on the grid found from every start; not finding is a large norm."""

    points: Float[Tensor, "B N I 3"]
    norms: Float[Tensor, "B N I"]
    inverse_jacobians: Float[Tensor, "B N I 9"]


@dataclass(frozen=True)
class Candidates:
    """Points to polish, in the first `counts` of M columns."""

    points: Float[Tensor, "B M 3"]
    targets: Float[Tensor, "B M 3"]
    inverse_jacobians: Float[Tensor, "B M 9"]
    counts: Int[Tensor, " B"]


@dataclass(frozen=True)
class Refined:
    """Roots on the networks; not finding is a large norm. And how many candidates were dropped for want of room."""

    points: Float[Tensor, "B N I 3"]
    norms: Float[Tensor, "B N I"]
    dropped: Int[Tensor, ""]


@dataclass(frozen=True)
class TorchEngine:
    """Plain torch, any device: what the kernels are compared with."""

    weights_at: WeightsAt

    def starts(self, chosen: Float[Tensor, "B I 4 4"]) -> Float[Tensor, "B I 12"]:
        """The first three rows of the inverses."""
        inverse = inverse_3x3(chosen[..., :3, :3])
        shift = -matvec(inverse, chosen[..., :3, 3])
        return torch.cat([inverse, shift[..., None]], -1).flatten(2)

    def fill(self, bone_transforms: Float[Tensor, "B J 4 4"], settings: GridSettings) -> TransformGrid:
        like = bone_transforms.new_empty(len(bone_transforms), 0, 3)
        return blend_grid(sample_weights(self.weights_at, like, settings), bone_transforms, columns=16)

    def search(
        self,
        grid: TransformGrid,
        points: Float[Tensor, "B N 3"],
        starts: Float[Tensor, "B I 12"],
        settings: SearchSettings,
    ) -> GridRoots:
        """From every start, and again from beyond folds."""
        rows, fused = starts.unflatten(-1, (3, 4)), settings.fused
        size = (points.shape[1], starts.shape[1])
        start = matvec(rows[:, None, :, :, :3], points[:, :, None]) + rows[:, None, ..., 3]
        first = _on_grid(grid, start.flatten(1, 2), points.repeat_interleave(size[1], 1), settings)
        roots, norms, inverses = (
            t.unflatten(1, size) for t in (first.points, first.residual_norm, first.inverse_jacobian)
        )
        if fused.fold:
            candidate = self.keep(roots, norms, fused.candidate, fused.merge)
            starts_beyond, wanted = beyond_folds(grid, roots, candidate, fused.fold, fused.reach)
            some = pack(starts_beyond.flatten(1, 2), wanted.flatten(1))
            again = _on_grid(grid, some.values, gather(points, some.index // size[1]), settings)
            roots, norms, inverses = (
                unpack(new, some, old.flatten(1, 2)).unflatten(1, size)
                for new, old in (
                    (again.points, roots), (again.residual_norm, norms), (again.inverse_jacobian, inverses)
                )
            )  # fmt: skip
        return GridRoots(roots, norms, inverses.flatten(3))

    def keep(
        self, points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
    ) -> Bool[Tensor, "B N I"]:
        return drop_duplicates(points, norms < limit, distance)

    def polish(
        self,
        candidates: Candidates,
        bone_transforms: Float[Tensor, "B J 4 4"],
        settings: SearchSettings,
        evaluations: int,
    ) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M"], Float[Tensor, "B M 9"]]:
        columns = torch.arange(candidates.points.shape[1], device=candidates.counts.device)
        filled = columns < candidates.counts[:, None]
        repack = settings.repack_for(candidates.points.device.type)
        steps = BroydenSettings(evaluations - 1, settings.tolerance, settings.divergence, repack)
        residual = skinning_residual(candidates.targets, bone_transforms, self.weights_at)
        found = broyden(residual, candidates.points, candidates.inverse_jacobians.unflatten(-1, (3, 3)), steps)
        norms = torch.where(filled, found.residual_norm, torch.inf)
        return found.points, norms, found.inverse_jacobian.flatten(2)

    def refine(
        self,
        on_grid: GridRoots,
        points_posed: Float[Tensor, "B N 3"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        settings: SearchSettings,
    ) -> Refined:
        """What leads near a root, polished on the networks."""
        candidate = self.keep(on_grid.points, on_grid.norms, settings.fused.candidate, settings.fused.merge)
        points, norms = _polished(points_posed, bone_transforms, self, settings, on_grid, candidate)
        return Refined(points, norms, torch.zeros((), dtype=torch.int64, device=points.device))


@dataclass(frozen=True)
class NumbaEngine(TorchEngine):
    """For CPUs: the search on the grid compiled; the networks in torch, whose matrix products are hard to beat."""

    def search(
        self,
        grid: TransformGrid,
        points: Float[Tensor, "B N 3"],
        starts: Float[Tensor, "B I 12"],
        settings: SearchSettings,
    ) -> GridRoots:
        import numpy as np

        from gdna.deform import search_kernels as kernels

        assert grid.origins is None, "grids with origins are the GPU's"
        size = (*points.shape[:2], starts.shape[1])
        found = GridRoots(points.new_empty(*size, 3), points.new_empty(size), points.new_empty(*size, 9))
        kernels.search(
            grid.values.numpy(), points.numpy(), starts.numpy(),
            np.array(grid.low), np.array(grid.nodes_per_metre()),
            settings.fused.steps, settings.fused.near, settings.divergence,
            settings.fused.candidate, settings.fused.merge, settings.fused.fold, np.array(settings.fused.reach),
            found.points.numpy(), found.norms.numpy(), found.inverse_jacobians.view(*size, 3, 3).numpy(),
        )  # fmt: skip
        return found


def _polished(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    engine: TorchEngine,
    settings: SearchSettings,
    on_grid: GridRoots,
    candidate: Bool[Tensor, "B N I"],
) -> tuple[Float[Tensor, "B N I 3"], Float[Tensor, "B N I"]]:
    """Candidates on the networks, those that take longer again."""
    count, tries = candidate.shape[1:]
    points, inverses = on_grid.points.flatten(1, 2), on_grid.inverse_jacobians.flatten(1, 2)
    norms = torch.full_like(on_grid.norms.flatten(1), torch.inf)
    wanted = candidate.flatten(1)
    for evaluations in settings.fused.evaluations:
        some = pack(points, wanted)
        columns = Candidates(
            some.values, gather(points_posed, some.index // tries), gather(inverses, some.index), some.mask.sum(1)
        )
        found, found_norms, found_inverses = engine.polish(columns, bone_transforms, settings, evaluations)
        points, norms = unpack(found, some, points), unpack(found_norms, some, norms)
        inverses = unpack(found_inverses, some, inverses)
        wanted = wanted & ~(norms < settings.tolerance)
    return points.unflatten(1, (count, tries)), norms.unflatten(1, (count, tries))


def _on_grid(
    grid: TransformGrid, start: Float[Tensor, "B M 3"], targets: Float[Tensor, "B M 3"], settings: SearchSettings
) -> Roots:
    """Broyden's method on the grid; what ends outside its box has found nothing."""

    def residual(at: Tensor, index: Tensor) -> Tensor:
        read = grid.read(at)
        return matvec(read[..., :3], at) + read[..., 3] - gather(targets, index)

    steps = BroydenSettings(settings.fused.steps, settings.fused.near, settings.divergence, repack=0)
    found = broyden(residual, start, inverse_3x3(grid.read(start)[..., :3]), steps)
    inside = torch.stack(
        [(x >= low) & (x <= high) for x, low, high in zip(found.points.unbind(-1), grid.low, grid.high, strict=True)]
    ).all(0)
    return replace(found, residual_norm=torch.where(inside, found.residual_norm, torch.inf))
