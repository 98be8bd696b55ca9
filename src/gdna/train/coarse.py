"""The coarse stage: shape, skinning and body-shape warp, learned from the occupancy of posed scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.data.people import is_at_rest
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import body_on
from gdna.deform.search import SearchSettings
from gdna.errors import GdnaError
from gdna.geometry.arithmetic import matmul_precision
from gdna.model.avatar_model import AvatarModel
from gdna.model.config import ModelConfig
from gdna.model.pose_offsets import pose_numbers
from gdna.model.scan_offsets import origin_shares
from gdna.model.training_state import TrainingState
from gdna.objectives import (
    code_loss,
    inside_loss,
    occupancy_loss,
    outside_loss,
    skin_prior_loss,
    skin_weight_loss,
    warp_loss,
)
from gdna.train.beginning import begin_with
from gdna.train.coarse_inputs import CoarseInputs, NeutralBody
from gdna.train.empty_space import EmptySpace
from gdna.train.loading import open_set, to_device
from gdna.train.processes import ends_together
from gdna.train.run_state import Run, Setting
from gdna.train.schedule import Schedule, learning_rate_factor
from gdna.train.settings import LossSettings, TrainSettings
from gdna.train.shown import shown_shapes
from gdna.train.stepping import adam, apply_gradients, set_learning_rate, stepper
from gdna.train.validate import held_out_iou, held_out_sample
from gdna.types import Codes, Subject

Preview = Callable[[AvatarModel], np.ndarray]
"""A picture (H, W, 3), uint8, of what the model can do, shown at every validation."""

ROOTS = 1.25  # correspondences a point that there is room for at first
MOST_ROOM = 4.0  # times that


@dataclass(frozen=True)
class CoarseLosses:
    """Weighted, so that they add up to `total`; `found` is the share of points with a correspondence."""

    total: Float[Tensor, ""]
    occupancy: Float[Tensor, ""]
    shape_code: Float[Tensor, ""]
    scan_offset: Float[Tensor, ""]
    pose_offset: Float[Tensor, ""]
    warp: Float[Tensor, ""]
    bone_occupancy: Float[Tensor, ""]
    joint_weights: Float[Tensor, ""]
    skin: Float[Tensor, ""]
    empty: Float[Tensor, ""]
    found: Float[Tensor, ""]
    dropped: Float[Tensor, ""]  # correspondences that there was no room for


@dataclass(frozen=True)
class Room:
    """How many correspondences a point may have on average. On a GPU that is fixed beforehand, so that nothing waits to
    learn their number; it grows where it did not suffice."""

    points: int | None  # of a person; None: as many correspondences as there are
    share: float = 1.0

    @staticmethod
    def first(device: torch.device, points_per_frame: int) -> Room:
        return Room(points_per_frame + points_per_frame // 8 if device.type == "cuda" else None)

    @property
    def capacity(self) -> int | None:
        return None if self.points is None else 128 * math.ceil(ROOTS * self.share * self.points / 128)

    @property
    def may_grow(self) -> bool:
        return self.points is not None and self.share < MOST_ROOM

    def larger(self) -> Room:
        return replace(self, share=1.25 * self.share)

    def search(self, settings: SearchSettings) -> SearchSettings:
        """For this room."""
        fused = settings.fused
        wider = replace(fused, room=self.share * fused.room, fold_room=self.share * fused.fold_room)
        return replace(settings, fused=wider)


@ends_together
def train_coarse(
    data_dir: Path | str,
    out_dir: Path | str,
    config: ModelConfig | None = None,
    settings: TrainSettings | None = None,
    names: Sequence[str] | None = None,
    preview: Preview | None = None,
    start: Path | str | None = None,
) -> Path:
    """Train on the prepared scans `names` (default: all); returns `out_dir`/checkpoints/last.safetensors.

    Goes on where an earlier run in `out_dir` stopped; a new run begins with the weights of the checkpoint `start`,
    where one is given, whose people may be others. `config` is fitted to the number of scans, betas and bones.
    """
    settings = settings or TrainSettings()
    optim = settings.model.optim
    with matmul_precision("high"):  # of gradients; where points lie is exact whatever stands here
        setting = Setting.open(out_dir, settings)
        fabric = setting.fabric
        data = open_set(data_dir, names, fabric.device, settings.datamodule.placement)
        model = new_model(config or ModelConfig(), data, settings.seed)
        if start is not None:
            begin_with(model, start, data.names)
        model = model.to(fabric.device)
        optimizer = adam([p for p in model.parameters() if p.requires_grad], optim.lr)
        schedule = Schedule.of(len(data), settings, fabric.world_size)
        state = TrainingState({"adam": optimizer}, {"model": model})
        run = Run(setting, schedule, model, state, data)
        held_out = held_out_sample(data, schedule.generator(0), fabric.device)
        body, host_body = NeutralBody.of(to_device(data.body, fabric.device)), body_on(data.body, "cpu")
        empty = EmptySpace.of(data) if settings.model.lambda_empty else None

        room = Room.first(fabric.device, settings.datamodule.points_per_frame)
        learner = CoarseLearner(
            model, optimizer, body, settings.model, settings.trainer.gradient_clip_val, room, fabric.autocast
        )
        learners = learner.recorded()
        for step in run.steps():
            generator = schedule.generator(step, fabric.global_rank)
            indices = schedule.scan_indices(step, fabric.global_rank)
            drawn = CoarseInputs.draw(data, indices, host_body, settings.datamodule.points_per_frame, generator, empty)
            set_learning_rate(optimizer, optim.lr * learning_rate_factor(optim, run.done(step)))
            bootstraps = schedule.epoch(step) < settings.model.nepochs_pretrain
            losses, finite = learners[bootstraps](to_device(drawn, fabric.device))
            known = run.check(step, finite, losses)
            if known and known["dropped"] and learner.room.may_grow:
                learner = replace(learner, room=learner.room.larger())
                learners = learner.recorded()
            run.log(step, losses)
            if run.validates(step):
                run.log_scalars(held_out_iou(model, held_out), step)
                if preview is not None:
                    run.log_image("preview", preview(model), step)
        return run.folder.model


@dataclass(frozen=True)
class CoarseLearner:
    """A step from what it draws to changed parameters; nothing in it waits for the device."""

    model: AvatarModel
    optimizer: torch.optim.Optimizer
    body: NeutralBody
    weights: LossSettings
    limit: float  # of the gradient's norm; 0: none
    room: Room
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    bootstraps: bool = False

    def __call__(self, inputs: CoarseInputs) -> tuple[CoarseLosses, Bool[Tensor, ""]]:
        """The losses before the step, and whether they and their gradient are finite (if not, nothing changed)."""
        losses = coarse_losses(self.model, inputs, self.body, self.weights, self.bootstraps, self.room, self.autocast)
        return losses, apply_gradients(self.optimizer, losses.total, self.limit)

    def recorded(self) -> dict[bool, Callable[[CoarseInputs], tuple[CoarseLosses, Bool[Tensor, ""]]]]:
        """The step as it runs best on the model's device, with the losses on bones and without."""
        device = self.body.vertices.device
        return {b: stepper(replace(self, bootstraps=b), device) for b in (True, False)}


