from __future__ import annotations

import dataclasses
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch.nn.functional import normalize

import gdna.fields.generator
import gdna.train.coarse
import gdna.train.fine
import gdna.train.run_state
from gdna.body.open_body import open_body
from gdna.body.skeleton import PARENTS
from gdna.data.cache_file import cache_path, read_cache
from gdna.data.people import is_at_rest, people_of, person_of
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.prepared import PreparedSet, turn_to_view
from gdna.data.random_person_file import random_person_path, read_random_person
from gdna.data.sample_file import from_fixed
from gdna.deform.search import GridSettings, SearchSettings
from gdna.errors import GdnaError
from gdna.evaluate.metrics import evaluate_iou
from gdna.geometry.records import tensors_of
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_extra, load_model, save_checkpoint
from gdna.model.config import DeformerConfig, MlpConfig, ModelConfig, NormalConfig, OccupancyConfig
from gdna.model.pose_offsets import pose_numbers
from gdna.objectives import intersection_over_union, outside_loss
from gdna.render.camera import Orthographic
from gdna.render.march import march
from gdna.train import processes
from gdna.train.beginning import begin_with
from gdna.train.cache import CacheSettings, build_cache, cut_rays, near_grid, solid_points, trace_scan
from gdna.train.cast import Cast
from gdna.train.coarse import Room, coarse_losses, new_model, train_coarse
from gdna.train.coarse_inputs import CoarseInputs, NeutralBody
from gdna.train.critic import Critic
from gdna.train.empty_space import EmptySpace
from gdna.train.fine import follow, refinable, train_fine
from gdna.train.fine_losses import Shown, normal_maps, shown_to_critic
from gdna.train.random_people import build_random_people, random_person
from gdna.train.run_state import RunFolder, finished
from gdna.train.schedule import Schedule, generator_for, learning_rate_factor
from gdna.train.settings import (
    DataSettings,
    Decay,
    LoggerKind,
    LossSettings,
    OptimSettings,
    Precision,
    TrainerSettings,
    TrainSettings,
    fine_settings,
)
from gdna.train.stepping import adam, apply_gradients, average_gradients, set_learning_rate
from gdna.train.surface import frozen_features, neutral_surface, volumes
from gdna.train.validate import image_rows
from gdna.types import BodyParams, Scan

PEOPLE = ("ann", "bob", "cat", "dan")
TINY = ModelConfig(
    network=OccupancyConfig(width=64),
    norm_network=NormalConfig(width=64, depth=4, skip_in=2),
    deformer=DeformerConfig(10, init_bones=(0, 16, 17), disp_network=MlpConfig(32, 2), lbs_network=MlpConfig(32, 2)),
)
TRAINER = TrainerSettings(accelerator="cpu", check_val_every_n_epoch=0, log_every_n_steps=1)
COARSE = TrainSettings(
    trainer=TRAINER,
    model=LossSettings(optim=OptimSettings(lr=5e-3)),
    datamodule=DataSettings(batch_size=2, points_per_frame=256, passes_per_epoch=1),
    logger=LoggerKind.none,
)
FINE = replace(COARSE, model=LossSettings(d_reg_every=2, optim=OptimSettings(lr=1e-2, lr_dis=2e-3, ema=0.5)))
CACHE = CacheSettings(image_size=32, resolution=64, steps=64)
SEARCH = SearchSettings(init_bones=(0, 16, 17), grid=GridSettings(shape=(8, 32, 32)))


@pytest.fixture(scope="module", autouse=True)
def _small_networks():
    """The generator and the critic keep their structure, with a few channels only."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gdna.fields.generator, "CHANNELS", (8, 8, 8, 64))
        patch.setattr(gdna.train.fine, "Critic", lambda image_size: Critic(image_size, 8, 16))
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Four bodies without clothes in slightly different poses."""
    folder, body = tmp_path_factory.mktemp("prepared"), open_body()
    used, faces = np.unique(body.faces.numpy(), return_inverse=True)
    rotations = 0.1 * torch.randn(4, 24, 3, generator=torch.Generator().manual_seed(0))
    betas = torch.from_numpy(body.population_betas[:4])
    posed = body(BodyParams(betas, rotations, torch.zeros(4, 3)))
    sizes = PrepareSettings(points=3000, surface_points=4000, held_out=200, views=3, image_size=32)
    for i, name in enumerate(PEOPLE):
        vertices = posed.vertices[i].numpy()[used]
        scan = Scan(name, vertices, faces.reshape(-1, 3), betas[i].numpy(), rotations[i].numpy())
        prepare_scan(scan, body, folder, sizes)
    return folder


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory) -> tuple[Path, list[dict[str, float]]]:
    """A coarse model that knows roughly where people are, and its losses."""
    folder = tmp_path_factory.mktemp("experiments") / "coarse"
    with pytest.MonkeyPatch.context() as patch:
        logged = record(patch)
        return train_coarse(prepared, folder, TINY, epochs(COARSE, 12)), logged


@pytest.fixture(scope="module")
def coarse(trained) -> Path:
    return trained[0]


@pytest.fixture(scope="module")
def cache(prepared, coarse, tmp_path_factory) -> Path:
    return build_cache(coarse, prepared, tmp_path_factory.mktemp("cache"), CACHE, device="cpu", search=SEARCH)


@pytest.fixture(scope="module")
def crowd(prepared, coarse, cache, tmp_path_factory) -> Path:
    """Correspondences, and two random people in the pose of every scan."""
    folder = tmp_path_factory.mktemp("crowd")
    for name in PEOPLE:
        cache_path(folder, name).write_bytes(cache_path(cache, name).read_bytes())
    for agent_id in range(2):
        build_random_people(coarse, prepared, folder, open_body(), 2, CACHE, agent_tot=2, agent_id=agent_id)
    return folder


def epochs(settings: TrainSettings, count: int, **trainer) -> TrainSettings:
    return replace(settings, trainer=replace(settings.trainer, max_epochs=count, **trainer))


def record(monkeypatch) -> list[dict[str, float]]:
    """All losses that runs log from here on, step by step."""
    logged: list[dict[str, float]] = []

    def log(self, step, *losses):
        values = {k: float(v.detach()) for part in losses for k, v in vars(part).items()}
        while len(logged) <= step:
            logged.append({})
        logged[step].update(values)

    monkeypatch.setattr(gdna.train.run_state.Run, "log", log)
    return logged


