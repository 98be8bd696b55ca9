"""The fused search: one kernel runs all of Broyden's method on a grid, another polishes what it found on the networks.

On a GPU in Triton, on a CPU in numba. The grid only has to lead near every root, and starts on it are cheap, so all
bones start. On a GPU nothing waits for the device: candidates go into columns whose number is fixed beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.broyden import BroydenSettings, broyden
from gdna.deform.fused_networks import FusedNetworks, fused_networks, why_not_fused
from gdna.deform.grid import TransformGrid, blend_grid, sample_weights
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.reference import drop_duplicates, skinning_residual
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.errors import GdnaError
from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.linalg import inverse_3x3, matvec
from gdna.types import Correspondences

LEAST_ROOM = 64  # columns, so that a handful of points cannot overflow


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
class TorchEngine:
    """Plain torch, any device: what the kernels are compared with."""

    weights_at: WeightsAt

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
        rows = starts.unflatten(-1, (3, 4))
        start = (matvec(rows[:, None, :, :, :3], points[:, :, None]) + rows[:, None, ..., 3]).flatten(1, 2)
        targets = points.repeat_interleave(starts.shape[1], 1)

        def residual(at: Tensor, index: Tensor) -> Tensor:
            read = grid.read(at)
            return matvec(read[..., :3], at) + read[..., 3] - gather(targets, index)

        steps = BroydenSettings(settings.fused.steps, settings.tolerance, settings.divergence, repack=0)
        found = broyden(residual, start, inverse_3x3(grid.read(start)[..., :3]), steps)
        size = (points.shape[1], starts.shape[1])
        return GridRoots(
            found.points.unflatten(1, size),
            found.residual_norm.unflatten(1, size),
            found.inverse_jacobian.flatten(2).unflatten(1, size),
        )

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

    def room(self, share: float, points: int) -> int | None:
        return None


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

        size = (*points.shape[:2], starts.shape[1])
        found = GridRoots(points.new_empty(*size, 3), points.new_empty(size), points.new_empty(*size, 9))
        kernels.search(
            grid.values.numpy(), points.numpy(), starts.numpy(),
            np.array(grid.low), np.array(grid.nodes_per_metre()),
            settings.fused.steps, settings.tolerance, settings.divergence,
            found.points.numpy(), found.norms.numpy(), found.inverse_jacobians.view(*size, 3, 3).numpy(),
        )  # fmt: skip
        return found


@dataclass(frozen=True)
class TritonEngine:
    """For CUDA devices, and for CPUs under Triton's interpreter."""

    networks: FusedNetworks

    def fill(self, bone_transforms: Float[Tensor, "B J 4 4"], settings: GridSettings) -> TransformGrid:
        from gdna.deform import fused_triton

        return fused_triton.fill(self.networks, bone_transforms, settings)

    def search(
        self,
        grid: TransformGrid,
        points: Float[Tensor, "B N 3"],
        starts: Float[Tensor, "B I 12"],
        settings: SearchSettings,
    ) -> GridRoots:
        from gdna.deform import fused_triton

        return GridRoots(*fused_triton.search(grid, points, starts, settings))

    def keep(
        self, points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
    ) -> Bool[Tensor, "B N I"]:
        from gdna.deform import fused_triton

        return fused_triton.keep(points, norms, limit, distance)

    def polish(
        self,
        candidates: Candidates,
        bone_transforms: Float[Tensor, "B J 4 4"],
        settings: SearchSettings,
        evaluations: int,
    ) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M"], Float[Tensor, "B M 9"]]:
        from gdna.deform import fused_triton

        c = candidates
        return fused_triton.polish(
            c.points, c.targets, c.inverse_jacobians, c.counts, self.networks, bone_transforms, settings, evaluations
        )

    def room(self, share: float, points: int) -> int | None:
        return int(share * points) + LEAST_ROOM


Engine = TorchEngine | TritonEngine
"""The steps of the search on one kind of device."""


def engine_for(points_posed: Float[Tensor, "B N 3"], weights_at: WeightsAt) -> Engine:
    """Raises `GdnaError` where the fused search cannot run, and says why."""
    reason = why_not_here(points_posed, weights_at)
    if reason is not None:
        raise GdnaError(f"search backend 'fused': {reason}; backend 'auto' takes what runs")
    if points_posed.is_cuda:
        assert isinstance(weights_at, BoundWeights)
        return TritonEngine(fused_networks(weights_at, len(points_posed)))
    return NumbaEngine(in_chunks(weights_at))