def coarse_losses(
    model: AvatarModel,
    inputs: CoarseInputs,
    body: NeutralBody,
    weights: LossSettings,
    bootstraps: bool,
    room: Room,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> CoarseLosses:
    """Losses of one batch; if it `bootstraps`, also those that show the bones to a model that knows nothing yet.

    Under `autocast` generator and occupancy field run in half precision.
    """
    batch = inputs.batch
    shown = shown_shapes(model, batch, inputs.noise, weights)
    codes = Codes(shown.shown, model.z_details(batch.people))
    with autocast():
        subject = model.subject(codes, batch.betas)
        search = room.search(model.search_settings())
        query = model.occupancy_posed(
            batch.points_posed, batch.bone_transforms, subject, search, capacity=room.capacity
        )
        asks = inputs.empty_points.shape[1] > 0  # kernels want at least one point
        in_empty = model.occupancy_neutral(inputs.empty_points, subject)[0] if asks else None
    occupancy = occupancy_loss(query.logits, batch.occupancy, query.found)
    # The original regularises the shape code twice, as the code of the generator and of the skinning field.
    shape_code = 2 * weights.lambda_reg * code_loss(shown.full)
    scan_offset = weights.lambda_offset * code_loss(shown.scan)
    pose_offset = weights.lambda_pose * shown.pose_loss
    warped = model.to_neutral(batch.vertices_canonical[:, inputs.skin], batch.betas)
    warp = weights.lambda_disp * warp_loss(warped, body.vertices[inputs.skin])
    nothing = torch.zeros_like(occupancy)
    bones = bone_losses(model, inputs, body, weights, subject) if bootstraps else (nothing, nothing)
    skin = nothing
    if weights.lambda_skin:
        skin_weights = model.skin_weights(body.vertices[inputs.skin].expand(len(batch.people), -1, -1), subject)
        skin = weights.lambda_skin * skin_prior_loss(skin_weights, body.skin_weights[inputs.skin])
    empty = nothing if in_empty is None else weights.lambda_empty * outside_loss(in_empty.float())
    return CoarseLosses(
        occupancy + shape_code + scan_offset + pose_offset + warp + bones[0] + bones[1] + skin + empty,
        occupancy,
        shape_code,
        scan_offset,
        pose_offset,
        warp,
        *bones,
        skin,
        empty,
        query.found.float().mean(),
        query.dropped.float(),
    )


def bone_losses(
    model: AvatarModel, inputs: CoarseInputs, body: NeutralBody, weights: LossSettings, subject: Subject
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted: points on bones are inside, joints move with their bones."""
    people = len(subject.betas)
    points = inputs.bone_points.expand(people, -1, -1)
    occupancy = weights.lambda_bone_occ * inside_loss(model.occupancy_neutral(points, subject)[0])
    skin_weights = model.skin_weights(body.bone_ends.expand(people, -1, -1), subject)
    return occupancy, weights.lambda_bone_w * skin_weight_loss(skin_weights, body.bones)


def new_model(config: ModelConfig, data: PreparedSet, seed: int) -> AvatarModel:
    """An untrained model of the set's people, whose normal field and detail codes wait for the fine stage. Scans have
    offsets if `config` has any and somebody has several scans. Raises `GdnaError` where people's codes are to be those
    of scans at rest and there are none."""
    config = replace(
        config,
        stage="coarse",
        num_people=len(data.people),
        num_scans=len(data) if config.num_scans and len(data) > len(data.people) else 0,
        num_betas=data.betas.shape[1],
        num_bones=data.bone_transforms.shape[1],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AvatarModel(config)
    person, at_rest = data.person.cpu(), torch.tensor([is_at_rest(name) for name in data.names])
    from_rest = config.person_code == "rest"
    if from_rest and not at_rest.any():
        raise GdnaError("model.person_code=rest: no scan is named NAME_rest (gdna synthesize rest=only makes them)")
    share = origin_shares(person, at_rest & from_rest)
    if model.scan_offsets is not None:
        model.scan_offsets.set_people(person, share)
    if model.pose_offsets is not None:
        poses = pose_numbers(data.bone_transforms.cpu(), model.parents)
        model.pose_offsets.set_people(poses, person, share)
    model.normal.requires_grad_(False)
    model.z_details.requires_grad_(False)
    return model
