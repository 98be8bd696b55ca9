"""The correspondence cache: for every yaw view of every scan, where in neutral space each pixel's surface point lies.

All views show one solid, so the rays are turned rather than the person: the search then asks one pose of one subject.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gdna.data.cache_file import PixelCache, cache_path, read_cache, write_cache
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import SAMPLES, from_fixed, read_tensors
from gdna.data.sharding import shard
from gdna.deform.search import SearchSettings
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.model.avatar_model import AvatarModel, PosedQuery
from gdna.model.checkpoint import load_model
from gdna.render.camera import Orthographic
from gdna.render.march import Occupancy, march
from gdna.train.fine import trained_names
from gdna.train.mesh_cache import rasterize_scan

LOGIT_LIMIT = 20.0  # larger ones would stall the secant steps; a point without correspondence has -1000
QUERIES_AT_ONCE = 2**18

Query = Callable[[Tensor], PosedQuery]


@dataclass(frozen=True)
class CacheSettings:
    """The defaults of the march are the original's numbers."""

    method: Literal["mesh", "march"] = "mesh"
    image_size: int = 256
    resolution: int = 256  # of the mesh: cells along its longest side
    steps: int = 128  # samples along a ray
    secant: int = 8
    top: float = 1.0  # rays start here and go along -z, metres
    depth: float = 2.0  # length of a ray, metres
    reach: float = 0.1  # farther than this from body and scan nothing is looked for, metres
    cell: float = 0.025  # of the grid that decides this, metres

    @property
    def spacing(self) -> float:
        """Metres between two samples."""
        return self.depth / (self.steps - 1)


@dataclass(frozen=True)
class NearGrid:
    """Cells (z, y, x) of a box that lie within reach of given points; outside the box nothing does."""

    near: Bool[Tensor, "D H W"]
    low: Float[Tensor, "3"]
    cell: float

    def at(self, points: Float[Tensor, "*n 3"]) -> Bool[Tensor, " *n"]:
        size = torch.tensor(self.near.shape[::-1], device=points.device)
        index = ((points - self.low) / self.cell).floor().long()
        within = ((index >= 0) & (index < size)).all(-1)
        x, y, z = torch.minimum(index.clamp_min(0), size - 1).unbind(-1)
        return self.near[z, y, x] & within


@dataclass(frozen=True)
class Rays:
    """Only those that pass near the person, each cut to where it does."""

    pixel: Int[Tensor, " R"]  # index into views x rows x columns
    origins: Float[Tensor, "R 3"]  # the last sample before the first near one
    directions: Float[Tensor, "R 3"]  # unit
    steps: int  # samples from the origin on that reach the last near one of every ray


def build_cache(
    model_path: Path | str,
    data_dir: Path | str,
    cache_dir: Path | str,
    settings: CacheSettings | None = None,
    *,
    agent_tot: int = 1,
    agent_id: int = 0,
    device: torch.device | str = "auto",
    search: SearchSettings | None = None,
) -> Path:
    """Write the cache of the scans that a coarse model was trained on and return its folder.

    A scan's file that is newer than the model is kept, so that an interrupted run goes on. `agent_id` of `agent_tot`
    processes takes its share of the scans. Raises `GdnaError` where model or scans are missing.
    """
    settings = settings or CacheSettings()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(model_path, device).requires_grad_(False).eval()
    names = trained_names(model_path, model)
    mine = shard(range(len(names)), agent_tot, agent_id)
    data = PreparedSet.open(data_dir, names, device, "body")
    waiting = 0.5 if sys.stderr.isatty() else 30.0
    for index in tqdm(mine, desc="correspondences", unit=" scans", mininterval=waiting, dynamic_ncols=True):
        path = cache_path(cache_dir, names[index])
        if not is_current(path, Path(model_path), (data.num_views, settings.image_size, settings.image_size)):
            if settings.method == "mesh":
                found = rasterize_scan(model, data, index, settings.image_size, settings.resolution)
            else:
                found = trace_scan(model, data, index, settings, search)
            write_cache(path, *found)
    return Path(cache_dir)


@torch.no_grad()
def trace_scan(
    model: AvatarModel,
    data: PreparedSet,
    index: int,
    settings: CacheSettings,
    search: SearchSettings | None = None,
) -> tuple[Float[Tensor, "V H W 3"], Bool[Tensor, "V H W"]]:
    """Neutral surface points of all pixels of all views of one scan (zero where nothing is hit), and the hits, by
    marching rays through the posed occupancy."""
    near = near_grid(solid_points(data, index), settings.reach, settings.cell)
    query = _query(model, data, index, search or model.search_settings())
    rays = cut_rays(near, data.num_views, settings)
    length = (rays.steps - 1) * settings.spacing
    depth, hit = march(_occupancy(query, near), rays.origins, rays.directions, rays.steps, settings.secant, 0.0, length)
    surface = (rays.origins + depth[:, None] * rays.directions)[hit]
    shape = (data.num_views, settings.image_size, settings.image_size)
    points_neutral = torch.zeros(math.prod(shape), 3, device=surface.device)
    mask = torch.zeros(math.prod(shape), dtype=torch.bool, device=surface.device)
    for part, pixel in zip(surface.split(QUERIES_AT_ONCE), rays.pixel[hit].split(QUERIES_AT_ONCE), strict=True):
        if len(part):
            answer = query(part)
            mask[pixel] = answer.found[0]
            points_neutral[pixel] = answer.points_neutral[0]
    return points_neutral.view(*shape, 3), mask.view(shape)


