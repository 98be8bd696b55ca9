"""Launching the Triton kernels. Nothing here waits for the device, so all of it can be captured in a CUDA graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float16, Int
from torch import Tensor

from gdna.deform import bone_kernels, fold_kernels, polish_kernels, slope_kernels, triton_kernels
from gdna.deform.blend import Jacobians
from gdna.deform.fused_networks import FusedNetworks, check_sizes
from gdna.deform.grid import TransformGrid
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.fields.mlp import SHARPNESS
from gdna.geometry.devices import launching_on


@dataclass(frozen=True)
class Tile:
    """How a kernel's work is cut: `block` rows for `warps` warps, loads running `stages` ahead.

    Not one stage for kernels with matrix products: as Triton 3.6 compiles them, they read outside of memory.
    """

    block: int
    warps: int
    stages: int = 2


STARTS_TILE = Tile(32, 1)
FILL_TILE = Tile(64, 4)
SEARCH_TILE = Tile(64, 4)
KEEP_TILE = Tile(256, 4)
FOLD_TILE = Tile(64, 4)
SLOPES_TILE = Tile(32, 4)  # four rows a point
POLISH_TILE = Tile(128, 8)  # two stages of split matrices leave room for one program at a time
TAIL_TILE = Tile(64, 4)  # of lists that fit the processors at once: quicker from layer to layer


def fill(
    networks: FusedNetworks,
    bone_transforms: Float[Tensor, "B J 4 4"],
    settings: GridSettings,
    split: bool = False,
    tile: Tile = FILL_TILE,
) -> TransformGrid:
    """Blended transforms at every node, relative to the first bone's place, in half precision; with `split`, as exact
    as float32."""
    (depth, height, width), batch = settings.shape, len(bone_transforms)
    nodes = depth * height * width
    check_sizes(networks, bone_transforms)
    values = bone_transforms.new_empty(batch, *settings.shape, 16, dtype=torch.float32 if split else torch.float16)
    origins = bone_transforms[:, 0, :3, 3].contiguous()
    bones = split_bones(bone_transforms, networks.bones, moved=True)
    steps = [(h - lo) / (n - 1) for lo, h, n in zip(settings.low, settings.high, (width, height, depth), strict=True)]
    with launching_on(values):
        triton_kernels.fill_kernel[(_blocks(nodes, tile), batch)](
            values, *_arguments(networks, bones), nodes, SHARPNESS, *settings.low, *steps,
            H=height, W=width, **_sizes(networks), SPLIT=split, **_launch(tile),
        )  # fmt: skip
    return TransformGrid(values, settings.low, settings.high, origins)


def split_bones(
    bone_transforms: Float[Tensor, "B J 4 4"], bones: int, moved: bool = False
) -> Float16[Tensor, "B 2 J2 16"]:
    """`fused_bones`, in one kernel; of the same transforms `moved` for a posed space that begins at the first bone's
    place."""
    halves = bone_transforms.new_empty(len(bone_transforms), 2, bones, 16, dtype=torch.float16)
    with launching_on(halves):
        bone_kernels.split_kernel[(len(halves),)](
            bone_transforms.contiguous(), halves, bone_transforms.shape[1], MOVED=moved, BONES=bones
        )
    return halves


def rigid_rows(chosen: Float[Tensor, "B I 4 4"]) -> Float[Tensor, "B I 12"]:
    """The first three rows of the inverses, in one kernel."""
    rows = chosen.new_empty(*chosen.shape[:2], 12)
    count = rows.shape[0] * rows.shape[1]
    with launching_on(rows):
        bone_kernels.starts_kernel[(_blocks(count, STARTS_TILE),)](
            chosen.contiguous(), rows, count, BLOCK=STARTS_TILE.block, num_warps=STARTS_TILE.warps
        )
    return rows


def search(
    grid: TransformGrid,
    points_posed: Float[Tensor, "B N 3"],
    starts: Float[Tensor, "B I 12"],
    settings: SearchSettings,
    tile: Tile = SEARCH_TILE,
) -> tuple[Float[Tensor, "B N I 3"], Float[Tensor, "B N I"], Float[Tensor, "B N I 9"]]:
    """Best iterates, their residuals' norms and the last inverse Jacobians of Broyden's method on the grid from every
    start (rows of the bones' inverse transforms)."""
    batch, count, tries = len(points_posed), points_posed.shape[1], starts.shape[1]
    assert len(grid.values) == len(starts) == batch
    points = points_posed.new_empty(batch, count, tries, 3)
    norms = points_posed.new_empty(batch, count, tries)
    inverses = points_posed.new_empty(batch, count, tries, 9)
    with launching_on(points):
        triton_kernels.search_kernel[(_blocks(count * tries, tile), batch)](
            grid.values.contiguous(), points_posed.contiguous(), starts.contiguous(), _origins(grid),
            points, norms, inverses, count * tries, _nodes(grid),
            settings.fused.steps, settings.fused.near, settings.divergence, *grid.low, *grid.nodes_per_metre(),
            TRIES=tries, **_box(grid), **_launch(tile),
        )  # fmt: skip
    return points, norms, inverses


def search_beyond_folds(
    grid: TransformGrid,
    points_posed: Float[Tensor, "B N 3"],
    found: tuple[Float[Tensor, "B N I 3"], Float[Tensor, "B N I"], Float[Tensor, "B N I 9"]],
    settings: SearchSettings,
    room: int,
    fold_room: int,
    tile: Tile = FOLD_TILE,
) -> None:
    """`folds.beyond_folds` and the search from there, in place: of what was found on the grid, columns without a
    candidate are taken."""
    (points, norms, inverses), fused = found, settings.fused
    batch, count, tries = norms.shape
    some, flags = candidates(points, norms, fused.candidate, fused.merge, room)
    more = entries_of(batch, fold_room, norms.device)
    values, box = grid.values.contiguous(), (*grid.low, *grid.nodes_per_metre())
    sizes = {"TRIES": tries, **_box(grid), **_launch(tile)}
    with launching_on(points):
        fold_kernels.fold_kernel[(_blocks(some.room, tile), batch)](
            values, points, flags, some.where, some.counts, more.where, more.counts, count * tries, _nodes(grid),
            some.room, more.room, fused.fold, *fused.reach, *box, **sizes,
        )  # fmt: skip
        fold_kernels.search_again_kernel[(_blocks(more.room, tile), batch)](
            values, points_posed.contiguous(), _origins(grid), points, norms, inverses, more.where, more.counts,
            count * tries, _nodes(grid), more.room, fused.steps, fused.near, settings.divergence, *box, **sizes,
        )  # fmt: skip


def keep(
    points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
) -> Bool[Tensor, "B N I"]:
    """Starts with a residual below `limit` (metres) but for those within `distance` of an earlier such start."""
    kept = torch.empty(norms.shape, dtype=torch.bool, device=norms.device)
    flags = kept.view(torch.int8)
    unlisted = Entries(flags.flatten(1), flags.new_empty(len(flags)), 0)
    _keep(points.contiguous(), norms.contiguous(), flags, norms, unlisted, limit, distance)
    return kept


@dataclass(frozen=True)
class Entries:
    """A list of some of the entries of every subject; the counts also count those that found no room."""

    where: Int[Tensor, "B R"]
    counts: Int[Tensor, " B"]
    room: int


def candidates(
    points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float, room: int
) -> tuple[Entries, Float[Tensor, "B N I"]]:
    """What `keep` keeps, as a list; and norms of entries none of which is polished yet, larger of those listed."""
    entries, fresh = entries_of(len(norms), room, norms.device), torch.empty_like(norms)
    _keep(points, norms, norms, fresh, entries, limit, distance)
    return entries, fresh


def entries_of(batch: int, room: int, device: torch.device) -> Entries:
    """None yet."""
    where = torch.empty(batch, room, dtype=torch.int32, device=device)
    return Entries(where, torch.zeros(batch, dtype=torch.int32, device=device), room)


@dataclass(frozen=True)
class Polished:
    """Entries as they are polished, in place."""

    points: Float[Tensor, "B N I 3"]
    norms: Float[Tensor, "B N I"]
    inverse_jacobians: Float[Tensor, "B N I 9"]
    targets: Float[Tensor, "B N 3"]


def polish(
    entries: Polished,
    some: Entries,
    networks: FusedNetworks,
    bones: Float16[Tensor, "B 2 J 16"],
    settings: SearchSettings,
    evaluations: int,
    more_room: int,
    split: bool = True,
    tile: Tile = POLISH_TILE,
) -> Entries:
    """Broyden's method on the networks for `some` of the entries, and `bones` as `split_bones` lays them out; with
    `split` the networks are as exact as float32, without they are in half precision. What did not converge."""
    e, (batch, count, tries) = entries, entries.norms.shape
    assert len(e.targets) == len(bones) == batch
    assert bones.shape[2] == networks.bones
    assert all(t.is_contiguous() for t in (e.points, e.norms, e.inverse_jacobians, e.targets))
    more = entries_of(batch, more_room, e.norms.device)
    with launching_on(e.points):
        polish_kernels.polish_kernel[(_blocks(some.room, tile), batch)](
            e.points, e.norms, e.inverse_jacobians, e.targets, some.where, some.counts, more.where, more.counts,
            *_arguments(networks, bones), count * tries, some.room, more_room, evaluations, SHARPNESS,
            settings.tolerance, settings.divergence, TRIES=tries, **_sizes(networks), SPLIT=split, **_launch(tile),
        )  # fmt: skip
    return more


def jacobians(
    points_canonical: Float[Tensor, "B M 3"],
    networks: FusedNetworks,
    bone_transforms: Float[Tensor, "B J 4 4"],
    tile: Tile = SLOPES_TILE,
) -> Jacobians:
    """How posed and neutral points move with the canonical ones, by networks in half precision."""
    n, (batch, count, _) = networks, points_canonical.shape
    check_sizes(networks, bone_transforms)
    posed, neutral = (points_canonical.new_empty(batch, count, 3, 3) for _ in range(2))
    with launching_on(points_canonical):
        slope_kernels.slopes_kernel[(_blocks(count, tile), batch)](
            points_canonical.contiguous(), posed, neutral, n.first, n.offset, n.hidden.high, n.biases, n.last.high,
            n.last_bias, split_bones(bone_transforms, n.bones), count, SHARPNESS, **_sizes(n), **_launch(tile),
        )  # fmt: skip
    return Jacobians(posed, neutral)


def _keep(
    points: Tensor, norms: Tensor, kept: Tensor, fresh: Tensor, entries: Entries, limit: float, distance: float
) -> None:
    batch, count, tries = norms.shape
    with launching_on(norms):
        polish_kernels.keep_kernel[(_blocks(count * tries, KEEP_TILE), batch)](
            points, norms, kept, fresh, entries.where, entries.counts, count * tries, entries.room, limit, distance,
            TRIES=tries, LIST=entries.room > 0, **_launch(KEEP_TILE),
        )  # fmt: skip


def _arguments(networks: FusedNetworks, bones: Float16[Tensor, "B 2 J 16"]) -> tuple[Tensor, ...]:
    n = networks
    return n.first, n.offset, n.hidden.high, n.hidden.low, n.biases, n.last.high, n.last.low, n.last_bias, bones


def _origins(grid: TransformGrid) -> Float[Tensor, "B 3"]:
    values = grid.values
    return values.new_zeros(len(values), 3, dtype=torch.float32) if grid.origins is None else grid.origins


def _nodes(grid: TransformGrid) -> int:
    return math.prod(grid.values.shape[1:4])


def _box(grid: TransformGrid) -> dict[str, int]:
    depth, height, width, columns = grid.values.shape[1:]
    assert columns == 16, "two neighbouring nodes are read as 32 numbers"
    assert min(depth, height, width) >= 2, "a cell has eight nodes"
    return {"D": depth, "H": height, "W": width}


def _sizes(networks: FusedNetworks) -> dict[str, int]:
    n = networks
    return {"WIDTH": n.width, "WARP": n.warp_layers, "SKIN": n.skinning_layers, "BONES": n.bones}


def _launch(tile: Tile) -> dict[str, int]:
    return {"BLOCK": tile.block, "num_warps": tile.warps, "num_stages": tile.stages}


def _blocks(count: int, tile: Tile) -> int:
    return -(-count // tile.block)