def why_not_here(points_posed: Tensor, weights_at: WeightsAt) -> str | None:
    """Why the fused search cannot run there, None where it can."""
    if points_posed.device.type == "cpu":
        return None
    if not points_posed.is_cuda:
        return f"found a device of type {points_posed.device.type}, expected cuda or cpu"
    if points_posed.dtype != torch.float32:
        return f"found points of {points_posed.dtype} on a GPU, expected torch.float32"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton is not installed; PyTorch's CUDA builds for Linux bring it"
    return why_not_fused(weights_at)


@torch.no_grad()
def search_fused(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    engine: Engine,
    settings: SearchSettings,
    grid: TransformGrid,
) -> Correspondences:
    """Roots from every start; candidates that find no column (none, unless points have many) count in `dropped`."""
    fused = settings.fused
    bones = tuple(range(bone_transforms.shape[1])) if fused.every_bone else settings.init_bones
    rows = inverse_rows(bone_transforms, bones)
    on_grid = engine.search(grid, points_posed, rows, settings)
    candidate = engine.keep(on_grid.points, on_grid.norms, fused.candidate, fused.merge)
    points, norms, dropped = _polished(points_posed, bone_transforms, engine, settings, on_grid, candidate)
    points, norms = _rescued(points_posed, bone_transforms, engine, settings, rows, points, norms)
    converged = engine.keep(points, norms, settings.tolerance, settings.duplicate)
    return Correspondences(points, converged, dropped)


def _polished(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    engine: Engine,
    settings: SearchSettings,
    on_grid: GridRoots,
    candidate: Bool[Tensor, "B N I"],
) -> tuple[Float[Tensor, "B N I 3"], Float[Tensor, "B N I"], Int[Tensor, ""]]:
    """Candidates on the networks, those that take longer once more; and how many found no column."""
    fused, (count, tries) = settings.fused, candidate.shape[1:]
    first = pack(on_grid.points.flatten(1, 2), candidate.flatten(1), engine.room(fused.room, count))
    targets = gather(points_posed, first.index // tries)
    inverses = gather(on_grid.inverse_jacobians.flatten(1, 2), first.index)
    some = Candidates(first.values, targets, inverses, first.mask.sum(1))
    points, norms, inverses = engine.polish(some, bone_transforms, settings, fused.evaluations)

    more = pack(points, first.mask & ~(norms < settings.tolerance), engine.room(fused.more_room, count))
    rest = Candidates(more.values, gather(targets, more.index), gather(inverses, more.index), more.mask.sum(1))
    again, again_norms, _ = engine.polish(rest, bone_transforms, settings, fused.more_evaluations)
    points, norms = unpack(again, more, points), unpack(again_norms, more, norms)

    nowhere = torch.full_like(on_grid.norms.flatten(1), torch.inf)
    points = unpack(points, first, on_grid.points.flatten(1, 2)).unflatten(1, (count, tries))
    return points, unpack(norms, first, nowhere).unflatten(1, (count, tries)), first.overflow


def _rescued(
    points_posed: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    engine: Engine,
    settings: SearchSettings,
    rows: Float[Tensor, "B I 12"],
    points: Float[Tensor, "B N I 3"],
    norms: Float[Tensor, "B N I"],
) -> tuple[Float[Tensor, "B N I 3"], Float[Tensor, "B N I"]]:
    """The few points still without a root, from every start on the networks, for as many as there is room."""
    fused, (count, tries) = settings.fused, norms.shape[1:]
    lost = pack(points_posed, ~(norms < settings.tolerance).any(-1), engine.room(fused.rescue_room, count))
    matrix = rows.unflatten(-1, (3, 4))[:, None]
    starts = matvec(matrix[..., :3], lost.values[:, :, None]) + matrix[..., 3]
    inverses = matrix[..., :3].flatten(3).expand(*starts.shape[:3], 9)
    targets = lost.values[:, :, None].expand_as(starts)
    some = Candidates(starts.flatten(1, 2), targets.flatten(1, 2), inverses.flatten(1, 2), lost.mask.sum(1) * tries)
    found, found_norms, _ = engine.polish(some, bone_transforms, settings, fused.rescue_evaluations)
    size = (lost.mask.shape[1], tries)
    return unpack(found.unflatten(1, size), lost, points), unpack(found_norms.unflatten(1, size), lost, norms)


def inverse_rows(bone_transforms: Float[Tensor, "B J 4 4"], bones: tuple[int, ...]) -> Float[Tensor, "B I 12"]:
    """The first three rows of the bones' inverse transforms."""
    chosen = torch.stack([bone_transforms[:, bone] for bone in bones], 1)  # a list as index would wait for the device
    inverse = inverse_3x3(chosen[..., :3, :3])
    shift = -matvec(inverse, chosen[..., :3, 3])
    return torch.cat([inverse, shift[..., None]], -1).flatten(2)
