"""The fused search: one kernel runs all of Broyden's method on a grid, another polishes what it found on the networks.

On a GPU in Triton, on a CPU in numba. The grid only has to lead near every root. On a GPU nothing waits for the device:
candidates go into columns whose number is fixed beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.engines import GridRoots, NumbaEngine, Refined, TorchEngine
from gdna.deform.fused_networks import FusedNetworks, fused_networks, why_not_fused
from gdna.deform.grid import TransformGrid
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.errors import GdnaError
from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.devices import has_triton
from gdna.types import Correspondences

MANY_TURNS = 2  # of polishing, after which one candidate in ten is left (docs/performance.md)
LEAST_ROOM = 64  # columns, so that a handful of points cannot overflow


@dataclass(frozen=True)
class TritonEngine:
    """For CUDA devices, and for CPUs under Triton's interpreter."""

    networks: FusedNetworks

    def starts(self, chosen: Float[Tensor, "B I 4 4"]) -> Float[Tensor, "B I 12"]:
        from gdna.deform import fused_triton

        return fused_triton.rigid_rows(chosen)

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
        """From every start, and again from beyond folds, in place."""
        from gdna.deform import fused_triton

        found, fused, count = fused_triton.search(grid, points, starts, settings), settings.fused, points.shape[1]
        if fused.fold:
            rooms = self.room(fused.room, count), self.room(fused.fold_room, count)
            fused_triton.search_beyond_folds(grid, points, found, settings, *rooms)
        return GridRoots(*found)

    def keep(
        self, points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
    ) -> Bool[Tensor, "B N I"]:
        from gdna.deform import fused_triton

        return fused_triton.keep(points, norms, limit, distance)

    def refine(
        self,
        on_grid: GridRoots,
        points_posed: Float[Tensor, "B N 3"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        settings: SearchSettings,
    ) -> Refined:
        """As the other engines, in place: candidates stay where they lie, and kernels walk lists of them."""
        from gdna.deform import fused_triton

        fused, count = settings.fused, points_posed.shape[1]
        room = self.room(fused.room, count)
        first, norms = fused_triton.candidates(on_grid.points, on_grid.norms, fused.candidate, fused.merge, room)
        entries = fused_triton.Polished(on_grid.points, norms, on_grid.inverse_jacobians, points_posed.contiguous())
        some, bones = first, fused_triton.split_bones(bone_transforms, self.networks.bones)
        for turn, evaluations in enumerate(fused.evaluations):
            tile = fused_triton.POLISH_TILE if turn < MANY_TURNS else fused_triton.TAIL_TILE
            some = fused_triton.polish(entries, some, self.networks, bones, settings, evaluations, room, tile=tile)
        return Refined(entries.points, norms, (first.counts - first.room).clamp_min(0).sum())

    def room(self, share: float, points: int) -> int:
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
    if not has_triton():
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
    rows = engine.starts(_of_bones(bone_transforms, settings.init_bones))
    on_grid = engine.search(grid, points_posed, rows, settings)
    found = engine.refine(on_grid, points_posed, bone_transforms, settings)
    converged = engine.keep(found.points, found.norms, settings.tolerance, settings.duplicate)
    return Correspondences(found.points, converged, found.dropped)


def _of_bones(bone_transforms: Float[Tensor, "B J 4 4"], bones: tuple[int, ...]) -> Float[Tensor, "B I 4 4"]:
    every = bones == tuple(range(bone_transforms.shape[1]))
    # a list as index would wait for the device
    return bone_transforms if every else torch.stack([bone_transforms[:, bone] for bone in bones], 1)
