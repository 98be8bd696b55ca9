"""Check the Triton kernels of the correspondence search on a CUDA device against plain torch, then time every piece.

    PYTHONPATH=src python scripts/check_fused_search.py [--quick]

Uses the shipped model. Ends with status 1 if a parity fails. Two minutes, most of it compiling; --quick, which takes
one, leaves out tiles other than the default, settings other than the default and the slow backends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gdna.body.open_body import open_body
from gdna.data.motion import load_motion
from gdna.deform import fused_triton as triton_search
from gdna.deform.blend import in_chunks, skin, skin_with_jacobian
from gdna.deform.engines import GridRoots, TorchEngine
from gdna.deform.fused import TritonEngine, search_fused
from gdna.deform.fused_networks import fused_networks
from gdna.deform.fused_triton import Polished, Tile
from gdna.deform.grid import TransformGrid, WeightGrid, blend_grid
from gdna.deform.packing import gather
from gdna.deform.recorded import RecordedSearch
from gdna.deform.search import FusedSettings, GridSettings, SearchSettings, find_correspondences
from gdna.fields.bound_weights import BoundWeights
from gdna.fields.volume import read_by_kernels, read_plainly
from gdna.generate.loading import load
from gdna.geometry.arithmetic import full_precision
from gdna.model.avatar_model import AvatarModel
from gdna.types import BodyParams, Correspondences, Subject

DEVICE = torch.device("cuda")
CLIPS = ("walk", "run", "jump", "dance_a", "kick", "spin", "dance_b", "punch")
SETTINGS = SearchSettings(backend="fused")
EXACT = replace(SETTINGS, fused=FusedSettings(near=SETTINGS.tolerance))  # so that two engines end at the same points
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
    model = load(None, DEVICE.type).network
    codes = model.codes(index.to(DEVICE) % model.config.num_people)
    with torch.no_grad():
        subject = model.subject(codes, betas[:, : model.config.num_betas].to(DEVICE))
        weights_at = model.weights_at(subject)
        assert isinstance(weights_at, BoundWeights)
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


def exact_grid(s: Scene, plain: TorchEngine, settings: GridSettings) -> TransformGrid:
    """In float32, where `sample_weights` takes bfloat16."""
    axes = [
        torch.linspace(a, b, n, device=DEVICE)
        for a, b, n in zip(settings.low, settings.high, settings.shape[::-1], strict=True)
    ]
    z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
    nodes = torch.stack([x, y, z], -1).reshape(1, -1, 3).expand(len(s.transforms), -1, -1)
    weights = plain.weights_at(nodes).unflatten(1, settings.shape)
    return blend_grid(WeightGrid(weights, settings.low, settings.high), s.transforms, columns=16)


def parity(s: Scene) -> None:
    networks = fused_networks(s.weights_at, len(s.transforms))
    plain, kernels = TorchEngine(in_chunks(s.weights_at)), TritonEngine(networks)
    exact = GridSettings(shape=(8, 32, 32))
    with full_precision():
        grid_half = triton_search.fill(networks, s.transforms, exact)
        grid = triton_search.fill(networks, s.transforms, exact, split=True)
        nodes = torch.rand(len(s.transforms), 4000, 3, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(1))
        low, high = (torch.tensor(corner, device=DEVICE) for corner in (exact.low, exact.high))
        nodes = low + (high - low) * nodes
        wanted = exact_grid(s, plain, exact).read(nodes)
    check("fill in half precision", float((grid_half.read(nodes) - wanted).abs().max()), 2e-2, "m or 1")
    check("fill in split precision", float((grid.read(nodes) - wanted).abs().max()), 1e-4, "m or 1")
    check("fill pads with zeros", float(grid.values[..., 12:].abs().max()), 0.0)

    grid = kernels.fill(s.transforms, SETTINGS.grid)
    starts = kernels.starts(s.transforms)
    with full_precision():
        one, two = (e.search(grid, s.posed, starts, EXACT) for e in (plain, kernels))
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

    copy = GridRoots(two.points.clone(), two.norms.clone(), two.inverse_jacobians.clone())
    with full_precision():
        refined = [e.refine(roots, s.posed, s.transforms, SETTINGS) for e, roots in ((plain, two), (kernels, copy))]
        again = skin(refined[1].points.flatten(1, 2), s.transforms, in_chunks(s.weights_at))
        residual = (again.view_as(two.points) - s.posed[:, :, None]).norm(dim=-1)
    done = [r.norms < SETTINGS.tolerance for r in refined]
    check("polish: residual of what converged, put back", float(residual[done[1]].max()), 2e-5, "m")  # and rounding
    check("polish: entries that converge on one side only", float((done[0] != done[1]).float().mean()), 2e-3)
    apart = (refined[0].points - refined[1].points).norm(dim=-1)[done[0] & done[1]]
    check("polish: converged to another root", float((apart > 1e-3).float().mean()), 2e-3)
    found = find_correspondences(s.posed, s.transforms, s.weights_at, SETTINGS)
    recorded = RecordedSearch(SETTINGS)
    recorded(0.5 * s.posed, s.transforms, s.weights_at)  # other values than those asked for below
    replayed = recorded(s.posed, s.transforms, s.weights_at)
    both = found.converged & replayed.converged
    check("recorded: entries that differ", float((found.converged != replayed.converged).float().mean()), 1e-4)
    apart = (found.points_canonical - replayed.points_canonical).norm(dim=-1)[both]
    check("recorded: farthest root", float(apart.max()), 1e-4, "m")


def slopes_and_volumes(s: Scene) -> None:
    """What a training step asks beside the search: Jacobians at the roots, reads of feature volumes, generator."""
    networks = fused_networks(s.weights_at, len(s.transforms))
    with full_precision():
        plain = skin_with_jacobian(s.truth, s.transforms, s.weights_at)[1]
    found = triton_search.jacobians(s.truth, networks, s.transforms)
    for name, one, two in (("posed", plain.posed, found.posed), ("neutral", plain.neutral, found.neutral)):
        off = (one - two).abs().flatten(2).amax(-1)
        check(f"jacobians, {name}: 99 of 100 entries within", float(off.flatten().quantile(0.99)), 5e-2, "m per m")
    for tile in (triton_search.SLOPES_TILE, Tile(32, 8), Tile(64, 8), Tile(16, 4)):
        say(f"jacobians {tile}", partial(triton_search.jacobians, s.truth, networks, s.transforms, tile))
    half = torch.bfloat16
    say("jacobians by torch", lambda: skin_with_jacobian(s.truth, s.transforms, s.weights_at, half), False)

    generator = torch.Generator(DEVICE).manual_seed(2)
    volume = s.subject.features.to(half).contiguous(memory_format=torch.channels_last_3d)
    points = 2.2 * torch.rand(*s.truth.shape, device=DEVICE, generator=generator) - 1.1
    side = torch.randn(*points.shape[:2], volume.shape[1], device=DEVICE, generator=generator)

    def read(by: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [volume.detach().requires_grad_(), points.detach().requires_grad_()]
            values = by(*leaves)
            return [values, *torch.autograd.grad((values * side).sum(), leaves)]

    for name, one, two in zip(("values", "volume", "points"), read(read_plainly), read(read_by_kernels), strict=True):
        scale = float(one.float().abs().max())
        check(f"volume reads, {name}: relative", float((one.float() - two.float()).abs().max()) / scale, 1e-2)
    say("volume read, forward and backward", lambda: read(read_by_kernels))
    say("volume read by torch, forward and backward", lambda: read(read_plainly))
    codes = s.subject.shape.detach()

    def generate() -> tuple[Tensor, ...]:
        with torch.enable_grad(), torch.autocast("cuda", half):
            features = s.model.generator(codes)
        return torch.autograd.grad(features.float().mean(), list(s.model.generator.parameters()))

    s.model.requires_grad_(True)
    say("generator, forward and backward", generate)


def quality(s: Scene, quick: bool) -> None:
    with torch.no_grad():
        settings = {"reference": SearchSettings(backend="reference"), "fused": SETTINGS}
        if not quick:
            settings["grid"] = SearchSettings(backend="grid")
            for steps in (6, 8, 15):
                settings[f"fused {steps} steps"] = replace(SETTINGS, fused=FusedSettings(steps=steps))
            for turns in ((1, 2, 2, 7), (2, 9), (3, 8), (4, 7), (2, 1, 2, 7)):
                settings[f"fused {turns} evaluations"] = replace(SETTINGS, fused=FusedSettings(evaluations=turns))
            for shape in ((12, 48, 48), (16, 64, 64), (24, 96, 96)):
                settings[f"fused {shape}"] = replace(SETTINGS, grid=GridSettings(shape=shape))
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


def milliseconds(work: Callable[[], object], repeats: int = 11) -> float:
    for _ in range(2):
        work()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        times.append((start, end))
    times[-1][1].synchronize()
    return sorted(start.elapsed_time(end) for start, end in times)[repeats // 2]


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
    networks, fused = fused_networks(s.weights_at, people), SETTINGS.fused
    engine = TritonEngine(networks)
    starts = engine.starts(s.transforms)
    say("networks laid out", lambda: fused_networks(s.weights_at, people))
    say("starts", lambda: engine.starts(s.transforms))
    for tile in tiles(triton_search.FILL_TILE, [Tile(64, 4, 3), Tile(128, 8, 2)], quick):
        say(f"fill {tile}", partial(triton_search.fill, networks, s.transforms, SETTINGS.grid, tile=tile))
    grid = engine.fill(s.transforms, SETTINGS.grid)
    others = [Tile(32, 4), Tile(16, 2), Tile(32, 1), Tile(32, 2), Tile(64, 2), Tile(64, 8), Tile(128, 8)]
    for tile in tiles(triton_search.SEARCH_TILE, others, quick):
        say(f"search {tile}", partial(triton_search.search, grid, s.posed, starts, SETTINGS, tile))
    roots = triton_search.search(grid, s.posed, starts, SETTINGS)
    room = engine.room(fused.room, count)

    def listed() -> tuple[triton_search.Entries, Tensor]:
        return triton_search.candidates(roots[0], roots[1], fused.candidate, fused.merge, room)

    say("keep and list", listed)
    some, norms = listed()
    print(f"     candidates per point {float(some.counts.sum()) / (people * count):.2f}")
    copies = [roots[0].clone(), norms, roots[2].clone()]
    bones = triton_search.split_bones(s.transforms, networks.bones)

    def polished(turns: tuple[int, ...], split: bool, tile: Tile) -> list[Tensor]:
        """From the start: what is polished in place is put back first, about 0.03 ms."""
        for kept, first in zip(copies, (roots[0], norms, roots[2]), strict=True):
            kept.copy_(first)
        entries = Polished(copies[0], copies[1], copies[2], s.posed)
        rest, lists = some, []
        for evaluations in turns:
            rest = triton_search.polish(
                entries, rest, networks, bones, SETTINGS, evaluations, room, split=split, tile=tile
            )
            lists.append(rest.counts)
        return lists

    for tile in tiles(triton_search.POLISH_TILE, [Tile(64, 4, 2), Tile(64, 8, 2)], quick):
        for turns in ((4,), fused.evaluations) if quick else ((2,), (4,), (1, 2, 2, 7), (2, 9), fused.evaluations):
            say(f"polish {turns} {tile}", partial(polished, turns, True, tile))
    say("polish (4,), half precision", lambda: polished((4,), False, triton_search.POLISH_TILE))
    left = [int(n.sum()) / (people * count) for n in polished(fused.evaluations, True, triton_search.POLISH_TILE)]
    print("     left after each turn, per point: " + ", ".join(f"{n:.3f}" for n in left))
    found = tuple(part.clone() for part in roots)
    rooms = room, engine.room(fused.fold_room, count)
    say("beyond folds", lambda: triton_search.search_beyond_folds(grid, s.posed, found, SETTINGS, *rooms))
    say("search with a given grid", lambda: search_fused(s.posed, s.transforms, engine, SETTINGS, grid))
    recorded = RecordedSearch(SETTINGS)
    with torch.no_grad():
        say("whole search", lambda: find_correspondences(s.posed, s.transforms, s.weights_at, SETTINGS))
        say("whole search, recorded", lambda: recorded(s.posed, s.transforms, s.weights_at), False)
        for backend in () if quick else ("grid", "reference"):
            search = replace(SETTINGS, backend=backend)
            say(
                f"whole search, {backend}",
                partial(find_correspondences, s.posed, s.transforms, s.weights_at, search),
                False,
            )


def tiles(default: Tile, others: list[Tile], quick: bool) -> list[Tile]:
    return [default] if quick else [default, *(tile for tile in others if tile != default)]


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
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"     dropped at capacity {capacity}: {int(query.dropped)}; peak {peak:.2f} GiB")
    torch.cuda.set_sync_debug_mode("error")
    say("query without waiting for the device", both, False)
    torch.cuda.set_sync_debug_mode("default")


def main() -> int:
    quick = "--quick" in sys.argv
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    with torch.no_grad():
        small = scene(8, 2000)
        parity(small)
    quality(small, quick)
    with torch.no_grad():
        timings(scene(1, 36000), quick)
        many = scene(16, 2250)
        timings(many, True)
        slopes_and_volumes(many)
    if not quick:
        query_timing(many)
    print("failed: " + ", ".join(failures) if failures else "all parities hold")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
