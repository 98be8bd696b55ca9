"""The shape code of a scan, and small corrections of the body's pose, from samples of inside and outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gdna.evaluate.sets import evenly
from gdna.fit.evidence import Evidence
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Guess, Progress, Watch
from gdna.fit.samples import Samples
from gdna.fit.wearer import Wearer
from gdna.model.avatar_model import AvatarModel
from gdna.model.codes import CodeStatistics
from gdna.types import Codes, Subject

MATCHED = 8  # times the points of a step are matched at a time
NEAR_SHARE = 0.75  # of the points of a step are near the surface
LEARNING_RATE = 0.1  # of the code, in standard deviations
POSE_RATE = 0.03  # of the pose, in what it is expected to be off
PLACE_OFF = 0.004  # metres that the body's place is expected to be off per degree of its joints
POSE_PRIOR = 1e-4  # weight of the squared corrections in these units
SMALLEST_SPREAD = 1e-3  # of a code's channel that no training person uses


@dataclass(frozen=True)
class ShapeFit:
    """A person's shape code and where the body turned out to be."""

    z_shape: Float[Tensor, " Z"]
    wearer: Wearer


@dataclass(frozen=True)
class CodePrior:
    """Codes as offsets from the mean in standard deviations of the training people's."""

    mean: Float[Tensor, " Z"]
    spread: Float[Tensor, " Z"]

    @staticmethod
    def of(mean: Float[Tensor, " Z"], deviation: Float[Tensor, " Z"]) -> CodePrior:
        return CodePrior(mean, deviation.clamp_min(SMALLEST_SPREAD))

    def code(self, offset: Float[Tensor, " Z"]) -> Float[Tensor, " Z"]:
        return self.mean + offset * self.spread

    def offset(self, code: Float[Tensor, " Z"]) -> Float[Tensor, " Z"]:
        return (code - self.mean) / self.spread


def draw_samples(
    evidence: Evidence, count: int, wearer: Wearer, network: AvatarModel, subject: Subject, rng: np.random.Generator
) -> Samples:
    """`count` samples with a correspondence (or a little fewer), three quarters of them near the surface, shuffled."""
    near = rng.permutation(len(evidence.near_points))[: int(NEAR_SHARE * count)]
    box = rng.permutation(len(evidence.box_points))[: count - len(near)]
    points = np.concatenate([evidence.near_points[near], evidence.box_points[box]])
    inside = np.concatenate([evidence.near_inside[near], evidence.box_inside[box]])
    order = rng.permutation(len(points))
    return Samples.of(points[order], inside[order], wearer, network.weights_at(subject))


def fit_shape(
    network: AvatarModel, wearer: Wearer, evidence: Evidence, settings: FitSettings, off: float, watch: Watch
) -> ShapeFit:
    """Adam on the shape code from the best of several starts, and on the pose, whose joints may be `off` so many
    degrees.

    Correspondences are found at the start and twice on the way; in between they follow pose and code to first order.
    """
    rng = np.random.default_rng(settings.seed)
    statistics = CodeStatistics.of(network)
    prior = CodePrior.of(statistics.shape_mean, statistics.shape_std)
    code, current = statistics.shape_mean, wearer
    samples = draw_samples(evidence, MATCHED * settings.points, wearer, network, _subject(network, code, wearer), rng)
    code = best_start(
        network, wearer, samples.take(torch.arange(min(settings.points, len(samples)), device=code.device)), settings
    )
    offset = prior.offset(code).requires_grad_()
    change = torch.zeros(len(wearer.joint_rotations) + 1, 3, device=code.device).requires_grad_()
    unit = torch.full_like(change, math.radians(off))
    unit[-1] = PLACE_OFF * off  # the last is the place
    groups = [{"params": [offset], "lr": LEARNING_RATE}, {"params": [change], "lr": POSE_RATE}]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.steps, 1))
    for step in range(settings.steps):
        code = prior.code(offset)
        current = _moved(wearer, change * unit)
        if step in (settings.steps // 3, 2 * settings.steps // 3):
            subject = _subject(network, code.detach(), wearer)
            samples = draw_samples(evidence, MATCHED * settings.points, current, network, subject, rng)
        drawn = samples.take(torch.from_numpy(rng.integers(0, len(samples), settings.points)).to(code.device))
        logits = _logits(network, code, current, drawn)
        loss = binary_cross_entropy_with_logits(logits, drawn.inside)
        loss = loss + settings.prior * offset.square().mean() + POSE_PRIOR * change.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = 100 * wrong_share(logits, drawn.inside)
        guess = partial(_guess, network, code.detach(), current, evidence)
        watch(Progress("shape", step + 1, settings.steps, error, "% of samples", guess))
    with torch.no_grad():
        return ShapeFit(prior.code(offset).detach(), _moved(wearer, change * unit))


def _moved(wearer: Wearer, change: Float[Tensor, "J1 3"]) -> Wearer:
    """By changes of the joint rotations and, last, of the translation."""
    return wearer.moved(wearer.joint_rotations + change[:-1], wearer.translation + change[-1])


@torch.no_grad()
def best_start(network: AvatarModel, wearer: Wearer, samples: Samples, settings: FitSettings) -> Float[Tensor, " Z"]:
    """Of the mean code and those of some training people, the one that explains the samples best."""
    table = network.z_shapes.weight
    people = evenly(len(table), settings.starts) if settings.starts else []
    codes = [table.mean(0), *(table[person] for person in people)]
    losses = [binary_cross_entropy_with_logits(_logits(network, c, wearer, samples), samples.inside) for c in codes]
    return codes[int(torch.stack(losses).argmin())].clone()


def wrong_share(logits: Float[Tensor, " N"], inside: Float[Tensor, " N"]) -> float:
    """Samples on the wrong side of the surface."""
    wrong: Bool[Tensor, " N"] = (logits > 0) != (inside > 0.5)
    return float(wrong.float().mean())


def _subject(network: AvatarModel, code: Float[Tensor, " Z"], wearer: Wearer) -> Subject:
    """Without features: who asks for correspondences needs none."""
    codes = Codes(code[None], network.z_details.weight.mean(0, keepdim=True))
    return Subject(wearer.betas[None], codes.shape, codes.detail, code.new_empty(1, 0, 1, 1, 1))


@torch.no_grad()
def _guess(network: AvatarModel, code: Float[Tensor, " Z"], wearer: Wearer, evidence: Evidence) -> Guess:
    detail = network.z_details.weight.mean(0, keepdim=True)
    wearer = wearer.moved(wearer.joint_rotations.detach(), wearer.translation.detach())
    return Guess(network, network.subject(Codes(code[None], detail), wearer.betas[None]), wearer, evidence)


def _logits(network: AvatarModel, code: Float[Tensor, " Z"], wearer: Wearer, samples: Samples) -> Float[Tensor, " N"]:
    points_canonical = samples.roots.carried_back(wearer.transforms())
    points_neutral = network.to_neutral(points_canonical[None], wearer.betas[None])
    return samples.table.largest(network.occupancy(points_neutral, network.generator(code[None]))[0][0])
