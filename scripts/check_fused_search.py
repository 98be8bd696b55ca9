"""Check the Triton kernels of the correspondence search on a CUDA device against plain torch, then time every piece.

    PYTHONPATH=src python scripts/check_fused_search.py [--quick]

Uses the shipped model. Ends with status 1 if a parity fails. Two minutes, most of it compiling; --quick times the
default tiles only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gdna.body.open_body import open_body
from gdna.data.motion import load_motion
from gdna.deform import fused_triton as triton_search
from gdna.deform.blend import in_chunks, skin
from gdna.deform.fused import Candidates, TorchEngine, TritonEngine, inverse_rows, search_fused
from gdna.deform.fused_networks import fused_networks
from gdna.deform.fused_triton import Tile
from gdna.deform.packing import gather, pack
from gdna.deform.search import FusedSettings, GridSettings, SearchSettings, find_correspondences, full_precision
from gdna.fields.bound_weights import BoundWeights
from gdna.generate.loading import load
from gdna.model.avatar_model import AvatarModel
from gdna.types import BodyParams, Correspondences, Subject

DEVICE = torch.device("cuda")
CLIPS = ("walk", "run", "jump", "dance_a", "kick", "spin", "dance_b", "punch")
SETTINGS = SearchSettings(backend="fused")
BONES = tuple(range(24))
failures: list[str] = []


@dataclass(frozen=True)
class Scene:
    """People of the shipped model in poses of the shipped clips, and points around their skin (1 cm)."""

    model: AvatarModel
    subject: Subject
    weights_at: BoundWeights
    transforms: Tensor
    truth: Tensor  # canonical
    posed: Tensor


def scene(people: int, points: int) -> Scene:
    generator = torch.Generator().manual_seed(0)
    loaded, body = load(None, "cpu"), open_body()
    rotations = []
    for person in range(people):
        clip = load_motion(CLIPS[person % len(CLIPS)]).joint_rotations
        rotations.append(clip[int(torch.randint(len(clip), (1,), generator=generator))])
    index = torch.arange(people) % loaded.num_people
    betas = loaded.betas[index]
    posed = body(BodyParams(betas, torch.stack(rotations).float(), torch.zeros(people, 3)))
    skin_vertices = body.faces.unique()
    pick = skin_vertices[torch.randint(len(skin_vertices), (people, points), generator=generator)]
    truth = gather(posed.vertices_canonical, pick) + 0.01 * torch.randn(people, points, 3, generator=generator)
    model = load(None, "cuda").network
    codes = model.codes(index.to(DEVICE) % model.config.num_people)
    with torch.no_grad():
        subject = model.subject(codes, betas[:, : model.config.num_betas].to(DEVICE))
        weights_at = model.weights_at(subject)
        transforms, truth = posed.bone_transforms.to(DEVICE), truth.to(DEVICE)
        with full_precision():
            target = skin(truth, transforms, in_chunks(weights_at))
    return Scene(model, subject, weights_at, transforms, truth, target)


def check(name: str, value: float, limit: float, unit: str = "") -> None:
    fine = value <= limit
    if not fine:
        failures.append(name)
    print(f"{'ok  ' if fine else 'FAIL'} {name}: {value:.3g} (limit {limit:.3g}) {unit}", flush=True)


def recall(s: Scene, found: Correspondences) -> float:
    near = (found.points_canonical - s.truth[:, :, None]).norm(dim=-1) < 2e-3
    return float((near & found.converged).any(-1).float().mean())


def parity(s: Scene) -> None:
    networks = fused_networks(s.weights_at, len(s.transforms))
    plain, kernels = TorchEngine(in_chunks(s.weights_at)), TritonEngine(networks)
    nodes = s.truth[:, :4096]
    exact = GridSettings(shape=(8, 32, 32))
    autocast_free = TorchEngine(lambda x: in_chunks(s.weights_at)(x))
    with full_precision():
        grid_half = triton_search.fill(networks, s.transforms, exact)
        grid = triton_search.fill(networks, s.transforms, exact, split=True)
        axes = [
            torch.linspace(a, b, n, device=DEVICE) for a, b, n in zip(exact.low, exact.high, (32, 32, 8), strict=True)
        ]
        z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
        nodes = torch.stack([x, y, z], -1).reshape(1, -1, 3).expand(len(s.transforms), -1, -1)
        weights = autocast_free.weights_at(nodes)
        wanted = (weights @ s.transforms[:, :, :3].flatten(2)).view(*grid.values.shape[:4], 12)
    check("fill in half precision", float((grid_half.values[..., :12] - wanted).abs().max()), 2e-2, "m or 1")
    check("fill in split precision", float((grid.values[..., :12] - wanted).abs().max()), 1e-4, "m or 1")
    check("fill pads with zeros", float(grid.values[..., 12:].abs().max()), 0.0)

    grid = kernels.fill(s.transforms, SETTINGS.grid)
    starts = inverse_rows(s.transforms, BONES)
    with full_precision():
        one, two = (e.search(grid, s.posed, starts, SETTINGS) for e in (plain, kernels))
    both = (one.norms < 1e-5) & (two.norms < 1e-5)
    check(
        "search: starts that converge on one side only",
        float(((one.norms < 1e-5) != (two.norms < 1e-5)).float().mean()),
        2e-3,
    )
    apart = (one.points - two.points).norm(dim=-1)[both]
    check("search: median distance of converged", float(apart.median()), 1e-5, "m")
    check("search: converged to another root", float((apart > 1e-3).float().mean()), 2e-3)
    kept = [e.keep(two.points, two.norms, 0.01, 1e-3) for e in (plain, kernels)]
    check("keep: entries that differ", float((kept[0] != kept[1]).float().mean()), 1e-5)

    packed = pack(two.points.flatten(1, 2), kept[1].flatten(1))
    c = Candidates(
        packed.values,
        gather(s.posed, packed.index // len(BONES)),
        gather(two.inverse_jacobians.flatten(1, 2), packed.index),
        packed.mask.sum(1),
    )
    with full_precision():
        one_p, two_p = (e.polish(c, s.transforms, SETTINGS, 6) for e in (plain, kernels))
        residual = (skin(two_p[0], s.transforms, in_chunks(s.weights_at)) - c.targets).norm(dim=-1)
    done = (two_p[1] < 1e-5) & packed.mask
    check("polish: residual of what converged, put back", float(residual[done].max()), 1.5e-5, "m")
    check("polish: converged less than torch by", float((one_p[1] < 1e-5).float().mean() - done.float().mean()), 2e-3)


def quality(s: Scene) -> None:
    with torch.no_grad():
        settings = {"reference": SearchSettings(backend="reference"), "grid": SearchSettings(backend="grid")}
        settings["fused"] = SETTINGS
        settings["fused 10 steps"] = replace(SETTINGS, fused=FusedSettings(steps=10))
        settings["fused 5 + 10 evaluations"] = replace(
            SETTINGS, fused=FusedSettings(evaluations=5, more_evaluations=10)
        )
        settings["fused 24x96x96"] = replace(SETTINGS, grid=GridSettings(shape=(24, 96, 96)))
        for name, search in settings.items():
            found = find_correspondences(s.posed, s.transforms, s.weights_at, search)
            none = float((~found.converged.any(-1)).float().mean())
            roots = float(found.converged.sum(-1).float().mean())
            dropped = 0 if found.dropped is None else int(found.dropped)
            print(
                f"     {name}: recall {recall(s, found):.4f}, roots {roots:.3f}, none {none:.4f}, dropped {dropped}",
                flush=True,
            )
        answers = [
            s.model.occupancy_posed(s.posed, s.transforms, s.subject, settings[name]).logits > 0
            for name in ("reference", "fused")
        ]
        union = float((answers[0] | answers[1]).sum())
        print(f"     occupancy, fused against reference: IoU {float((answers[0] & answers[1]).sum()) / union:.5f}")


def milliseconds(work: Callable[[], object], repeats: int = 20) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def captured(work: Callable[[], object]) -> Callable[[], object]:
    """`work` as a CUDA graph; fails where it waits for the device."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def say(name: str, work: Callable[[], object], graph: bool = True) -> None:
    try:
        line = f"     {name}: {milliseconds(work):.3f} ms"
        if graph:
            line += f", as a graph {milliseconds(captured(work)):.3f} ms"
    except Exception as error:
        line = f"FAIL {name}: {type(error).__name__}: {str(error)[:400]}"
        failures.append(name)
    print(line, flush=True)


