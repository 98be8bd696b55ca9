"""The shape code of a scan, its layers' styles, and small corrections of the body's pose, from samples of inside and
outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gdna.evaluate.sets import evenly
from gdna.fit.evidence import Evidence
from gdna.fit.person_settings import FitSettings
from gdna.fit.phantoms import Phantoms, emptiness, find_phantoms
from gdna.fit.progress import Guess, Progress, Watch
from gdna.fit.samples import Samples
from gdna.fit.wearer import Wearer
from gdna.model.avatar_model import AvatarModel
from gdna.model.codes import CodeStatistics
from gdna.types import Codes, Subject

MATCHED = 8  # times the points of a step are matched at a time
ROUNDS = 4  # of finding correspondences, and what must be empty
NEAR_SHARE = 0.75  # of the points of a step are near the surface
EMPTY_SHARE = 4  # times as many samples as points that shall be empty
LEARNING_RATE, STYLE_RATE = 0.1, 0.3  # of the code and of styles, in standard deviations
POSE_RATE = 0.03  # of the pose, in what it is expected to be off
PLACE_OFF = 0.004  # metres that the body's place is expected to be off per degree of its joints
POSE_PRIOR = 1e-4  # weight of the squared corrections in these units
WARM_UP = 12  # steps: Adam's first go equally far in every number, whether it matters or not
SMALLEST_SPREAD = 1e-3  # of a code's channel that no training person uses


@dataclass(frozen=True)
class ShapeFit:
    """A person's shape code, what the generator's layers are told (None: what the code tells them), and where the body
    turned out to be."""

    z_shape: Float[Tensor, " Z"]
    styles: Float[Tensor, " Y"] | None
    wearer: Wearer

    def codes(self, detail: Float[Tensor, " Zd"]) -> Codes:
        """With a detail code, as the model takes them."""
        return Codes(self.z_shape[None], detail[None], None if self.styles is None else self.styles[None])


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


class Unknowns:
    """What is looked for: the shape code; where `own_styles`, what each layer of the generator is told beside the code,
    in standard deviations of what the training people's codes tell it; rotations and place, in what they may be off."""

    def __init__(self, network: AvatarModel, code: Float[Tensor, " Z"], wearer: Wearer, own_styles: bool, off: float):
        statistics = CodeStatistics.of(network)
        self.network, self.wearer = network, wearer
        self.prior = CodePrior.of(statistics.shape_mean, statistics.shape_std)
        self.offset = self.prior.offset(code).requires_grad_()
        with torch.no_grad():
            told = network.generator.styles_of(network.z_shapes.weight)
        self.spread = told.std(0).clamp_min(SMALLEST_SPREAD)
        self.beside = torch.zeros_like(self.spread).requires_grad_() if own_styles else None
        self.change = torch.zeros(len(wearer.joint_rotations) + 1, 3, device=code.device).requires_grad_()
        self.unit = torch.full_like(self.change, math.radians(off))
        self.unit[-1] = PLACE_OFF * off  # the last is the place

    def groups(self) -> list[dict]:
        """For an optimizer."""
        groups = [{"params": [self.offset], "lr": LEARNING_RATE}, {"params": [self.change], "lr": POSE_RATE}]
        return groups if self.beside is None else [*groups, {"params": [self.beside], "lr": STYLE_RATE}]

    def paces(self, steps: int) -> list[Callable[[int], float]]:
        """Of the groups' learning rates: they fall along half a cosine, and that of the styles rises first."""

        def pace(step: int) -> float:
            return 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))

        paces: list[Callable[[int], float]] = [pace, pace]
        return paces if self.beside is None else [*paces, lambda step: pace(step) * min(1.0, (step + 1) / WARM_UP)]

    def code(self) -> Float[Tensor, " Z"]:
        return self.prior.code(self.offset)

    def styles(self) -> Float[Tensor, " Y"] | None:
        if self.beside is None:
            return None
        return self.network.generator.styles_of(self.code()[None])[0] + self.beside * self.spread

    def current(self) -> Wearer:
        """The body, as it is moved now."""
        change = self.change * self.unit
        return self.wearer.moved(self.wearer.joint_rotations + change[:-1], self.wearer.translation + change[-1])

    def penalty(self, settings: FitSettings, doubt: float) -> Float[Tensor, ""]:
        """Of unlikely codes, `doubt` times as heavy as the settings say, and of large corrections."""
        unlikely = settings.prior * self.offset.square().mean()
        if self.beside is not None:
            unlikely = unlikely + settings.style_prior * self.beside.square().mean()
        return doubt * unlikely + POSE_PRIOR * self.change.square().sum()

    def features(self) -> Float[Tensor, "1 C D H W"]:
        """The person's feature volume."""
        styles, generator = self.styles(), self.network.generator
        return generator(self.code()[None]) if styles is None else generator.of_styles(styles[None])

    @torch.no_grad()
    def found(self) -> ShapeFit:
        """As it is now."""
        return ShapeFit(self.code(), self.styles(), self.current())


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
    """Adam on the shape code from the best of several starts, on the layers' styles, and on the pose, whose joints may
    be `off` so many degrees.

    Correspondences are found at the start and on the way; in between they follow pose and code to first order.
    """
    rng = np.random.default_rng(settings.seed)
    code = CodeStatistics.of(network).shape_mean
    samples = draw_samples(evidence, settings.points, wearer, network, _subject(network, code, wearer), rng)
    unknowns = Unknowns(network, best_start(network, wearer, samples, settings), wearer, settings.styles, off)
    optimizer = torch.optim.Adam(unknowns.groups())
    steps = settings.shape_steps(code.is_cuda)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, unknowns.paces(steps))
    for step in range(steps):
        if step in [steps * part // ROUNDS for part in range(ROUNDS)]:
            known = _Known.of(unknowns, evidence, settings, rng)
        loss, wrong = known.loss(unknowns, settings.points, rng)
        optimizer.zero_grad()
        (loss + unknowns.penalty(settings, evidence.doubt)).backward()
        optimizer.step()
        schedule.step()
        guess = partial(_guess, unknowns, evidence)
        watch(Progress("shape", step + 1, steps, 100 * wrong, "% of samples", guess))
    return unknowns.found()


@dataclass(frozen=True)
class _Known:
    """What the scan says of the person as it is at some step: of points, and of the space around."""

    samples: Samples
    phantoms: Phantoms

    @staticmethod
    def of(unknowns: Unknowns, evidence: Evidence, settings: FitSettings, rng: np.random.Generator) -> _Known:
        network, found, count = unknowns.network, unknowns.found(), MATCHED * settings.points
        subject = _subject(network, found.z_shape, found.wearer)
        samples = draw_samples(evidence, count, found.wearer, network, subject, rng)
        with torch.no_grad():
            subject = replace(subject, features=unknowns.features())
        return _Known(samples, find_phantoms(network, subject, found.wearer, evidence, count // EMPTY_SHARE, rng))

    def loss(self, unknowns: Unknowns, points: int, rng: np.random.Generator) -> tuple[Float[Tensor, ""], float]:
        """Of so many points; and the share of samples that are on the wrong side."""
        features, network = unknowns.features(), unknowns.network
        device = features.device
        drawn = self.samples.take(torch.from_numpy(rng.integers(0, len(self.samples), points)).to(device))
        roots, empty = _neutral(network, unknowns.current(), drawn), self.phantoms.draw(points // EMPTY_SHARE, rng)
        answers = network.occupancy(torch.cat([roots, empty])[None], features)[0][0]
        logits = drawn.table.largest(answers[: len(roots)])
        loss = binary_cross_entropy_with_logits(logits, drawn.inside) + emptiness(answers[len(roots) :])
        return loss, wrong_share(logits, drawn.inside)


@torch.no_grad()
def best_start(network: AvatarModel, wearer: Wearer, samples: Samples, settings: FitSettings) -> Float[Tensor, " Z"]:
    """Of the mean code and those of some training people, as one of their scans shows them, the one that explains the
    samples best."""
    table = trained_codes(network)
    codes = [table.mean(0), *(table[k] for k in (evenly(len(table), settings.starts) if settings.starts else []))]
    neutral, losses = _neutral(network, wearer, samples)[None], []
    for code in codes:
        answers = network.occupancy(neutral, network.generator(code[None]))[0][0]
        losses.append(binary_cross_entropy_with_logits(samples.table.largest(answers), samples.inside))
    return codes[int(torch.stack(losses).argmin())].clone()


@torch.no_grad()
def trained_codes(network: AvatarModel) -> Float[Tensor, "K Z"]:
    """Of all training scans; of people, where the model knows no scans."""
    offsets = network.scan_offsets
    if offsets is None:
        return network.z_shapes.weight
    scans = torch.arange(len(offsets.person), device=offsets.person.device)
    return network.codes(offsets.person, scans).shape


def wrong_share(logits: Float[Tensor, " N"], inside: Float[Tensor, " N"]) -> float:
    """Samples on the wrong side of the surface."""
    wrong: Bool[Tensor, " N"] = (logits > 0) != (inside > 0.5)
    return float(wrong.float().mean())


def _subject(network: AvatarModel, code: Float[Tensor, " Z"], wearer: Wearer) -> Subject:
    """Without features: who asks for correspondences needs none."""
    codes = Codes(code[None], network.z_details.weight.mean(0, keepdim=True))
    return Subject(wearer.betas[None], codes.shape, codes.detail, code.new_empty(1, 0, 1, 1, 1))


@torch.no_grad()
def _guess(unknowns: Unknowns, evidence: Evidence) -> Guess:
    found, network = unknowns.found(), unknowns.network
    codes = found.codes(network.z_details.weight.mean(0))
    return Guess(network, network.subject(codes, found.wearer.betas[None]), found.wearer, evidence)


def _neutral(network: AvatarModel, wearer: Wearer, samples: Samples) -> Float[Tensor, "P 3"]:
    """The samples' roots, with the bones where they are now."""
    points_canonical = samples.roots.carried_back(wearer.transforms())
    return network.to_neutral(points_canonical[None], wearer.betas[None])[0]
