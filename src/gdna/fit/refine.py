"""The networks tuned to one person: a residual of the feature volume, the occupancy field and the normal field.

Skinning and warp stay as they are, so the person moves as before; where the scan says nothing, the occupancy is held as
the codes alone had it, moved as the surface around the hole moves onto the scan.
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

from gdna.deform.blend import blend_transforms, transform
from gdna.extract.avatar_mesh import MeshQuality, extract_avatar
from gdna.fit.codes import wrong_share
from gdna.fit.details import seen_normals
from gdna.fit.person_settings import FitSettings
from gdna.fit.phantoms import emptiness, find_phantoms
from gdna.fit.progress import Guess, Progress, Watch, unwatched
from gdna.fit.residual import add_residual
from gdna.fit.samples import RootTable, Samples, both
from gdna.fit.showing import Showing
from gdna.model.avatar_model import AvatarModel

NEAR_SHARE = 0.85  # of the points of a step
FEATURE_RATE, FIELD_RATE = 2e-2, 1e-3
FEATURE_PRIOR = 1e-4  # of the squared residual of the feature volume
HELD = 0.5  # weight of the cross entropy against what the codes say, where the scan says nothing
HELD_SIGMA = 0.01  # metres around the codes' surface, where such points are
HELD_DEPTH = (0.02, 0.06)  # metres under it
HELD_REACH = 0.05  # metres that it may move
HELD_CELLS, HELD_COPIES = 128, 4  # of the mesh whose vertices they lie around; points a vertex
HELD_SHARE = 0.25  # as many points more a step
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

    def change(self, logits: Float[Tensor, " N"]) -> Float[Tensor, ""]:
        """Cross entropy of other logits at these points, mean."""
        wanted = self.logits.sigmoid()
        return binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / max(len(wanted), 1)


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
    known, held = _known_points(start), _held_points(start, rng)
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
        loss = loss + emptiness(empty) + HELD * still.change(others)
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
def _held_points(start: Guess, rng: np.random.Generator) -> _Held:
    """Neutral points around the surface that the codes make, where the scan does not show it, and well under it
    everywhere: a scan with holes says little of what is deep inside.

    A code that is 1 cm off at the rim of a hole is so in the hole too, and what is drawn to the scan would end in a
    step. So the surface moves onto the scan, over holes as its surroundings do, and the points with it; the logits are
    those of where they were.
    """
    wearer, network, subject = start.wearer, start.network, start.subject
    if start.evidence.solids is not None:
        return _Held(subject.betas.new_empty(0, 3), subject.betas.new_empty(0))
    skin, joints = wearer.vertices_canonical, wearer.joints_canonical
    mesh = extract_avatar(network, subject, skin, joints, wearer.parents, HELD_CELLS, MeshQuality("coarse"))
    posed = transform(blend_transforms(mesh.skin_weights[None], wearer.transforms()[None])[0], mesh.vertices)
    hidden = torch.from_numpy(~Showing.of(posed.cpu().double().numpy(), start.evidence).shown).to(skin.device)
    around = mesh.vertices[hidden].repeat(HELD_COPIES, 1)
    around = around + torch.from_numpy(HELD_SIGMA * rng.normal(size=tuple(around.shape))).to(around)
    depth = torch.from_numpy(rng.uniform(*HELD_DEPTH, (len(mesh.vertices), 1))).to(around)
    points = torch.cat([around, mesh.vertices - depth * mesh.normals])
    moved = add_residual(mesh, wearer.transforms(), start.evidence, HELD_REACH, unwatched)
    shift = moved.vertices - mesh.vertices
    shift = torch.cat([shift[hidden].repeat(HELD_COPIES, 1), shift])
    logits = network.occupancy_neutral(network.to_neutral(points[None], subject.betas), subject)[0][0]
    return _Held(network.to_neutral((points + shift)[None], subject.betas)[0], logits)
