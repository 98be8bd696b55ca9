"""The coarse stage: shape, skinning and body-shape warp, learned from the occupancy of posed scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.data.batches import CoarseBatch
from gdna.data.people import people_of
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import PreparedBody
from gdna.errors import GdnaError
from gdna.model.avatar_model import FINE_PARTS, AvatarModel
from gdna.model.checkpoint import check_tensors, load_extra, load_model
from gdna.model.config import ModelConfig
from gdna.model.training_state import TrainingState
from gdna.objectives import (
    bone_ends,
    bone_points,
    code_loss,
    inside_loss,
    occupancy_loss,
    skin_prior_loss,
    skin_weight_loss,
    warp_loss,
)
from gdna.train.loading import open_set, to_device
from gdna.train.run_state import Run, Setting, matmul_precision, training_precision
from gdna.train.schedule import Schedule, learning_rate_factor, set_learning_rate
from gdna.train.settings import LossSettings, Precision, TrainSettings
from gdna.train.validate import held_out_iou, held_out_sample

Preview = Callable[[AvatarModel], np.ndarray]
"""A picture (H, W, 3), uint8, of what the model can do, shown at every validation."""

POINTS_PER_BONE = 5
SKIN_POINTS = 1000  # a person and step


@dataclass(frozen=True)
class CoarseLosses:
    """Weighted, so that they add up to `total`; `found` is the share of points with a correspondence."""

    total: Float[Tensor, ""]
    occupancy: Float[Tensor, ""]
    shape_code: Float[Tensor, ""]
    warp: Float[Tensor, ""]
    bone_occupancy: Float[Tensor, ""]
    joint_weights: Float[Tensor, ""]
    skin: Float[Tensor, ""]
    found: Float[Tensor, ""]


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
    where one is given. `config` is fitted to the number of scans, betas and bones.
    """
    settings = settings or TrainSettings()
    optim = settings.model.optim
    if settings.trainer.precision is not Precision.full:
        raise GdnaError("trainer.precision: the coarse stage's correspondence search needs 32-true")
    with training_precision(settings.trainer):
        setting = Setting.open(out_dir, settings)
        fabric = setting.fabric
        data = open_set(data_dir, names, fabric.device, settings.datamodule.placement)
        model = new_model(config or ModelConfig(), data, settings.seed)
        if start is not None:
            begin_with(model, start, data.people)
        model = model.to(fabric.device)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=optim.lr)
        schedule = Schedule.of(len(data), settings, fabric.world_size)
        state = TrainingState({"adam": optimizer}, {"model": model})
        run = Run(setting, schedule, model, state, data)
        held_out = held_out_sample(data, schedule.generator(0), fabric.device)
        body = to_device(data.body, fabric.device)

        for step in run.steps():
            generator = schedule.generator(step, fabric.global_rank)
            indices = schedule.scan_indices(step, fabric.global_rank)
            batch = data.draw_coarse(indices, generator, settings.datamodule.points_per_frame)
            batch = to_device(batch, fabric.device)
            bootstraps = schedule.epoch(step) < settings.model.nepochs_pretrain
            losses = coarse_losses(model, batch, body, settings.model, generator, bootstraps)
            set_learning_rate(optimizer, optim.lr * learning_rate_factor(optim, step, schedule.steps))
            run.update(optimizer, losses.total, losses, step)
            run.log(step, losses)
            if run.validates(step):
                run.log_scalars(held_out_iou(model, held_out), step)
                if preview is not None:
                    run.log_image("preview", preview(model), step)
        return run.folder.model


def begin_with(model: AvatarModel, start: Path | str, people: tuple[str, ...]) -> None:
    """Give an untrained model the coarse parts of a checkpoint. Raises `GdnaError` where people or sizes differ."""
    if people_of(load_extra(start).get("names", ())) != people:
        raise GdnaError(f"{start}: trained on other people than these {len(people)}; leave starting_path out")
    parts = {k: v for k, v in load_model(start).state_dict().items() if not k.startswith(FINE_PARTS)}
    check_tensors(start, parts, {k: v for k, v in model.state_dict().items() if not k.startswith(FINE_PARTS)})
    model.load_state_dict(model.state_dict() | parts)


def coarse_losses(
    model: AvatarModel,
    batch: CoarseBatch,
    body: PreparedBody,
    weights: LossSettings,
    generator: torch.Generator,
    bootstraps: bool,
) -> CoarseLosses:
    """Losses of one batch; if it `bootstraps`, also those that show the bones to a model that knows nothing yet."""
    people = len(batch.people)
    codes = model.codes(batch.people)
    subject = model.subject(codes, batch.betas)
    with matmul_precision("highest"):
        query = model.occupancy_posed(batch.points_posed, batch.bone_transforms, subject, model.search_settings())
    occupancy = occupancy_loss(query.logits, batch.occupancy, query.found)
    # The original regularises the shape code twice, as the code of the generator and of the skinning field.
    shape_code = 2 * weights.lambda_reg * code_loss(codes.shape)
    warped = model.to_neutral(batch.vertices_canonical, batch.betas)
    warp = weights.lambda_disp * warp_loss(warped, body.vertices_neutral)
    bone_occupancy = joint_weights = skin = torch.zeros_like(occupancy)
    if bootstraps:
        parents = tuple(body.parents.tolist())
        points = bone_points(body.joints_neutral, parents, POINTS_PER_BONE, generator).expand(people, -1, -1)
        bone_occupancy = weights.lambda_bone_occ * inside_loss(model.occupancy_neutral(points, subject)[0])
        ends, bones = bone_ends(body.joints_neutral, parents)
        skin_weights = model.skin_weights(ends.expand(people, -1, -1), subject)
        joint_weights = weights.lambda_bone_w * skin_weight_loss(skin_weights, bones)
    if weights.lambda_skin:
        chosen = torch.randint(len(body.skin_weights), (SKIN_POINTS,), generator=generator, device=generator.device)
        points = body.vertices_neutral[chosen.to(batch.betas.device)].expand(people, -1, -1)
        wanted = body.skin_weights[chosen.to(batch.betas.device)]
        skin = weights.lambda_skin * skin_prior_loss(model.skin_weights(points, subject), wanted)
    total = occupancy + shape_code + warp + bone_occupancy + joint_weights + skin
    found = query.found.float().mean()
    return CoarseLosses(total, occupancy, shape_code, warp, bone_occupancy, joint_weights, skin, found)


def new_model(config: ModelConfig, data: PreparedSet, seed: int) -> AvatarModel:
    """An untrained model of the set's people, whose normal field and detail codes wait for the fine stage."""
    config = replace(
        config,
        stage="coarse",
        num_people=len(data.people),
        num_betas=data.betas.shape[1],
        num_bones=data.bone_transforms.shape[1],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AvatarModel(config)
    model.normal.requires_grad_(False)
    model.z_details.requires_grad_(False)
    return model
