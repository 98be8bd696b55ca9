"""Launching the Triton kernels. Nothing here waits for the device, so all of it can be captured in a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform import triton_kernels as kernels
from gdna.deform.fused_networks import FusedNetworks, fused_bones
from gdna.deform.grid import TransformGrid
from gdna.deform.settings import GridSettings, SearchSettings
from gdna.fields.mlp import SHARPNESS


@dataclass(frozen=True)
class Tile:
    """How a kernel's work is cut: `block` rows for `warps` warps, loads running `stages` ahead."""

    block: int
    warps: int
    stages: int = 2


FILL_TILE = Tile(64, 4)
SEARCH_TILE = Tile(64, 4)
KEEP_TILE = Tile(256, 4)
POLISH_TILE = Tile(64, 4)


def fill(
    networks: FusedNetworks,
    bone_transforms: Float[Tensor, "B J 4 4"],
    settings: GridSettings,
    split: bool = False,
    tile: Tile = FILL_TILE,
) -> TransformGrid:
    """Blended transforms at every node; with `split`, as exact as float32."""
    (depth, height, width), batch = settings.shape, len(bone_transforms)
    nodes = depth * height * width
    values = bone_transforms.new_empty(batch, *settings.shape, 16)
    steps = [(h - lo) / (n - 1) for lo, h, n in zip(settings.low, settings.high, (width, height, depth), strict=True)]
    with _on(values):
        kernels.fill_kernel[(_blocks(nodes, tile), batch)](
            values, *_arguments(networks, bone_transforms), nodes, SHARPNESS, *settings.low, *steps,
            H=height, W=width, **_sizes(networks), SPLIT=split, **_launch(tile),
        )  # fmt: skip
    return TransformGrid(values, settings.low, settings.high)


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
    depth, height, width = grid.values.shape[1:4]
    scale = grid.nodes_per_metre()
    points = points_posed.new_empty(batch, count, tries, 3)
    norms = points_posed.new_empty(batch, count, tries)
    inverses = points_posed.new_empty(batch, count, tries, 9)
    with _on(points):
        kernels.search_kernel[(_blocks(count * tries, tile), batch)](
            grid.values, points_posed.contiguous(), starts, points, norms, inverses, count * tries,
            depth * height * width, settings.fused.steps, settings.tolerance, settings.divergence, *grid.low, *scale,
            TRIES=tries, D=depth, H=height, W=width, **_launch(tile),
        )  # fmt: skip
    return points, norms, inverses


def keep(
    points: Float[Tensor, "B N I 3"], norms: Float[Tensor, "B N I"], limit: float, distance: float
) -> Bool[Tensor, "B N I"]:
    """Starts with a residual below `limit` (metres) but for those within `distance` of an earlier such start."""
    kept = torch.empty(norms.shape, dtype=torch.int8, device=norms.device)
    with _on(kept):
        kernels.keep_kernel[(_blocks(norms.numel(), KEEP_TILE),)](
            points.contiguous(), norms.contiguous(), kept, norms.numel(), limit, distance,
            TRIES=norms.shape[2], **_launch(KEEP_TILE),
        )  # fmt: skip
    return kept.bool()


def polish(
    points: Float[Tensor, "B M 3"],
    targets: Float[Tensor, "B M 3"],
    inverse_jacobians: Float[Tensor, "B M 9"],
    counts: Int[Tensor, " B"],
    networks: FusedNetworks,
    bone_transforms: Float[Tensor, "B J 4 4"],
    settings: SearchSettings,
    evaluations: int,
    split: bool = True,
    tile: Tile = POLISH_TILE,
) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M"], Float[Tensor, "B M 9"]]:
    """Broyden's method on the networks for the first counts[b] columns: best iterates, their residuals' norms, inverse
    Jacobians. With `split` the networks are as exact as float32, without they are in half precision."""
    batch, columns = points.shape[:2]
    found, norms = torch.empty_like(points), points.new_empty(batch, columns)
    inverses = inverse_jacobians.clone(memory_format=torch.contiguous_format)
    with _on(points):
        kernels.polish_kernel[(_blocks(columns, tile), batch)](
            points.contiguous(), targets.contiguous(), inverses, counts, found, norms,
            *_arguments(networks, bone_transforms), columns, evaluations, SHARPNESS,
            settings.tolerance, settings.divergence,
            **_sizes(networks), SPLIT=split, **_launch(tile),
        )  # fmt: skip
    return found, norms, inverses


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


@contextmanager
def _on(tensor: Tensor) -> Iterator[None]:
    """Launch on the tensor's own GPU; on a CPU (the kernel language's interpreter) there is nothing to choose."""
    if not tensor.is_cuda:
        yield
        return
    with torch.cuda.device(tensor.device):
        yield