# --- schedule and settings


def test_an_epoch_visits_every_scan_equally_often():
    schedule = Schedule(scans=6, passes=4, batch_size=3, epochs=2, seed=0, world_size=2)
    assert schedule.steps_per_epoch == 4
    for epoch in range(2):
        steps = range(4 * epoch, 4 * epoch + 4)
        seen = torch.cat([schedule.scan_indices(step, rank) for step in steps for rank in range(2)])
        assert torch.equal(seen.bincount(), torch.full((6,), 4))
    assert not torch.equal(schedule.scan_indices(0), schedule.scan_indices(4))
    assert torch.equal(schedule.scan_indices(5), schedule.scan_indices(5))


def test_incomplete_batches_are_dropped_and_small_sets_still_train():
    assert Schedule(scans=5, passes=1, batch_size=2, epochs=1, seed=0).steps_per_epoch == 2
    small = Schedule(scans=3, passes=1, batch_size=16, epochs=1, seed=0)
    assert small.steps == 1
    assert sorted(small.scan_indices(0).tolist()) == [0, 1, 2]


def test_generators_depend_on_every_part_of_their_key():
    draws = {torch.rand(1, generator=generator_for(*key)).item() for key in [(0, 1), (1, 0), (0, 1, 0), (0, 2)]}
    assert len(draws) == 4
    assert torch.rand(1, generator=generator_for(3, 4)) == torch.rand(1, generator=generator_for(3, 4))


def test_learning_rate_decay():
    optim = OptimSettings(decay=Decay.cosine, decay_from=0.5)
    factors = [learning_rate_factor(optim, done) for done in (0.0, 0.5, 0.75, 1.0, 1.1)]
    assert factors == pytest.approx([1, 1, 0.5, 0, 0])
    assert learning_rate_factor(OptimSettings(), 0.99) == 1
    with pytest.raises(GdnaError, match=r"give trainer\.max_seconds"):
        TrainSettings(model=LossSettings(optim=OptimSettings(decay=Decay.time)))


def test_defaults_are_the_originals():
    coarse, fine = TrainSettings(), fine_settings()
    assert (coarse.trainer.max_epochs, coarse.trainer.gradient_clip_val, coarse.datamodule.batch_size) == (300, 0.1, 16)
    assert (coarse.model.optim.lr, fine.model.optim.lr, fine.model.optim.lr_dis) == (1e-3, 2e-3, 2e-3)
    assert (fine.datamodule.batch_size, fine.model.lambda_grad, fine.model.d_reg_every) == (8, 10, 16)


def test_every_setting_has_help_and_nonsense_is_refused():
    for settings in (TrainSettings(), TrainerSettings(), DataSettings(), LossSettings(), OptimSettings()):
        for field in dataclasses.fields(settings):
            assert dataclasses.is_dataclass(getattr(settings, field.name)) or field.metadata["help"]
    with pytest.raises(GdnaError, match="batch_size=0"):
        TrainSettings(datamodule=DataSettings(batch_size=0))
    with pytest.raises(GdnaError, match="ema=1"):
        TrainSettings(model=LossSettings(optim=OptimSettings(ema=1.0)))


# --- coarse stage


def test_coarse_training_learns(trained):
    path, logged = trained
    first, last = logged[0], logged[-1]
    assert last["total"] < first["total"] / 3  # mostly the losses on bones, which only the first epoch has
    assert last["occupancy"] < 0.9 * first["occupancy"]
    assert first["bone_occupancy"] > 0.1 < first["joint_weights"]
    assert last["bone_occupancy"] == last["joint_weights"] == 0
    assert len(logged) == 24
    assert load_extra(path)["names"] == list(PEOPLE)
    experiment = path.parent.parent
    assert finished(experiment)
    assert not (experiment / "logs").exists()  # logger=none


def interrupt_the_third_save(monkeypatch) -> None:
    """As if killed between the two files: the state is of step 3 then, the model of step 2."""
    real, saved = gdna.train.run_state.save_checkpoint, []

    def save(*args, **kwargs):
        saved.append(1)
        if len(saved) == 3:
            raise KeyboardInterrupt
        real(*args, **kwargs)

    monkeypatch.setattr(gdna.train.run_state, "save_checkpoint", save)


def assert_same_files(one: Path, other: Path) -> None:
    for file in (RunFolder(one).model, RunFolder(one).state):
        expected, found = load_file(file), load_file(other / file.relative_to(one))
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), name


def test_coarse_resumes_exactly(prepared, tmp_path, monkeypatch):
    settings = epochs(COARSE, 3, save_every_seconds=0.0)  # six steps; killed within the second epoch
    train_coarse(prepared, tmp_path / "straight", TINY, settings)
    with monkeypatch.context() as patch:
        interrupt_the_third_save(patch)
        with pytest.raises(KeyboardInterrupt):
            train_coarse(prepared, tmp_path / "killed", TINY, settings)
    assert load_extra(RunFolder(tmp_path / "killed").model)["step"] == 2
    half_written = tmp_path / "killed" / "checkpoints" / ".last.123.part.safetensors"
    half_written.write_bytes(b"half")
    logged = record(monkeypatch)
    train_coarse(prepared, tmp_path / "killed", TINY, settings)
    assert not half_written.exists()
    assert [bool(entry) for entry in logged] == [False] * 3 + [True] * 3
    assert_same_files(tmp_path / "straight", tmp_path / "killed")


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(prepared, tmp_path, monkeypatch):
    real, calls = gdna.train.coarse.coarse_losses, []

    def losses(*args):
        calls.append(1)
        found = real(*args)
        return replace(found, total=found.total * math.nan, warp=found.warp * math.nan) if len(calls) == 3 else found

    monkeypatch.setattr(gdna.train.coarse, "coarse_losses", losses)
    with pytest.raises(GdnaError, match=r"step 2: .*occupancy \d.*warp nan.*last\.safetensors") as error:
        train_coarse(prepared, tmp_path / "run", TINY, epochs(COARSE, 3, save_every_seconds=0.0))
    assert "\n" not in str(error.value)
    model = load_model(RunFolder(tmp_path / "run").model)
    assert all(p.isfinite().all() for p in model.parameters())
    assert load_extra(RunFolder(tmp_path / "run").model)["step"] == 2


