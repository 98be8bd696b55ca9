"""One step of either stage, as training takes it, against the same step in plain arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor

from gdna.bench.floors import TRAINING, Work, of_critic, of_generator, of_point, size_of
from gdna.bench.row import Row
from gdna.bench.scene import Scene
from gdna.bench.timing import Task, seconds_of, task
from gdna.data.batches import CoarseBatch, FineBatch
from gdna.data.sample_file import body_on
from gdna.geometry.arithmetic import matmul_precision
from gdna.geometry.mesh import vertex_normals
from gdna.model.avatar_model import AvatarModel
from gdna.render.camera import Orthographic
from gdna.render.rasterize import rasterize
from gdna.train.coarse import CoarseLearner, Room
from gdna.train.coarse_inputs import CoarseInputs, NeutralBody
from gdna.train.critic import Critic
from gdna.train.empty_space import EmptySpace
from gdna.train.fine import CRITIC_BETAS, FINE_STEPS, FineLearner, Players, refinable
from gdna.train.fine_losses import FineInputs
from gdna.train.loading import to_device
from gdna.train.settings import LossSettings
from gdna.train.stepping import adam
from gdna.train.surface import SurfaceBatch
from gdna.types import Subject

Batch = TypeVar("Batch", FineBatch, SurfaceBatch)
GRADIENT_NORM = 0.1
THINNED = 8  # the estimate's share of the points
WEIGHTS = LossSettings()


def coarse_step(scene: Scene) -> Row:
    """Losses, gradients and Adam for `people` scans, from their points to the updated weights."""
    data = scene.prepared(scene.sizes.people, "coarse")
    body = NeutralBody.of(to_device(data.body, scene.device))
    people, generator = torch.arange(len(data)), torch.Generator().manual_seed(0)
    host_body, empty = body_on(data.body, "cpu"), EmptySpace.of(data)
    drawn = CoarseInputs.draw(data, people, host_body, scene.sizes.points, generator, empty)
    inputs = to_device(drawn, scene.device)

    def learner(backend: str, room: Room, half: bool) -> CoarseLearner:
        model = scene.trainable(scene.sizes.search_steps, backend)
        optimizer = adam([p for p in model.parameters() if p.requires_grad], 1e-4)
        autocast = _fabric(scene.device, half).autocast
        return CoarseLearner(model, optimizer, body, WEIGHTS, GRADIENT_NORM, room, autocast)

    def call(step: Callable[[CoarseInputs], object], inputs: CoarseInputs, precision: str) -> Callable[[], object]:
        def once() -> None:
            with matmul_precision(precision):
                step(inputs)

        return once

    points = inputs.batch.points_posed.shape[1]
    few = replace(inputs, batch=replace(inputs.batch, **_thinned(inputs.batch, points // THINNED)))
    on_gpu = scene.device.type == "cuda"
    ours = learner("auto", Room.first(scene.device, scene.sizes.points), on_gpu).recorded()[False]
    plain = learner("reference", Room(None), False)
    network = scene.network
    asked = len(people) * points * of_point(network.warp, network.skinning, network.occupancy)
    floor = Work(
        TRAINING * (asked + len(people) * of_generator(network)),
        12.0 * size_of(network),  # weights, gradients and Adam's two moments, read and written
        "fields at one root a point and the generator, forward and backward; Adam's traffic",
    )
    return Row(
        task(call(ours, inputs, "high")),
        task(call(plain, inputs, "highest"), lambda: THINNED * seconds_of(call(plain, few, "highest"), scene.device)),
        floor,
        note="bf16-mixed" if on_gpu else "",
    )


def _thinned(batch: CoarseBatch, count: int) -> dict[str, Tensor]:
    count = max(count, 1)
    return {"points_posed": batch.points_posed[:, :count], "occupancy": batch.occupancy[:, :count]}


def fine_step(scene: Scene) -> Row:
    """Field and critic with their Adams. One step in `d_reg_every` has the R1 penalty, and counts by that share.

    The reference does what the original does in every step: the generator, and a search for the scans' points.
    """
    size, count = scene.sizes.image_size, scene.sizes.fine_people
    batch, surface = fine_inputs(scene)
    share = 1 / WEIGHTS.d_reg_every

    def parts(ours: bool) -> Task:
        plain, regularised = (_fine_step(scene, batch, surface, ours, r1) for r1 in (False, True))
        probe = _fine_step(scene, _first(batch), _first(surface), ours, False)
        # the R1 step costs three of the others; each is warmed up and run
        return Task(((1 - share, plain), (share, regularised)), lambda: 4 * count * seconds_of(probe, scene.device))

    network, critic = scene.network, Critic(size)
    pixels = float(batch.cache_mask.sum()) + count * scene.sizes.surface_points
    judged = of_critic(critic, size) * count
    fields = pixels * (of_point(network.occupancy, network.skinning) + TRAINING * of_point(network.normal))
    # the field's step judges its pictures and leads gradients through, the critic's learns from as many and the scans'
    floor = Work(
        fields + judged * (2 + 2 * TRAINING + 2 * TRAINING * share),
        12.0 * (size_of(critic) + size_of(network.normal)),
        "fields at pixels and scan points, critic on drawn and scanned pictures, R1 by its share; Adam's traffic",
    )
    return Row(parts(True), parts(False), floor, note="bf16-mixed" if scene.device.type == "cuda" else "")


def _first(record: Batch) -> Batch:
    """One person of a batch."""
    return replace(record, **{name: tensor[:1] for name, tensor in vars(record).items()})


def fine_inputs(scene: Scene) -> tuple[FineBatch, SurfaceBatch]:
    """Pictures of the bodies, the neutral points seen at their pixels, and points of their skin."""
    data = scene.prepared(scene.sizes.fine_people, "fine")
    people = torch.arange(len(data))
    generator = torch.Generator().manual_seed(0)
    batch = to_device(data.draw_fine(people, torch.zeros_like(people), generator, points_per_frame=0), scene.device)
    neutral = [scene.network.to_neutral(data.vertices_canonical[i : i + 1], data.betas[i : i + 1])[0] for i in people]
    faces, camera = scene.skin_faces.to(scene.device), Orthographic(image_size=scene.sizes.image_size)
    points, masks = [], []
    for i in people:
        seen = rasterize(data.vertices_posed[i], faces, camera)
        points.append(torch.zeros(camera.image_size**2, 3, device=scene.device))
        masks.append(seen.mask.flatten())
        points[-1][masks[-1]] = seen.interpolate(neutral[i], faces)
    chosen = torch.randint(len(neutral[0]), (len(people), scene.sizes.surface_points), generator=generator)
    chosen = chosen.to(scene.device)
    normals = torch.stack([vertex_normals(data.vertices_posed[i], faces) for i in people])
    surface = SurfaceBatch(
        _taken(torch.stack(neutral), chosen), _taken(normals, chosen), torch.ones_like(chosen, dtype=torch.bool)
    )
    posed = _taken(data.vertices_posed, chosen)
    batch = replace(
        batch, cache_points=torch.stack(points), cache_mask=torch.stack(masks), surface_points=posed,
        surface_normals=surface.normals_posed,
    )  # fmt: skip
    return batch, surface


def _taken(values: Float[Tensor, "B V 3"], chosen: Int[Tensor, "B N"]) -> Float[Tensor, "B N 3"]:
    return values.gather(1, chosen[..., None].expand(-1, -1, 3))


def _fine_step(
    scene: Scene, batch: FineBatch, surface: SurfaceBatch, ours: bool, regularised: bool
) -> Callable[[], object]:
    model = refinable(copy.deepcopy(scene.network), scene.network.config, seed=0).to(scene.device)
    critic = Critic(scene.sizes.image_size).to(scene.device)
    learned = [p for p in model.parameters() if p.requires_grad]
    players = Players(model, critic, adam(learned, 1e-4), adam(list(critic.parameters()), 1e-4, CRITIC_BETAS))
    on_gpu = scene.device.type == "cuda"
    fabric = _fabric(scene.device, half=ours and on_gpu)
    pixels = int(batch.cache_mask.sum(1).max()) if ours and on_gpu else None
    learner = FineLearner(players, _features(model, batch), WEIGHTS, GRADIENT_NORM, pixels, fabric)
    recorded = learner.recorded([pixels])[regularised, pixels]

    def our_step() -> None:
        with matmul_precision("high"):
            recorded(FineInputs(batch, surface))

    def plain_step() -> None:
        with matmul_precision("highest"):
            step = replace(learner, features=_features(model, batch), regularised=regularised)
            step(FineInputs(batch, _searched(model, batch)))

    return our_step if ours else plain_step


def _fabric(device: torch.device, half: bool) -> Fabric:
    devices: list[int] | int = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision="bf16-mixed" if half else "32-true")


@torch.no_grad()
def _features(model: AvatarModel, batch: FineBatch) -> Tensor:
    return model.generator(model.codes(batch.people).shape).half()


@torch.no_grad()
def _searched(model: AvatarModel, batch: FineBatch) -> SurfaceBatch:
    codes = model.codes(batch.people)
    subject: Subject = model.subject(codes, batch.betas)
    search = replace(model.search_settings("reference"), max_steps=FINE_STEPS)
    found = model.occupancy_posed(batch.surface_points, batch.bone_transforms, subject, search)
    return SurfaceBatch(found.points_neutral, batch.surface_normals, found.found)