def timings(s: Scene, quick: bool) -> None:
    people, count = s.posed.shape[:2]
    print(f"{people} people, {count} points each")
    networks = fused_networks(s.weights_at, people)
    starts = inverse_rows(s.transforms, BONES)
    grid = triton_search.fill(networks, s.transforms, SETTINGS.grid)
    say("networks laid out", lambda: fused_networks(s.weights_at, people))
    default, others = triton_search.FILL_TILE, [Tile(64, 4, 3), Tile(128, 8, 2), Tile(64, 4, 1)]
    for tile in [default, *([] if quick else others)]:
        say(f"fill {tile}", lambda t=tile: triton_search.fill(networks, s.transforms, SETTINGS.grid, tile=t))
    default, others = triton_search.SEARCH_TILE, [Tile(32, 4), Tile(32, 2), Tile(128, 8)]
    for tile in [default, *([] if quick else others)]:
        say(f"search 24 starts {tile}", lambda t=tile: triton_search.search(grid, s.posed, starts, SETTINGS, t))
    points, norms, inverses = triton_search.search(grid, s.posed, starts, SETTINGS)
    say("keep", lambda: triton_search.keep(points, norms, 0.01, 1e-3))
    kept = triton_search.keep(points, norms, 0.01, 1e-3).flatten(1)
    room = 3 * count + 64
    say("pack", lambda: pack(points.flatten(1, 2), kept, room))
    packed = pack(points.flatten(1, 2), kept, room)
    targets, inverse = gather(s.posed, packed.index // 24), gather(inverses.flatten(1, 2), packed.index)
    counts = packed.mask.sum(1)
    print(f"     candidates per point {float(counts.sum()) / (people * count):.2f}")
    default, others = triton_search.POLISH_TILE, [Tile(64, 4, 1), Tile(128, 8, 2)]
    for tile in [default, *([] if quick else others)]:
        for split in (True, False) if tile == default else (True,):
            say(
                f"polish, 4 evaluations, split={split} {tile}",
                lambda t=tile, p=split: triton_search.polish(
                    packed.values, targets, inverse, counts, networks, s.transforms, SETTINGS, 4, p, t
                ),
            )
    engine = TritonEngine(networks)
    say("search with a given grid", lambda: search_fused(s.posed, s.transforms, engine, SETTINGS, grid))
    with torch.no_grad():
        say("whole search", lambda: find_correspondences(s.posed, s.transforms, s.weights_at, SETTINGS))
        for backend in ("grid", "reference"):
            search = replace(SETTINGS, backend=backend)
            say(
                f"whole search, {backend}",
                lambda x=search: find_correspondences(s.posed, s.transforms, s.weights_at, x),
                False,
            )


def query_timing(s: Scene) -> None:
    """The query of a coarse step, forward and backward, generator left out."""
    s.model.requires_grad_(True)
    torch.cuda.reset_peak_memory_stats()
    features = s.subject.features.detach().requires_grad_()
    subject = replace(s.subject, features=features)
    parameters = [p for n, p in s.model.named_parameters() if n.startswith(("occupancy.", "warp.", "skinning."))]
    capacity = int(1.25 * s.posed.shape[1])

    def forward() -> Tensor:
        query = s.model.occupancy_posed(s.posed, s.transforms, subject, SETTINGS, capacity=capacity)
        return torch.where(query.found, query.logits, 0.0).mean()

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(), [features, *parameters])

    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        say(f"query forward, {precision}", forward)
        say(f"query forward and backward, {precision}", both)
    torch.set_float32_matmul_precision("highest")
    query = s.model.occupancy_posed(s.posed, s.transforms, subject, SETTINGS, capacity=capacity)
    print(
        f"     dropped at capacity {capacity}: {int(query.dropped)}; peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
    )
    torch.cuda.set_sync_debug_mode("error")
    both()
    torch.cuda.set_sync_debug_mode("default")


def main() -> int:
    quick = "--quick" in sys.argv
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    with torch.no_grad():
        small = scene(8, 2000)
        parity(small)
    quality(small)
    with torch.no_grad():
        timings(scene(1, 36000), True)
        many = scene(16, 2250)
        timings(many, quick)
    query_timing(many)
    print("failed: " + ", ".join(failures) if failures else "all parities hold")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
