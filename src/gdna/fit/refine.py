"""The networks tuned to one person: a residual of the feature volume, the occupancy field and the normal field.

Skinning and warp stay as they are, so the person moves as before; where the scan says nothing, the occupancy is held
where the codes alone had it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gdna.fit.codes import wrong_share
from gdna.fit.details import seen_normals
from gdna.fit.person_settings import FitSettings
from gdna.fit.phantoms import emptiness, find_phantoms
from gdna.fit.progress import Guess, Progress, Watch
from gdna.fit.samples import RootTable, Samples, both
from gdna.model.avatar_model import AvatarModel

NEAR_SHARE = 0.85  # of the points of a step
FEATURE_RATE, FIELD_RATE = 2e-2, 1e-3
FEATURE_PRIOR = 1e-4  # of the squared residual of the feature volume
HELD = 1e-3  # weight of the squared change of logits where the scan says nothing
HELD_AT = 0.08  # metres from the scan's surface to the skin there
HELD_SIGMA = 0.02  # metres around the body, where such points are looked for
HELD_SHARE, HELD_TRIES = 0.25, 4  # as many points more a step; times those of a step are tried
EMPTY, EMPTY_SHARE = 4, 0.15  # points that shall be empty: times those of a step, and as many more a step
NORMAL_SHARE = 0.5  # as many steps for the normal field
NORMAL_RATE = 5e-4


@dataclass(frozen=True)
class _Held:
    """Neutral points whose logits shall stay."""

    neutral: Float[Tensor, "N 3"]
    logits: Float[Tensor, " N"]

    def draw(self, count: int, rng: np.random.Generator) -> _Held:
        """None, where the scan shows everything."""
        some = rng.integers(0, len(self.logits), count) if len(self.logits) else np.zeros(0, np.int64)
        index = torch.from_numpy(some).to(self.logits.device)
        return _Held(self.neutral[index], self.logits[index])


@dataclass(frozen=True)
class _Known:
    """Samples of known occupancy, their roots as neutral points; those near the surface come first."""

    neutral: Float[Tensor, "P 3"]
    table: RootTable
    inside: Float[Tensor, " N"]
    near: int

    def draw(self, count: int, rng: np.random.Generator) -> _Known:
        """Most of them near the surface."""
        near = rng.integers(0, self.near, int(NEAR_SHARE * count))
        box = rng.integers(self.near, len(self.inside), count - len(near))
        index = torch.from_numpy(np.concatenate([near, box])).to(self.inside.device)
        rows, table = self.table.take(index)
        return _Known(self.neutral[rows], table, self.inside[index], len(near))


def refine(start: Guess, settings: FitSettings, watch: Watch) -> Guess:
    """Adam on a copy of the networks; the model itself is left as it is. Returns the copy with the person in it."""
    rng = np.random.default_rng(settings.seed)
    tuned = copy.deepcopy(start.network).requires_grad_(False)
    tuned.occupancy.requires_grad_(True)
    known, held = _known_points(start), _held_points(start, settings.points, rng)
    phantoms = find_phantoms(start.network, start.subject, start.wearer, start.evidence, EMPTY * settings.points, rng)
    features = start.subject.features
    residual = torch.zeros_like(features).requires_grad_()
    fields = list(tuned.occupancy.parameters())
    optimizer = torch.optim.Adam([{"params": [residual], "lr": FEATURE_RATE}, {"params": fields, "lr": FIELD_RATE}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.refine_steps, 1))
    for step in range(settings.refine_steps):
        drawn = known.draw(settings.points, rng)
        still = held.draw(int(HELD_SHARE * settings.points), rng)
        asked = [drawn.neutral, still.neutral, phantoms.draw(int(EMPTY_SHARE * settings.points), rng)]
        answers = tuned.occupancy(torch.cat(asked)[None], features + residual)[0][0]
        roots, others, empty = answers.split([len(points) for points in asked])
        logits = drawn.table.largest(roots)
        loss = binary_cross_entropy_with_logits(logits, drawn.inside) + FEATURE_PRIOR * residual.square().mean()
        loss = loss + emptiness(empty) + HELD * (others - still.logits).square().sum() / max(len(others), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = 100 * wrong_share(logits, drawn.inside)
        guess = partial(_with_features, start, tuned, residual)
        watch(Progress("refine", step + 1, settings.refine_steps, error, "% of samples", guess))
    refined = _with_features(start, tuned.requires_grad_(False), residual)
    if refined.network.config.stage == "fine":
        _refine_normals(refined, settings, rng, watch)
    return refined


def _with_features(start: Guess, network: AvatarModel, residual: Float[Tensor, "1 C D H W"]) -> Guess:
    features = start.subject.features + residual.detach()
    return replace(start, network=network, subject=replace(start.subject, features=features))


def _refine_normals(refined: Guess, settings: FitSettings, rng: np.random.Generator, watch: Watch) -> None:
    """Tune the normal field of `refined` to the scan's normals."""
    field, detail = refined.network.normal, refined.subject.detail
    seen = seen_normals(refined, len(refined.evidence.surface_points), rng)
    steps = int(NORMAL_SHARE * settings.refine_steps) if len(seen) else 0
    field.requires_grad_(True)
    optimizer = torch.optim.Adam(field.parameters(), lr=NORMAL_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for step in range(steps):
        drawn = seen[torch.from_numpy(rng.integers(0, len(seen), settings.points // 2)).to(detail.device)]
        normals = drawn.predicted(field, detail[0])
        loss = 1 - (normals * drawn.normals).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        watch(Progress("refine normals", step + 1, steps, loss.item(), "1 - cosine"))
    field.requires_grad_(False)


@torch.no_grad()
def _known_points(start: Guess) -> _Known:
    network, subject, evidence = start.network, start.subject, start.evidence
    weights_at = network.weights_at(subject)
    near = Samples.of(evidence.near_points, evidence.near_inside, start.wearer, weights_at)
    box = Samples.of(evidence.box_points, evidence.box_inside, start.wearer, weights_at)
    every = both(near, box)
    neutral = network.to_neutral(every.roots.points_canonical[None], subject.betas)[0]
    return _Known(neutral, every.table, every.inside, len(near))


@torch.no_grad()
def _held_points(start: Guess, count: int, rng: np.random.Generator) -> _Held:
    """Neutral points around the body, as it is posed far from all that the scan shows, and the logits there."""
    from scipy.spatial import cKDTree

    wearer = start.wearer
    vertices = wearer.vertices_canonical
    index = torch.from_numpy(rng.integers(0, len(vertices), HELD_TRIES * count)).to(vertices.device)
    noise = torch.from_numpy(HELD_SIGMA * rng.normal(size=(len(index), 3))).to(vertices)
    distance = cKDTree(start.evidence.surface_points).query(wearer.vertices()[index].cpu().numpy())[0]
    far = torch.from_numpy(distance > HELD_AT).to(vertices.device)
    neutral = start.network.to_neutral((vertices[index] + noise)[far][None], start.subject.betas)
    return _Held(neutral[0], start.network.occupancy_neutral(neutral, start.subject)[0][0])
