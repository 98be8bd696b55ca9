"""Stacks of prepared scans on one device: one tensor per quantity, scans first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int16, UInt8
from torch import Tensor

from gdna.data.cache_file import PixelCache, cache_path, read_cache
from gdna.data.sample_file import normal_map_path, read_settings, read_tensors
from gdna.errors import GdnaError

# shares of views whose hits fit: a quarter of all batches of eight, half of them, three quarters, all
ROOMS = (0.84, 0.92, 0.965, 1.0)


@dataclass(frozen=True)
class CoarseStack:
    points: Int16[Tensor, "n P 3"]
    occupancy: Bool[Tensor, "n P"]


@dataclass(frozen=True)
class FineStack:
    surface_points: Int16[Tensor, "n K 3"]
    surface_normals: Int16[Tensor, "n K 3"]
    images: UInt8[Tensor, "n V H W 3"]


@dataclass(frozen=True)
class CacheStack:
    """Hits of all scans and views one after the other; `start` is where those of a scan's view begin."""

    points: Float[Tensor, "K 3"]
    mask: Bool[Tensor, "n V P"]
    start: Int[Tensor, "n V"]
    counts: Int[Tensor, "n V"]  # hits of a view; on the CPU
    rooms: tuple[int, ...]  # numbers of hits, rising, the last of which is enough for all

    def room(self, indices: Int[Tensor, " B"], views: Int[Tensor, " B"]) -> int:
        """The smallest that holds the hits of each of these views (on the CPU)."""
        needed = int(self.counts[indices, views].max())
        return next(room for room in self.rooms if room >= needed)


def common_settings(paths: list[Path]) -> tuple[int, int]:
    first = read_settings(paths[0]) if paths else None
    for path in paths:
        settings = read_settings(path)
        if settings is None:
            raise GdnaError(f"{path}: missing or not a prepared scan; prepare the scan (again)")
        if settings != first:
            raise GdnaError(f"{path}: prepared with {settings}, others with {first}; prepare all scans alike")
    if first is None:
        raise GdnaError("no scans were named; name at least one")
    return first["views"], first["image_size"]


def stack(paths: list[Path], fields: Sequence[str], device: torch.device | str) -> dict[str, Tensor]:
    """Fill one tensor per field scan by scan, so that no second copy of the set is ever in memory."""
    stacks: dict[str, Tensor] = {}
    for i, path in enumerate(paths):
        for name, tensor in read_tensors(path, fields).items():
            if name not in stacks:
                stacks[name] = torch.empty((len(paths), *tensor.shape), dtype=tensor.dtype, device=device)
            if stacks[name].shape[1:] != tensor.shape:
                raise GdnaError(
                    f"{path}: {name} has shape {tuple(tensor.shape)}, in {paths[0].parent.name} it has "
                    f"{tuple(stacks[name].shape[1:])}; prepare all scans with one body model and the same settings"
                )
            stacks[name][i] = tensor
    return stacks


def open_coarse(paths: list[Path], device: torch.device | str) -> CoarseStack:
    stacks = stack(paths, ("occupancy_points", "occupancy"), device)
    return CoarseStack(stacks["occupancy_points"], stacks["occupancy"])


def open_fine(paths: list[Path], num_views: int, image_size: int, device: torch.device | str) -> FineStack:
    stacks = stack(paths, ("surface_points", "surface_normals"), device)
    images = torch.empty((len(paths), num_views, image_size, image_size, 3), dtype=torch.uint8, device=device)
    with ThreadPoolExecutor() as pool:  # decoding lets other threads run
        for i, views in enumerate(pool.map(partial(_views, num_views=num_views, image_size=image_size), paths)):
            images[i] = torch.from_numpy(views)
    return FineStack(stacks["surface_points"], stacks["surface_normals"], images)


def _views(path: Path, num_views: int, image_size: int) -> UInt8[np.ndarray, "V H W 3"]:
    from PIL import Image

    images = []
    for view in range(num_views):
        file = normal_map_path(path.parent, view, image_size)
        try:
            images.append(np.array(Image.open(file).convert("RGB")))
        except OSError as error:
            raise GdnaError(f"{file}: cannot be read ({error}); prepare the scan again") from error
    return np.stack(images)


def open_cache(folder: Path, names: Sequence[str], num_views: int, device: torch.device | str) -> CacheStack:
    paths = [cache_path(folder, name) for name in names]
    return stack_pixels([read_cache(path) for path in paths], paths, num_views, device)


def stack_pixels(
    caches: Sequence[PixelCache], paths: Sequence[Path], num_views: int, device: torch.device | str
) -> CacheStack:
    """Of what was read from `paths`. Raises `GdnaError` where they differ in size."""
    for path, cache in zip(paths, caches, strict=True):
        if cache.mask.shape != caches[0].mask.shape or len(cache.mask) != num_views:
            raise GdnaError(
                f"{path}: views of shape {tuple(cache.mask.shape)}, expected {num_views} views of "
                f"{tuple(caches[0].mask.shape[1:])}; compute the cache again"
            )
    mask = torch.stack([c.mask.flatten(1) for c in caches])
    counts = mask.sum(-1).flatten()
    start = (counts.cumsum(0) - counts).view(mask.shape[:2])
    points = torch.cat([c.points_neutral for c in caches])
    counts = counts.view(mask.shape[:2])
    rooms = sorted({math.ceil(q) for q in counts.float().flatten().quantile(torch.tensor(ROOMS)).tolist()})
    return CacheStack(points.to(device), mask.to(device), start.to(device), counts, tuple(rooms))


def pixels(
    cache: CacheStack, indices: Int[Tensor, " B"], views: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "B P 3"], Bool[Tensor, "B P"]]:
    mask = cache.mask[indices, views]
    rows = cache.start[indices, views][:, None] + mask.cumsum(1, dtype=torch.int32) - 1
    points = cache.points[rows.clamp(0, max(len(cache.points) - 1, 0))]
    return points * mask[..., None], mask