def _query(model: AvatarModel, data: PreparedSet, index: int, search: SearchSettings) -> Query:
    """The model as a function of posed points (N, 3) of one scan; its blended transforms are put on a grid once."""
    subject = model.subject(model.codes(data.person[index, None], data.number(index)), data.betas[index, None])
    transforms = data.bone_transforms[index, None]
    grid = model.transform_grid(subject, transforms, search)
    return lambda points: model.occupancy_posed(points[None], transforms, subject, search, grid)


def _occupancy(query: Query, near: NearGrid) -> Occupancy:
    """Logits, asked of the model only near the person."""

    def occupancy(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        logits = points.new_full(points.shape[:1], -LOGIT_LIMIT)
        asked = near.at(points)
        if asked.any():
            logits[asked] = query(points[asked]).logits[0].clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return logits

    return occupancy


def cut_rays(near: NearGrid, num_views: int, settings: CacheSettings) -> Rays:
    """The pixels' rays of all views, turned back into the frame of the unturned person, where they pass near it."""
    device = near.low.device
    across = Orthographic(image_size=settings.image_size).pixel_positions(device).flatten(0, 1)
    samples = settings.spacing * torch.arange(settings.steps, device=device)
    pixels, origins, directions, steps = [], [], [], 2
    for view in range(num_views):
        turn = axis_angle_to_matrix(torch.tensor([0.0, 2 * math.pi * view / num_views, 0.0])).to(device)
        start = torch.cat([across, across.new_full((len(across), 1), settings.top)], 1) @ turn
        direction = torch.tensor([0.0, 0.0, -1.0], device=device) @ turn
        passes = near.at(start[:, None] + samples[:, None] * direction)
        ray = passes.any(1).nonzero()[:, 0]
        if len(ray) == 0:
            continue
        first = passes[ray].int().argmax(1)
        last = settings.steps - 1 - passes[ray].flip(1).int().argmax(1)
        before = (first - 1).clamp_min(0)
        steps = max(steps, int((last - before).max()) + 1)
        pixels.append(ray + view * len(across))
        origins.append(start[ray] + samples[before, None] * direction)
        directions.append(direction.expand(len(ray), -1))
    if not pixels:
        raise GdnaError("no ray passes near the person: its posed body lies outside the pictures, 2 m around the root")
    return Rays(torch.cat(pixels), torch.cat(origins), torch.cat(directions), steps)


def near_grid(points: Float[Tensor, "N 3"], reach: float, cell: float) -> NearGrid:
    """Cells whose centre lies within reach of the centre of a cell with a point in it: `reach`, give or take a cell."""
    around = math.ceil(reach / cell)
    low = points.min(0).values - (around + 0.5) * cell
    index = ((points - low) / cell).floor().long()
    size = (index.max(0).values + around + 1).tolist()
    filled = torch.zeros(size[::-1], device=points.device)
    filled[index[:, 2], index[:, 1], index[:, 0]] = 1
    steps = torch.arange(-around, around + 1, device=points.device) * cell
    squared = steps.square()
    ball = (squared[:, None, None] + squared[:, None] + squared <= reach**2 + 1e-9).float()
    near = F.conv3d(filled[None, None], ball[None, None], padding=around)[0, 0] > 0.5
    return NearGrid(near, low, cell)


def solid_points(data: PreparedSet, index: int) -> Float[Tensor, "N 3"]:
    """Where the person is: the body's posed skin vertices and points of the scan's surface."""
    tensors = read_tensors(data.folder / data.names[index] / SAMPLES, ("surface_points",))
    skin = data.vertices_posed[index]
    return torch.cat([skin, from_fixed(tensors["surface_points"]).to(skin)])


def is_current(
    path: Path, model_path: Path, shape: tuple[int, int, int], read: Callable[[Path], PixelCache] = read_cache
) -> bool:
    """Whether what `read` finds in the file was written after the model, whole and of this size."""
    if not path.is_file() or path.stat().st_mtime < model_path.stat().st_mtime:
        return False
    try:
        return tuple(read(path).mask.shape) == shape
    except GdnaError:
        return False
