"""The fine stage: the normal field and a detail code per person, learned from a critic of normal maps and from the
normals of scans. Everything of the coarse stage is frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float16
from lightning_fabric import Fabric
from torch import Tensor

from gdna.data.people import people_of
from gdna.data.prepared import PreparedSet
from gdna.errors import GdnaError
from gdna.geometry.arithmetic import matmul_precision
from gdna.model.avatar_model import FINE_PARTS, AvatarModel
from gdna.model.checkpoint import load_extra, load_model
from gdna.model.config import ModelConfig
from gdna.model.training_state import TrainingState
from gdna.train.coarse import Preview
from gdna.train.critic import Critic
from gdna.train.fine_data import FineData
from gdna.train.fine_losses import CriticLosses, FineInputs, FineLosses, Shown, critic_step, field_step
from gdna.train.processes import ends_together
from gdna.train.run_state import Run, Setting
from gdna.train.schedule import Schedule, learning_rate_factor
from gdna.train.settings import LossSettings, TrainSettings, fine_settings
from gdna.train.stepping import adam, apply_gradients, set_learning_rate, stepper
from gdna.train.validate import image_rows

CRITIC_BETAS = (0.0, 0.99)
FINE_STEPS = 10  # of the correspondence search, which the frozen skinning makes easy


@dataclass(frozen=True)
class FineStep:
    """What a step found."""

    field: FineLosses
    critic: CriticLosses | None  # None without a critic
    finite: Bool[Tensor, ""]
    shown: Shown | None  # to the critic

    @property
    def losses(self) -> tuple[object, ...]:
        return (self.field,) if self.critic is None else (self.field, self.critic)


@dataclass(frozen=True)
class Players:
    """Who learns."""

    model: AvatarModel
    critic: Critic
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    averaged: AvatarModel | None = None  # follows the model with momentum `optim.ema`


@dataclass(frozen=True)
class FineLearner:
    """A step from what it draws to changed parameters of field and critic; nothing in it waits for the device if
    `pixels`, the most points of a person in a view, are given."""

    players: Players
    features: Float16[Tensor, "M C D H W"]  # of the scans, or of the cast, where the scans come first
    weights: LossSettings
    limit: float  # of the gradients' norms; 0: none
    pixels: int | None
    fabric: Fabric
    regularised: bool = False

    def __call__(self, inputs: FineInputs) -> FineStep:
        who, weights = self.players, self.weights
        who.critic.requires_grad_(False)
        shown, losses = field_step(who.model, who.critic, inputs, self.features, weights, self.fabric, self.pixels)
        finite = apply_gradients(who.optimizer, losses.total, self.limit)
        if who.averaged is not None:
            follow(who.averaged, who.model, weights.optim.ema)
        if shown is None or not weights.lambda_gan:
            return FineStep(losses, None, finite, shown)
        shown = Shown(shown.real, shown.drawn.detach())
        who.critic.requires_grad_(True)
        opinion = critic_step(who.critic, shown, weights, self.regularised, self.fabric)
        finite &= apply_gradients(who.critic_optimizer, opinion.critic_total, self.limit)
        return FineStep(losses, opinion, finite, shown)

    def recorded(self, rooms: Sequence[int | None]) -> dict[tuple[bool, int | None], Callable[[FineInputs], FineStep]]:
        """The step as it runs best on the device, with the R1 penalty and without, for each room for `pixels`."""
        device = self.features.device
        return {
            (r, room): stepper(replace(self, regularised=r, pixels=room), device)
            for r in (True, False)
            for room in rooms
        }


@ends_together
def train_fine(
    data_dir: Path | str,
    cache_dir: Path | str | None,
    out_dir: Path | str,
    starting_path: Path | str,
    settings: TrainSettings | None = None,
    config: ModelConfig | None = None,
    preview: Preview | None = None,
) -> Path:
    """Refine the coarse model `starting_path` on the scans it was trained on, and return `out_dir`'s checkpoint.

    `cache_dir` holds the coarse model's correspondence cache (None if no loss looks at pictures). Of `config`, the
    normal field, the length of the detail code and the search's steps are used; the rest is the coarse model's. Goes
    on where an earlier run stopped.
    """
    settings = settings or fine_settings()
    optim = settings.model.optim
    with matmul_precision("high"):  # of gradients; where points lie is exact whatever stands here
        setting = Setting.open(out_dir, settings)
        fabric = setting.fabric
        model = refinable(load_model(starting_path), config, settings.seed).to(fabric.device)
        names = trained_names(starting_path, model)
        data = FineData.open(model, data_dir, names, cache_dir, settings)
        critic = new_critic(data.scans, settings.seed).to(fabric.device)
        averaged = copy.deepcopy(model).requires_grad_(False) if optim.ema else model
        learned = [p for p in model.parameters() if p.requires_grad]
        optimizer = adam(learned, optim.lr)
        critic_optimizer = adam(list(critic.parameters()), optim.lr_dis, CRITIC_BETAS)
        schedule = Schedule.of(len(data.scans), settings, fabric.world_size)
        modules = {"model": model, "critic": critic} | ({"averaged": averaged} if optim.ema else {})
        state = TrainingState({"adam": optimizer, "adam_critic": critic_optimizer}, modules)
        run = Run(setting, schedule, averaged, state, data.scans)
        players = Players(model, critic, optimizer, critic_optimizer, averaged if optim.ema else None)
        clip = settings.trainer.gradient_clip_val
        learner = FineLearner(players, data.features, settings.model, clip, None, fabric)
        learners = learner.recorded(data.rooms)
        for step in run.steps():
            indices = schedule.scan_indices(step, fabric.global_rank)
            inputs, room = data.draw(indices, schedule.generator(step, fabric.global_rank), settings)
            factor = learning_rate_factor(optim, run.done(step))
            set_learning_rate(optimizer, optim.lr * factor)
            set_learning_rate(critic_optimizer, optim.lr_dis * factor)
            regularised = settings.model.lambda_grad > 0 and step % settings.model.d_reg_every == 0
            done = learners[regularised, room](inputs)
            run.check(step, done.finite, *done.losses)
            run.log(step, *done.losses)
            if run.validates(step):
                if done.shown is not None:
                    run.log_image("real_fake", image_rows(done.shown.real, done.shown.drawn), step)
                if preview is not None:
                    run.log_image("preview", preview(averaged), step)
        return run.folder.model


def refinable(coarse: AvatarModel, config: ModelConfig | None, seed: int) -> AvatarModel:
    """The coarse model, frozen, with a fresh normal field and fresh detail codes."""
    asked = config or replace(coarse.config, deformer=replace(coarse.config.deformer, max_steps=FINE_STEPS))
    own = replace(
        coarse.config,
        stage="fine",
        dim_detail=asked.dim_detail,
        norm_network=asked.norm_network,
        deformer=replace(coarse.config.deformer, max_steps=asked.deformer.max_steps),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AvatarModel(own)
    kept = {k: v for k, v in coarse.state_dict().items() if not k.startswith(FINE_PARTS)}
    model.load_state_dict(model.state_dict() | kept)
    model.requires_grad_(False)
    model.normal.requires_grad_(True)
    model.z_details.requires_grad_(True)
    return model


def trained_names(path: Path | str, model: AvatarModel) -> tuple[str, ...]:
    """The scans a model was trained on; their people have its codes. Raises `GdnaError` where it does not know them."""
    names = tuple(load_extra(path).get("names", ()))
    if len(people_of(names)) != model.config.num_people:
        raise GdnaError(
            f"{path}: names scans of {len(people_of(names))} people for {model.config.num_people} codes; expected a "
            "coarse model that training has written"
        )
    return names


def new_critic(data: PreparedSet, seed: int) -> Critic:
    assert data.fine is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Critic(data.fine.images.shape[2])


@torch.no_grad()
def follow(averaged: AvatarModel, model: AvatarModel, momentum: float) -> None:
    """Move the average towards the model by 1 - momentum."""
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    slow, fast = zip(*((s, f) for s, f in pairs if f.requires_grad), strict=True)
    torch._foreach_lerp_(slow, fast, 1 - momentum)