def test_stops_in_time_and_goes_on(prepared, tmp_path):
    train_coarse(prepared, tmp_path / "run", TINY, epochs(COARSE, 1, max_seconds=1e-9))
    assert load_extra(RunFolder(tmp_path / "run").model)["step"] == 1
    assert not finished(tmp_path / "run")
    train_coarse(prepared, tmp_path / "run", TINY, epochs(COARSE, 1))
    assert finished(tmp_path / "run")
    with pytest.raises(GdnaError, match=r"4 scans .* now 2"):
        train_coarse(prepared, tmp_path / "run", TINY, epochs(COARSE, 2), names=PEOPLE[:2])


def test_a_new_run_can_begin_with_given_weights(prepared, coarse, tmp_path, monkeypatch):
    logged = record(monkeypatch)
    train_coarse(prepared, tmp_path / "run", TINY, epochs(COARSE, 1), start=coarse)
    fresh = record(monkeypatch)
    train_coarse(prepared, tmp_path / "fresh", TINY, epochs(COARSE, 1))
    assert logged[0]["occupancy"] < 0.8 * fresh[0]["occupancy"]


def test_people_whom_the_given_weights_know_keep_their_codes(coarse):
    start, extra = load_model(coarse), load_extra(coarse)
    model = AvatarModel(replace(start.config, num_people=3))
    begin_with(model, coarse, ("stranger", PEOPLE[1], PEOPLE[0]))
    assert extra["names"][:2] == list(PEOPLE[:2])
    expected = torch.stack([start.z_shapes.weight.mean(0), start.z_shapes.weight[1], start.z_shapes.weight[0]])
    assert torch.equal(model.z_shapes.weight, expected)
    assert torch.equal(model.skinning.mlp.linears[0].weight_v, start.skinning.mlp.linears[0].weight_v)
    with pytest.raises(GdnaError, match=r"z_shapes\.weight is 2x64, expected 3x64"):
        begin_with(model, coarse, (PEOPLE[0], PEOPLE[1]))


def test_the_skin_prior_teaches_the_bodys_weights(prepared, tmp_path, monkeypatch):
    logged = record(monkeypatch)
    prior = replace(COARSE, model=replace(COARSE.model, lambda_skin=1.0))
    train_coarse(prepared, tmp_path / "run", TINY, epochs(prior, 12))
    assert 0 < logged[-1]["skin"] < 0.6 * logged[0]["skin"]


def test_space_that_nobody_reaches_is_taught_to_be_empty(prepared, tmp_path, monkeypatch):
    data = PreparedSet.open(prepared)
    points = EmptySpace.of(data).draw(1, 4000, generator_for(1))
    logged, occupied = {}, {}
    for weight in (0.0, 1.0):
        with monkeypatch.context() as patch:
            logged[weight] = record(patch)
            settings = epochs(replace(COARSE, model=replace(COARSE.model, lambda_empty=weight)), 12)
            model = load_model(train_coarse(prepared, tmp_path / str(weight), TINY, settings))
        with torch.no_grad():
            subject = model.subject(model.codes(torch.tensor([0])), data.betas[:1])
            occupied[weight] = float(outside_loss(model.occupancy_neutral(points, subject)[0]))
    assert all(step["empty"] == 0 for step in logged[0.0])
    assert all(step["empty"] > 0 for step in logged[1.0])
    assert logged[0.0][0]["occupancy"] == logged[1.0][0]["occupancy"]  # what else is drawn stays the same
    assert occupied[1.0] < 0.5 * occupied[0.0]
    assert logged[1.0][-1]["occupancy"] < 1.1 * logged[0.0][-1]["occupancy"]


