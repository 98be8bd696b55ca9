"""The correspondence search by itself, and in the cache that asks it most."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.bench.floors import Work, of_point
from gdna.bench.row import Row
from gdna.bench.scene import Scene
from gdna.bench.timing import Task, seconds_of, task
from gdna.deform.blend import skin
from gdna.deform.recorded import RecordedSearch
from gdna.deform.search import SearchSettings, find_correspondences
from gdna.train.cache import CacheSettings, trace_scan
from gdna.train.mesh_cache import rasterize_scan
from gdna.types import Correspondences

NEAR = 2e-3  # metres from the true correspondence
THINNED = 16  # the estimate's share of the work


def search(scene: Scene) -> Row:
    """Points of one subject, its grid included, without gradient; how many of the true correspondences are found."""
    network, count = scene.network, scene.sizes.search_points
    params = scene.params[:1]
    transforms = scene.body(params).bone_transforms.to(scene.device)
    with torch.no_grad():
        subject = network.subject(network.codes(torch.zeros(1, dtype=torch.long, device=scene.device)),
                                  params.betas.to(scene.device))  # fmt: skip
        weights_at = network.weights_at(subject)
        truth = scene.near_body(0, count)[None]
        posed = skin(truth, transforms, weights_at)
    recorded = RecordedSearch(replace(network.search_settings("auto"), max_steps=scene.sizes.search_steps))

    def call(backend: str, thinned: int = 1) -> Correspondences:
        settings = replace(network.search_settings(backend), max_steps=scene.sizes.search_steps)
        with torch.no_grad():
            return find_correspondences(posed[:, ::thinned], transforms, weights_at, settings)

    def estimate() -> float:
        return THINNED * seconds_of(lambda: call("reference", THINNED), scene.device)

    def extras() -> dict[str, float]:
        # the reference on fewer points where all would take too long on a CPU
        thinned = 1 if scene.device.type == "cuda" else THINNED
        return {
            "recall": recall(recorded(posed, transforms, weights_at), truth),
            "reference_recall": recall(call("reference", thinned), truth[:, ::thinned]),
        }

    nodes = 1.0
    for side in SearchSettings().grid.shape:
        nodes *= side
    floor = Work(
        nodes * of_point(network.warp, network.skinning),
        nodes * 12 * 4 + posed.nbytes * (1 + len(network.config.deformer.init_bones)),
        "warp and skinning at the nodes of the grid; blended grid, points and roots moved once",
    )
    return Row(
        task(lambda: recorded(posed, transforms, weights_at)), task(lambda: call("reference"), estimate), floor, extras
    )


def recall(found: Correspondences, truth: Float[Tensor, "1 N 3"]) -> float:
    """Share of points one of whose roots is the point they came from."""
    near = (found.points_canonical - truth[:, :, None]).norm(dim=-1) < NEAR
    return float((near & found.converged).any(-1).float().mean())


def cache_view(scene: Scene) -> Row:
    """One picture's neutral points: ours by a scan's share of all its views, drawn from one mesh; the reference by
    marching rays through the posed occupancy."""
    data, network, views = scene.prepared(1, "body"), scene.network, scene.sizes.views
    settings = CacheSettings(
        image_size=scene.sizes.image_size, resolution=scene.sizes.animated, steps=scene.sizes.ray_steps
    )
    turned = replace(data, num_views=views)

    def ours() -> object:
        return rasterize_scan(network, turned, 0, settings.image_size, settings.resolution)

    def march(settings: CacheSettings) -> object:
        return trace_scan(network, data, 0, settings, network.search_settings("reference"))

    def estimate() -> float:
        small = replace(settings, image_size=max(settings.image_size // 8, 8))
        return (settings.image_size / small.image_size) ** 2 * seconds_of(lambda: march(small), scene.device)

    hits = 0.15 * settings.image_size**2
    floor = Work(
        hits * (1 + settings.secant) * of_point(network.warp, network.skinning, network.occupancy),
        hits * (1 + settings.secant) * 2 * 12,
        "fields at one root for each secant step of the pixels that hit (15 % of the picture)",
    )
    return Row(
        Task(((1 / views, ours),)), task(lambda: march(settings), estimate), floor, note=f"1/{views} of a scan's views"
    )
