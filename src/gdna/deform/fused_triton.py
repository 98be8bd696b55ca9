"""Launching the Triton kernels. Nothing here waits for the device, so all of it can be captured in a CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from gdna.deform import polish_kernels, slope_kernels, triton_kernels
from gdna.deform.blend import Jacobians
from gdna.deform.fused_networks import FusedNetworks, check_sizes, fused_bones, power_of_two
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


FILL_TILE = Tile(64, 4)
SEARCH_TILE = Tile(64, 4)
KEEP_TILE = Tile(256, 4)
LOST_TILE = Tile(64, 4)
SLOPES_TILE = Tile(32, 4)  # four rows a point
POLISH_TILE = Tile(128, 8)  # two stages of split matrices leave room for one program at a time


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
    steps = [(h - lo) / (n - 1) for lo, h, n in zip(settings.low, settings.high, (width, height, depth), strict=True)]
    with launching_on(values):
        triton_kernels.fill_kernel[(_blocks(nodes, tile), batch)](
            values, *_arguments(networks, moved_to(bone_transforms, origins)), nodes, SHARPNESS, *settings.low, *steps,
            H=height, W=width, **_sizes(networks), SPLIT=split, **_launch(tile),
        )  # fmt: skip
    return TransformGrid(values, settings.low, settings.high, origins)


def moved_to(bone_transforms: Float[Tensor, "B J 4 4"], origins: Float[Tensor, "B 3"]) -> Float[Tensor, "B J 4 4"]:
    """The same transforms for a posed space that begins at the origins."""
    shift = pad(origins[:, None, :, None], (3, 0, 0, 1))
    return bone_transforms - shift


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
    depth, height, width, columns = grid.values.shape[1:]
    assert columns == 16, "two neighbouring nodes are read as 32 numbers"
    assert min(depth, height, width) >= 2, "a cell has eight nodes"
    assert len(grid.values) == len(starts) == batch
    origins = points_posed.new_zeros(batch, 3) if grid.origins is None else grid.origins
    points = points_posed.new_empty(batch, count, tries, 3)
    norms = points_posed.new_empty(batch, count, tries)
    inverses = points_posed.new_empty(batch, count, tries, 9)
    with launching_on(points):
        triton_kernels.search_kernel[(_blocks(count * tries, tile), batch)](
            grid.values.contiguous(), points_posed.contiguous(), starts.contiguous(), origins,
            points, norms, inverses, count * tries, depth * height * width,
            settings.fused.steps, settings.fused.near, settings.divergence, *grid.low, *grid.nodes_per_metre(),
            TRIES=tries, D=depth, H=height, W=width, **_launch(tile),
        )  # fmt: skip
    return points, norms, inverses


def keep(
    points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
) -> Bool[Tensor, "B N I"]:
    """Starts with a residual below `limit` (metres) but for those within `distance` of an earlier such start."""
    kept = torch.empty(norms.shape, dtype=torch.int8, device=norms.device)
    nothing = Entries(kept, kept, 0)
    _keep(points.contiguous(), norms.contiguous(), kept, norms, nothing, limit, distance)
    return kept.bool()


@dataclass(frozen=True)
class Entries:
    """A list of some of the entries of every subject; the counts also count those that found no room."""

    where: Int[Tensor, "B R"]
    counts: Int[Tensor, " B"]
    room: int


def candidates(
    points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float, room: int
) -> tuple[Entries, Float[Tensor, "B N I"]]:
    """What `keep` keeps, as a list; and norms to begin with, of entries none of which is polished."""
    entries, fresh = entries_of(len(norms), room, norms.device), torch.empty_like(norms)
    _keep(points, norms, norms, fresh, entries, limit, distance)
    return entries, fresh


def entries_of(batch: int, room: int, device: torch.device) -> Entries:
    """None yet."""
    where = torch.empty(batch, room, dtype=torch.int32, device=device)
    return Entries(where, torch.zeros(batch, dtype=torch.int32, device=device), room)


def lost(norms: Float[Tensor, "B N I"], tolerance: float, room: int) -> Entries:
    """The points without a norm below the tolerance."""
    batch, count, tries = norms.shape
    entries = entries_of(batch, room, norms.device)
    with launching_on(norms):
        polish_kernels.lost_kernel[(_blocks(count, LOST_TILE), batch)](
            norms, entries.where, entries.counts, count, room, tolerance,
            TRIES=tries, COLUMNS=power_of_two(tries), **_launch(LOST_TILE),
        )  # fmt: skip
    return entries


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
    bone_transforms: Float[Tensor, "B J 4 4"],
    settings: SearchSettings,
    evaluations: int,
    more_room: int,
    starts: Float[Tensor, "B I 12"] | None = None,
    split: bool = True,
    tile: Tile = POLISH_TILE,
) -> Entries:
    """Broyden's method on the networks for `some` of the entries, or anew from the starts of some of the points; with
    `split` the networks are as exact as float32, without they are in half precision. What did not converge."""
    e, (batch, count, tries) = entries, entries.norms.shape
    check_sizes(networks, bone_transforms)
    assert len(e.targets) == batch
    assert all(t.is_contiguous() for t in (e.points, e.norms, e.inverse_jacobians, e.targets))
    more = entries_of(batch, more_room, e.norms.device)
    columns = some.room * (1 if starts is None else tries)
    with launching_on(e.points):
        polish_kernels.polish_kernel[(_blocks(columns, tile), batch)](
            e.points, e.norms, e.inverse_jacobians, e.targets, e.targets if starts is None else starts.contiguous(),
            some.where, some.counts, more.where, more.counts, *_arguments(networks, bone_transforms),
            count * tries, some.room, more_room, evaluations, SHARPNESS, settings.tolerance, settings.divergence,
            TRIES=tries, RIGID=starts is not None, **_sizes(networks), SPLIT=split, **_launch(tile),
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
            n.last_bias, fused_bones(bone_transforms, n.bones), count, SHARPNESS, **_sizes(n), **_launch(tile),
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


def _arguments(networks: FusedNetworks, bone_transforms: Float[Tensor, "B J 4 4"]) -> tuple[Tensor, ...]:
    n = networks
    bones = fused_bones(bone_transforms, n.bones)
    return n.first, n.offset, n.hidden.high, n.hidden.low, n.biases, n.last.high, n.last.low, n.last_bias, bones


def _sizes(networks: FusedNetworks) -> dict[str, int]:
    n = networks
    return {"WIDTH": n.width, "WARP": n.warp_layers, "SKIN": n.skinning_layers, "BONES": n.bones}


def _launch(tile: Tile) -> dict[str, int]:
    return {"BLOCK": tile.block, "num_warps": tile.warps, "num_stages": tile.stages}


def _blocks(count: int, tile: Tile) -> int:
    return -(-count // tile.block)