def test_validation_logs_and_shows(prepared, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    scalars: dict[str, float] = {}
    monkeypatch.setattr(gdna.train.run_state.Run, "log_scalars", lambda self, values, step: scalars.update(values))
    settings = replace(epochs(COARSE, 1, check_val_every_n_epoch=1), logger=LoggerKind.tensorboard)
    preview = np.full((4, 6, 3), 7, np.uint8)
    train_coarse(prepared, tmp_path / "run", TINY, settings, preview=lambda model: preview)
    assert set(scalars) == {"held_out/iou_uniform", "held_out/iou_near", "held_out/found"}
    assert all(0 <= value <= 1 for value in scalars.values())
    assert len(list((tmp_path / "run" / "logs").glob("events*"))) == 1
    from PIL import Image

    assert np.array_equal(np.array(Image.open(tmp_path / "run" / "images" / "0000_preview.png")), preview)


def test_wandb_is_asked_for_only_when_wanted(prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(GdnaError, match="pip install wandb"):
        train_coarse(prepared, tmp_path / "run", TINY, replace(epochs(COARSE, 1), logger=LoggerKind.wandb))


def test_the_coarse_stage_learns_the_same_in_half_precision(prepared, tmp_path, monkeypatch):
    """Losses of the first steps agree to bfloat16's 8 bits, grown by a few updates."""
    logged = {}
    for precision in (Precision.full, Precision.bf16):
        settings = replace(COARSE, trainer=replace(TRAINER, max_epochs=2, precision=precision))
        with monkeypatch.context() as patch:
            logged[precision] = record(patch)
            train_coarse(prepared, tmp_path / precision.name, TINY, settings)
    for one, other in zip(logged[Precision.full], logged[Precision.bf16], strict=True):
        assert one["total"] != other["total"]
        assert one["total"] == pytest.approx(other["total"], rel=0.03)


@pytest.mark.parametrize("world_size", [1, 2])
def test_gradients_are_averaged_over_processes(world_size: int, monkeypatch):
    """The other process, were there one, has no gradients."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: world_size > 1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    parameters[0].grad = torch.arange(6.0).view(2, 3)
    average_gradients(parameters)
    assert torch.equal(parameters[0].grad, torch.arange(6.0).view(2, 3) / world_size)
    assert world_size == 1 or (parameters[1].grad == 0).all()


def test_a_step_that_is_not_finite_changes_nothing():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = adam([weight], 0.1)
    assert apply_gradients(optimizer, weight.sum(), limit=0.1)
    after_one = weight.detach().clone()
    assert torch.allclose(after_one, torch.full((3,), 0.9))  # Adam's first step is the learning rate
    assert not apply_gradients(optimizer, (weight * torch.tensor([1.0, math.nan, 1.0])).sum(), limit=0.1)
    assert torch.equal(weight.detach(), after_one)
    set_learning_rate(optimizer, 0.0)
    assert apply_gradients(optimizer, weight.sum(), limit=0.0)
    assert torch.equal(weight.detach(), after_one)


def test_a_step_with_fixed_room_is_the_same_step(prepared, coarse):
    """What runs on a GPU without waiting: the losses and gradients of the plain step, unless the room is too small."""
    data, model = PreparedSet.open(prepared), load_model(coarse)
    indices = torch.tensor([0, 3])
    inputs = CoarseInputs.draw(data, indices, data.body, 128, generator_for(0), EmptySpace.of(data))
    found = {}
    for name, room in (("plain", Room(None)), ("fixed", Room(144)), ("small", Room(144, share=0.5))):
        model.zero_grad()
        losses = coarse_losses(model, inputs, NeutralBody.of(data.body), LossSettings(), True, room)
        losses.total.backward()
        found[name] = losses, model.skinning.mlp.linears[0].weight_v.grad.clone()
    (plain, gradient), (fixed, its_gradient), (small, _) = found.values()
    assert plain.dropped == fixed.dropped == 0 < small.dropped
    assert torch.allclose(plain.total, fixed.total, rtol=1e-5)  # sums in another order
    assert torch.allclose(gradient, its_gradient, rtol=1e-3, atol=1e-5 * gradient.abs().max())
    assert Room(1000).larger().capacity > Room(1000).capacity


@pytest.mark.gpu
def test_recorded_steps_learn_what_plain_ones_do(prepared, tmp_path, monkeypatch):
    """A CUDA graph replays the very kernels, from the fourth step on; the order of atomic sums alone may differ.
    That grows: weights that are 1e-7 off at first change the twelfth loss by 3e-3 (on a CPU)."""
    logged = {}
    for name, how in (("recorded", gdna.train.coarse.stepper), ("plain", lambda step, device: step)):
        with monkeypatch.context() as patch:
            patch.setattr(gdna.train.coarse, "stepper", how)
            logged[name] = record(patch)
            settings = epochs(COARSE, 6, accelerator="cuda", precision=Precision.full)
            train_coarse(prepared, tmp_path / name, TINY, settings)
    assert len(logged["plain"]) == 12
    for step, (one, other) in enumerate(zip(logged["recorded"], logged["plain"], strict=True)):
        assert one["total"] == pytest.approx(other["total"], rel=1e-3 if step < 8 else 2e-2)


def test_scans_of_one_person_share_a_code(in_poses, tmp_path):
    model = train_coarse(in_poses, tmp_path / "run", TINY, epochs(COARSE, 1))
    assert load_model(model).config.num_people == 2
    assert load_extra(model)["names"] == ["ann", "ann_pose1", "ann_pose2", "dan"]
    data = PreparedSet.open(in_poses)
    assert (data.people, data.person.tolist()) == (("ann", "dan"), [0, 0, 0, 1])
    assert load_extra(model)["betas"] == [data.betas[i].tolist() for i in (0, 3)]
    assert len(evaluate_iou(model, in_poses, device="cpu").trained) == 4


@pytest.fixture(scope="module")
def in_poses(prepared, tmp_path_factory) -> Path:
    """Two people, of whom one is seen three times."""
    folder = tmp_path_factory.mktemp("in_poses")
    for old, new in (("ann", "ann"), ("bob", "ann_pose1"), ("cat", "ann_pose2"), ("dan", "dan")):
        shutil.copytree(prepared / old, folder / new)
    shutil.copy(prepared / "body.safetensors", folder)
    return folder


def test_shapes_that_see_the_pose_are_trained_kept_and_measured(in_poses, tmp_path, monkeypatch):
    """From a model that never heard of it: the same first step; resumed exactly; asked for by what comes after."""
    blind, aware = TINY, replace(TINY, shape_pose="local")
    blind, aware = (replace(config, num_scans=1) for config in (blind, aware))
    start = train_coarse(in_poses, tmp_path / "start", blind, epochs(COARSE, 1))
    settings, logged = epochs(COARSE, 2, save_every_seconds=0.0), {}
    for name, config in (("blind", blind), ("aware", aware)):
        with monkeypatch.context() as patch:
            logged[name] = record(patch)
            path = train_coarse(in_poses, tmp_path / name, config, settings, start=start)
    first = {name: logged[name][0] for name in logged}
    assert {k for k in first["blind"] if first["aware"][k] != first["blind"][k]} <= {"total", "pose_offset"}
    assert logged["aware"][-1] != logged["blind"][-1]
    model, data = load_model(path), PreparedSet.open(in_poses, fields="body")
    assert model.pose_offsets.weight.abs().max() > 0
    numbers = pose_numbers(data.bone_transforms, PARENTS)
    torch.testing.assert_close(model.pose_offsets.mean, torch.stack([numbers[:3].mean(0), numbers[3]]))
    with monkeypatch.context() as patch:
        interrupt_the_third_save(patch)
        with pytest.raises(KeyboardInterrupt):
            train_coarse(in_poses, tmp_path / "killed", aware, settings, start=start)
    train_coarse(in_poses, tmp_path / "killed", aware, settings, start=start)
    assert_same_files(tmp_path / "aware", tmp_path / "killed")
    with torch.no_grad():
        torch.nn.init.normal_(model.pose_offsets.weight, std=5.0)
    posed = {}
    (tmp_path / "new").mkdir()
    shutil.copytree(in_poses / "ann_pose2", tmp_path / "new" / "ann_pose9")
    shutil.copy(in_poses / "body.safetensors", tmp_path / "new")
    for name in ("aware", "mean"):
        save_checkpoint(tmp_path / f"{name}.safetensors", model, load_extra(path))
        posed[name] = evaluate_iou(tmp_path / f"{name}.safetensors", in_poses, tmp_path / "new", device="cpu").posed[0]
        model.pose_offsets.mean.copy_(numbers[2])  # the new pose: the own code
    assert posed["aware"] != posed["mean"]


def test_scans_may_be_shown_without_their_own_offsets(in_poses):
    data, indices = PreparedSet.open(in_poses), torch.tensor([0, 1])
    model = new_model(replace(TINY, num_scans=1, shape_pose="local"), data, seed=0)
    torch.nn.init.normal_(model.scan_offsets.weight, std=0.1)
    body = NeutralBody.of(data.body)
    inputs = CoarseInputs.draw(data, indices, data.body, 64, generator_for(0), None)
    gradient, found = {}, {}
    for name, settings in (
        ("shown", LossSettings()),
        ("blind", LossSettings(lambda_pose=0.0)),
        ("alone", LossSettings(offset_dropout=1.0, lambda_reg=0.0, lambda_pose=0.0)),
        ("dear", LossSettings(offset_dropout=1.0, lambda_reg=0.0, lambda_pose=0.0, lambda_offset=1.0)),
    ):
        model.zero_grad()
        found[name] = coarse_losses(model, inputs, body, settings, False, Room(None))
        found[name].total.backward()
        gradient[name] = model.scan_offsets.weight.grad.clone()
        learns = model.pose_offsets.weight.grad.abs().max() > 0
        assert learns == (name != "blind")
    assert gradient["shown"].abs().max() > 0
    assert not gradient["alone"].any()
    assert gradient["dear"].abs().max() > 0
    offsets = model.scan_offsets(indices, 2).detach()
    torch.testing.assert_close(found["dear"].scan_offset.detach(), offsets.square().mean())
    assert found["alone"].occupancy != found["shown"].occupancy
    with pytest.raises(GdnaError, match=r"offset_dropout=1\.5: expected a share"):
        replace(COARSE, model=LossSettings(offset_dropout=1.5))


# --- correspondence cache


def test_near_grid_against_distances():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 3, generator=generator)
    asked = torch.rand(2000, 3, generator=generator) * 2 - 0.5
    distance = torch.cdist(asked, points).min(1).values
    near = near_grid(points, 0.1, 0.02).at(asked)
    assert near[distance < 0.1 - 0.02 * math.sqrt(3)].all()
    assert not near[distance > 0.1 + 0.02 * math.sqrt(3)].any()


def test_rays_see_what_the_pictures_show(prepared, cache):
    """A solid of cells around the scan's surface, marched along the rays of each view, has the silhouettes of the
    scan's pictures and, at the hits, their normals."""
    data = PreparedSet.open(prepared, None, "cpu", "fine", cache)
    solid = near_grid(solid_points(data, 0), 0.015, 0.01)
    rays = cut_rays(near_grid(solid_points(data, 0), CACHE.reach, CACHE.cell), data.num_views, CACHE)
    length = (rays.steps - 1) * CACHE.spacing
    depth, hit = march(lambda p: solid.at(p) * 2.0 - 1, rays.origins, rays.directions, rays.steps, 8, 0.0, length)
    pictures = data.normal_maps(torch.zeros(3, dtype=torch.long), torch.arange(3)).permute(0, 2, 3, 1).flatten(0, 2)
    seen = torch.zeros(len(pictures), dtype=torch.bool)
    seen[rays.pixel[hit]] = True
    drawn = (pictures < 0.999).any(1)
    assert intersection_over_union(seen, drawn) > 0.7  # pixels of 6 cm
    points, pixel = (rays.origins + depth[:, None] * rays.directions)[hit], rays.pixel[hit]
    nearest = torch.cdist(points, from_fixed(data.fine.surface_points[0])).argmin(1)
    axis_angle = torch.zeros(len(pixel), 3)
    axis_angle[:, 1] = 2 * math.pi / 3 * (pixel // 32**2)
    normals = from_fixed(data.fine.surface_normals[0])[nearest]
    turned = (axis_angle_to_matrix(axis_angle) @ normals[..., None])[..., 0]
    cosine = (turned * pictures[pixel]).sum(1)[drawn[pixel]]
    assert cosine.mean() > 0.8


def test_cached_views_are_renders_of_the_turned_person(prepared, coarse):
    """Turned rays, cut to the neighbourhood of the person, asked of the grid: within 1 mm of whole rays, cast at the
    turned person and asked of the networks."""
    model = load_model(coarse).requires_grad_(False)
    data = PreparedSet.open(prepared, None, "cpu", "body")
    index, view = torch.tensor([1]), 1
    points, mask = trace_scan(model, data, 1, CACHE, SEARCH)
    subject = model.subject(model.codes(index), data.betas[index])
    transforms = turn_to_view(data.bone_transforms[index], torch.tensor([view]), data.num_views)
    turn = torch.tensor([0.0, 2 * math.pi * view / data.num_views, 0.0])
    rotation = axis_angle_to_matrix(turn)
    near = near_grid(solid_points(data, 1), CACHE.reach, CACHE.cell)
    exact = SearchSettings(init_bones=(0, 16, 17), backend="reference")

    def occupancy(points_turned: torch.Tensor) -> torch.Tensor:
        logits = points_turned.new_full(points_turned.shape[:1], -20.0)
        asked = near.at(points_turned @ rotation)
        logits[asked] = model.occupancy_posed(points_turned[asked][None], transforms, subject, exact).logits[0]
        return logits.clamp(-20, 20)

    across = Orthographic(image_size=32).pixel_positions().flatten(0, 1)
    origins = torch.cat([across, torch.ones(len(across), 1)], 1)
    with torch.no_grad():
        depth, hit = march(occupancy, origins, torch.tensor([0.0, 0, -1]).expand_as(origins), 64, 8, 0.0, 2.0)
        answer = model.occupancy_posed(
            (origins - depth[:, None] * torch.tensor([0.0, 0, 1]))[None], transforms, subject, exact
        )
    expected, cached = answer.points_neutral[0], points[view].flatten(0, 1)
    both = hit & mask[view].flatten()
    assert hit.sum() > 30
    assert (hit != mask[view].flatten()).sum() <= 0.02 * hit.sum()
    assert ((expected - cached)[both].norm(dim=1) < 1e-3).float().mean() > 0.99
    assert (points[~mask] == 0).all()


def test_cache_is_sharded_and_resumed(prepared, coarse, tmp_path):
    settings = replace(CACHE, image_size=8, steps=8)

    def build(agent_id: int) -> None:
        build_cache(coarse, prepared, tmp_path, settings, agent_tot=2, agent_id=agent_id, device="cpu", search=SEARCH)

    build(0)
    paths = [cache_path(tmp_path, name) for name in PEOPLE]
    assert [p.is_file() for p in paths] == [True, True, False, False]
    build(1)
    assert read_cache(paths[3]).mask.shape == (3, 8, 8)
    written = paths[0].stat().st_mtime_ns
    paths[1].write_bytes(b"half a file")
    build(0)
    assert paths[0].stat().st_mtime_ns == written  # kept
    assert read_cache(paths[1]).mask.shape == (3, 8, 8)  # made again
    coarse.touch()
    build(0)
    assert paths[0].stat().st_mtime_ns > written  # the model is newer


# --- fine stage


def test_fine_training_learns_normals_and_nothing_else(prepared, coarse, cache, tmp_path, monkeypatch):
    logged = record(monkeypatch)
    settings = epochs(FINE, 12, check_val_every_n_epoch=12)
    path = train_fine(prepared, cache, tmp_path / "fine", coarse, settings)
    assert logged[-1]["normals"] < 0.7 * logged[0]["normals"]
    assert logged[0]["r1"] > 0 == logged[1]["r1"]
    assert {"adversarial", "detail_code", "critic", "real_logit", "fake_logit"} < set(logged[0])
    before, after = load_file(coarse), load_file(path)
    for name, tensor in before.items():
        refined = name.startswith(("normal.", "z_details."))
        assert torch.equal(tensor, after[name]) != refined, name
    config = load_model(path).config
    assert (config.stage, config.deformer.max_steps) == ("fine", 10)
    assert len(list((tmp_path / "fine" / "images").glob("0011_real_fake.png"))) == 1


def test_fine_resumes_exactly(prepared, coarse, cache, tmp_path, monkeypatch):
    settings = epochs(FINE, 3, save_every_seconds=0.0)
    train_fine(prepared, cache, tmp_path / "straight", coarse, settings)
    with monkeypatch.context() as patch:
        interrupt_the_third_save(patch)
        with pytest.raises(KeyboardInterrupt):
            train_fine(prepared, cache, tmp_path / "killed", coarse, settings)
    train_fine(prepared, cache, tmp_path / "killed", coarse, settings)
    assert_same_files(tmp_path / "straight", tmp_path / "killed")


def test_fine_variants(prepared, coarse, cache, tmp_path):
    """In the images instead of at surface points, without a critic, in bfloat16, without an average."""
    trainer = replace(TRAINER, max_epochs=1, precision=Precision.bf16)
    plain = LossSettings(lambda_gan=0.0, norm_loss_3d=False)
    train_fine(prepared, cache, tmp_path / "a", coarse, replace(FINE, trainer=trainer, model=plain))
    critical = LossSettings(d_reg_every=1)
    path = train_fine(prepared, cache, tmp_path / "b", coarse, replace(FINE, trainer=trainer, model=critical))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in load_model(path).parameters())


def test_normals_that_correct_the_surface_begin_near_to_the_scans(prepared, coarse, cache, tmp_path, monkeypatch):
    """From a coarse model that never heard of it, with the critic, in half precision, kept in the file."""
    config = load_model(coarse).config
    first = {}
    for base in ("none", "surface"):
        asked = replace(config, norm_network=replace(config.norm_network, base=base))
        with monkeypatch.context() as patch:
            logged = record(patch)
            path = train_fine(
                prepared, cache, tmp_path / base, coarse, epochs(FINE, 2, precision=Precision.bf16), asked
            )
        first[base] = logged[0]["normals"]
        assert load_model(path).config.norm_network.base == base
    assert first["surface"] < 0.7 * first["none"]


def test_normals_that_see_the_pose_are_trained_and_kept(prepared, coarse, cache, tmp_path, monkeypatch):
    """Recorded or not, in half precision, from a coarse model that never heard of it; resumed exactly."""
    config = load_model(coarse).config
    config = replace(config, norm_network=replace(config.norm_network, pose="local"))
    settings = epochs(FINE, 2, precision=Precision.bf16, save_every_seconds=0.0)
    path = train_fine(prepared, cache, tmp_path / "straight", coarse, settings, config)
    model = load_model(path)
    assert model.config.norm_network.pose == "local"
    assert model.normal.head.out.weight.abs().max() > 0
    start = refinable(load_model(coarse), config, settings.seed).normal.head
    assert not torch.equal(model.normal.head.own, start.own)
    with monkeypatch.context() as patch:
        interrupt_the_third_save(patch)
        with pytest.raises(KeyboardInterrupt):
            train_fine(prepared, cache, tmp_path / "killed", coarse, settings, config)
    train_fine(prepared, cache, tmp_path / "killed", coarse, settings, config)
    assert_same_files(tmp_path / "straight", tmp_path / "killed")


def test_random_people_stand_in_the_scans_poses(prepared, coarse, crowd):
    """In bodies of their own, the same whoever draws them, kept while the model is not newer."""
    data = PreparedSet.open(prepared, PEOPLE, "cpu", "body")
    found = read_random_person(random_person_path(crowd, "cat", 1))
    with torch.no_grad():
        again = random_person(load_model(coarse), data, open_body(), 2, 1, CACHE)
    for one, other in zip(tensors_of(found), tensors_of(again), strict=True):
        assert torch.equal(one, other)
    other = read_random_person(random_person_path(crowd, "cat", 0))
    assert not torch.equal(found.mixture, other.mixture)
    pose = BodyParams(found.betas[None], data.joint_rotations[2, None], torch.zeros(1, 3))
    torch.testing.assert_close(found.bone_transforms, open_body()(pose).bone_transforms[0], atol=1e-6, rtol=0)
    assert found.mixture[0] != 2
    assert found.pixels.mask.flatten(1).sum(1).min() > 30
    path = random_person_path(crowd, "ann", 0)
    written = path.stat().st_mtime_ns
    build_random_people(coarse, prepared, crowd, open_body(), 2, CACHE, agent_tot=2, agent_id=0)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"half a file")
    build_random_people(coarse, prepared, crowd, open_body(), 2, CACHE, agent_tot=2, agent_id=0)
    assert read_random_person(path).pixels.mask.any()


def test_a_cast_holds_the_scans_people_and_random_ones(prepared, coarse, crowd):
    model, data = refinable(load_model(coarse), None, 0), PreparedSet.open(prepared, PEOPLE, "cpu", "fine", crowd)
    cast = Cast.open(model, data, crowd)
    assert (cast.per_scan, cast.num_scans, len(cast.z_shape)) == (2, 4, 12)
    indices, generator = torch.tensor([0, 1, 2, 3] * 50), generator_for(0)
    assert torch.equal(cast.choose(indices, 0.0, generator), indices)
    rows = cast.choose(indices, 0.5, generator)
    assert torch.equal(rows % 4, indices)
    assert 70 < int((rows < 4).sum()) < 130
    assert len(rows.unique()) == 12
    with torch.no_grad():
        model.z_details.weight.normal_(generator=generator)
    drawn, views = cast.draw(torch.tensor([2, 6]), torch.tensor([1, 1])), torch.tensor([1])
    own = data.draw_fine(torch.tensor([2]), views, generator, 1)
    for name in ("betas", "bone_transforms_view", "cache_points", "cache_mask"):
        assert torch.equal(getattr(drawn, name)[:1], getattr(own, name)), name
    stranger = read_random_person(random_person_path(crowd, "cat", 0))
    assert torch.equal(drawn.betas[1], stranger.betas)
    assert torch.equal(drawn.cache_mask[1], stranger.pixels.mask[1].flatten())
    details = model.z_details.weight
    detail = drawn.detail(details)
    assert torch.equal(detail[0], details[2])
    base, one, other = stranger.mixture.tolist()
    mixed = details.mean(0) + 0.91**0.5 * (details[base] - details.mean(0)) + 0.3 / 2**0.5 * (
        details[one] - details[other]
    )  # fmt: skip
    torch.testing.assert_close(detail[1], mixed, atol=1e-6, rtol=0)
    features = volumes(model, cast.z_shape)
    torch.testing.assert_close(features[:4], frozen_features(model, data), atol=0, rtol=0)


def test_the_critic_may_see_random_people(prepared, coarse, crowd, tmp_path, monkeypatch):
    """With all drawings of theirs, codes and normals still learn; a share of nobody is the step without a cast."""
    logged, plain = record(monkeypatch), []
    shown = replace(FINE, model=replace(FINE.model, random_people=1.0))
    path = train_fine(prepared, crowd, tmp_path / "shown", coarse, epochs(shown, 6))
    assert logged[-1]["normals"] < 0.9 * logged[0]["normals"]
    assert logged[0]["adversarial"] > 0
    assert load_model(path).z_details.weight.abs().max() > 0
    monkeypatch.setattr(Cast, "choose", lambda self, indices, share, generator: indices)
    for name, settings in (("own", shown), ("none", FINE)):
        with monkeypatch.context() as patch:
            plain.append(record(patch))
            train_fine(prepared, crowd, tmp_path / name, coarse, epochs(settings, 2))
    for one, other in zip(*plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    with pytest.raises(GdnaError, match="run gdna precompute random_people=1"):
        train_fine(prepared, cache_without(crowd, tmp_path), tmp_path / "missing", coarse, shown)


def cache_without(crowd: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "no_random_people"
    folder.mkdir()
    for file in crowd.glob("*.safetensors"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.gpu
@pytest.mark.parametrize(("pose", "base"), [("none", "none"), ("local", "none"), ("local", "surface")])
def test_recorded_fine_steps_learn_what_plain_ones_do(prepared, coarse, cache, tmp_path, monkeypatch, pose, base):
    """Nothing in a step waits for the device, or it could not be recorded."""
    config = load_model(coarse).config
    config = replace(config, norm_network=replace(config.norm_network, pose=pose, base=base))
    logged = {}
    for name, how in (("recorded", gdna.train.fine.stepper), ("plain", lambda step, device: step)):
        with monkeypatch.context() as patch:
            patch.setattr(gdna.train.fine, "stepper", how)
            logged[name] = record(patch)
            settings = epochs(replace(FINE, model=replace(FINE.model, lambda_gan=0.0)), 6, accelerator="cuda")
            train_fine(prepared, cache, tmp_path / name, coarse, settings, config)
    assert len(logged["plain"]) == 12
    for one, other in zip(logged["recorded"], logged["plain"], strict=True):
        assert one["normals"] == pytest.approx(other["normals"], rel=1e-2)


def test_fine_training_without_pictures_needs_no_cache(prepared, coarse, tmp_path, monkeypatch):
    logged = record(monkeypatch)
    settings = epochs(replace(FINE, model=replace(FINE.model, lambda_gan=0.0)), 12)
    train_fine(prepared, None, tmp_path / "fine", coarse, settings)
    assert logged[-1]["normals"] < 0.5 * logged[0]["normals"]
    assert "critic" not in logged[-1]


def test_a_critic_of_common_outlines_is_blind_to_them():
    normals = normalize(torch.randn(2, 3, 16, 16, generator=generator_for(0)), dim=1)
    whole, smaller = torch.zeros(2, 1, 16, 16, dtype=torch.bool), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    whole[:, :, 2:12, 3:13], smaller[:, :, 4:15, 3:10] = True, True
    real = torch.where(whole, normals, 1.0)
    fake = torch.where(smaller, normals, 1.0).requires_grad_()
    shown = shown_to_critic(real, fake, LossSettings())
    assert torch.equal(shown.real, shown.drawn)
    assert torch.equal(shown.real < 1, (whole & smaller) & (normals < 1))
    shown.drawn.sum().backward()
    assert torch.equal(fake.grad, (whole & smaller).float().expand(-1, 3, -1, -1))
    assert shown_to_critic(real, fake, LossSettings(common_outline=False)) == Shown(real, fake)


def test_drawn_normal_maps_are_white_outside_and_unit_inside(prepared, coarse, cache):
    data = PreparedSet.open(prepared, PEOPLE, "cpu", "fine", cache)
    model = refinable(load_model(coarse), None, 0)
    index = torch.tensor([0, 2, 3])
    batch = data.draw_fine(index, torch.tensor([0, 1, 2]), generator_for(0), 16)
    with torch.no_grad():
        subject = model.subject(model.codes(index), batch.betas)
        images = normal_maps(model, batch, subject, Fabric(accelerator="cpu"))
    mask = batch.cache_mask.view(3, 1, 32, 32).expand(-1, 3, -1, -1)
    assert (images[~mask] == 1).all()
    assert torch.allclose(images.norm(dim=1)[mask[:, 0]], torch.tensor(1.0), atol=1e-5)
    alone = [model.normals_posed(p[m][None], model.occupancy_neutral(p[m][None], one)[1], t[None], one)
             for p, m, t, one in zip(batch.cache_points, batch.cache_mask, batch.bone_transforms_view,
                                     (model.subject(model.codes(i[None]), data.betas[i][None]) for i in index),
                                     strict=True)]  # fmt: skip
    pixels = images.permute(0, 2, 3, 1)[mask[:, 0]]
    torch.testing.assert_close(pixels, torch.cat([a[0] for a in alone]), atol=1e-5, rtol=0)


def test_surface_points_are_found_once_as_the_search_finds_them(prepared, coarse, cache):
    data = PreparedSet.open(prepared, PEOPLE, "cpu", "fine", cache)
    model = load_model(coarse).requires_grad_(False)
    surface = neutral_surface(model, data)
    index = torch.tensor([3, 1, 3])
    batch = surface.draw(index, 50, generator_for(1))
    assert batch.points_neutral.shape == (3, 50, 3)
    posed = data.draw_fine(index, index * 0, generator_for(1), 50)  # the same draw, not yet brought to neutral space
    subject = model.subject(model.codes(index), posed.betas)
    query = model.occupancy_posed(posed.surface_points, posed.bone_transforms, subject, model.search_settings())
    torch.testing.assert_close(batch.points_neutral, query.points_neutral, atol=1e-4, rtol=0)  # m
    assert torch.equal(batch.found, query.found)
    assert torch.equal(batch.normals_posed, posed.surface_normals)


def test_average_follows_only_what_is_learned(coarse):
    model = refinable(load_model(coarse), None, 0)
    averaged = refinable(load_model(coarse), None, 0)
    with torch.no_grad():
        model.z_details.weight += 1
        model.z_shapes.weight += 1
    before = averaged.z_shapes.weight.clone()
    follow(averaged, model, 0.75)
    assert torch.allclose(averaged.z_details.weight, torch.tensor(0.25))
    assert torch.equal(averaged.z_shapes.weight, before)


def test_a_model_without_names_cannot_be_refined(prepared, coarse, cache, tmp_path):
    from gdna.model.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "nameless.safetensors", load_model(coarse), {})
    with pytest.raises(GdnaError, match="scans of 0 people for 4 codes"):
        train_fine(prepared, cache, tmp_path / "fine", tmp_path / "nameless.safetensors", FINE)


def test_image_rows():
    white, black = torch.ones(2, 3, 4, 5), -torch.ones(2, 3, 4, 5)
    image = image_rows(white, black)
    assert image.shape == (8, 10, 3)
    assert (image[:4] == 255).all()
    assert (image[4:] == 0).all()


# --- evaluation


def test_iou_on_trained_scans(prepared, coarse):
    report = evaluate_iou(coarse, prepared, prepared, device="cpu")
    assert [s.name for s in report.trained] == list(PEOPLE)
    assert report.trained == report.posed
    assert set(report.summary()) == {f"{g}_{f}" for g in ("trained", "posed") for f in ("uniform", "near", "found")}
    assert 0 < report.summary()["trained_uniform"] < 1


def test_iou_of_a_stranger_is_refused(prepared, coarse, tmp_path):
    shutil.copytree(prepared / "ann", tmp_path / "eve_pose1")
    shutil.copy(prepared / "body.safetensors", tmp_path)
    with pytest.raises(GdnaError, match="eve_pose1 is no person"):
        evaluate_iou(coarse, prepared, tmp_path, device="cpu")
    (tmp_path / "eve_pose1").rename(tmp_path / "ann_pose1")
    report = evaluate_iou(coarse, prepared, tmp_path, device="cpu")
    assert replace(report.posed[0], name="ann") == report.trained[0]


def test_person_names():
    assert person_of("person_0003_pose_2") == "person_0003"
    assert person_of("0012_pose3") == person_of("0012_rest") == "0012"
    assert [is_at_rest(name) for name in ("0012", "0012_pose3", "0012_rest", "rest")] == [False, False, True, False]
    assert person_of("rp_ann_posed_001") == "rp_ann_posed_001"  # another outfit, perhaps
    assert people_of(["b", "a_pose2", "a", "b_pose1"]) == ("b", "a")


def test_a_failure_of_the_first_process_ends_the_others():
    import subprocess

    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])

    @processes.ends_together
    def train() -> None:
        processes._others.append(other)
        raise GdnaError("the disk is full")

    with pytest.raises(GdnaError, match="the disk is full"):
        train()
    assert other.wait(timeout=10) != 0
    assert not processes._others


@pytest.mark.slow
def test_two_processes_agree_with_each_other(prepared, tmp_path):
    """Both see the same averaged gradient; what one of them saves is finite and complete."""
    import subprocess

    script = tmp_path / "two.py"
    script.write_text(
        "from gdna.train.coarse import train_coarse\n"
        "from gdna.train.settings import *\n"
        "trainer = TrainerSettings(max_epochs=2, devices=2, accelerator='cpu', check_val_every_n_epoch=0)\n"
        "drawn = DataSettings(batch_size=1, points_per_frame=64, passes_per_epoch=1)\n"
        "settings = TrainSettings(trainer, datamodule=drawn, logger=LoggerKind.none)\n"
        f"train_coarse({str(prepared)!r}, {str(tmp_path / 'two')!r}, settings=settings)\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=300)
    assert finished(tmp_path / "two")
    assert load_extra(RunFolder(tmp_path / "two").model)["step"] == 4
