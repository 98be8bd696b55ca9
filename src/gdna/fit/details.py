"""The detail code of a scan, from its normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import blend_transforms
from gdna.fields.normal import NormalField
from gdna.fit.codes import CodePrior
from gdna.fit.matching import match
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Guess, Progress, Watch
from gdna.geometry.linalg import matvec
from gdna.model.codes import CodeStatistics

MATCHED = 8  # times the points of a step
LEARNING_RATE = 0.1  # of the code, in standard deviations
NEAR_LOGIT = 10.0  # surface points farther from the model's surface than this logit show something else


@dataclass(frozen=True)
class SeenNormals:
    """The scan's normals, carried back to canonical orientation, where the model has its surface."""

    points_neutral: Float[Tensor, "N 3"]
    read: Float[Tensor, "N K"]  # of the occupancy field, by the normal field
    normals: Float[Tensor, "N 3"]  # unit
    local_pose: Float[Tensor, "N C"] | None  # where the normal field sees the pose

    def __len__(self) -> int:
        return len(self.normals)

    def __getitem__(self, index: Tensor) -> SeenNormals:
        pose = None if self.local_pose is None else self.local_pose[index]
        return SeenNormals(self.points_neutral[index], self.read[index], self.normals[index], pose)

    def predicted(self, field: NormalField, detail: Float[Tensor, " Zd"]) -> Float[Tensor, "N 3"]:
        """What the field says there."""
        pose = None if self.local_pose is None else self.local_pose[None]
        return field(self.points_neutral[None], self.read[None], detail[None], pose)[0]


@torch.no_grad()
def seen_normals(guess: Guess, count: int, rng: np.random.Generator) -> SeenNormals:
    """At most `count` of the scan's surface points. A posed normal is J^-T times the canonical one, so back by J^T; the
    model takes the blended transform for J."""
    network, subject, wearer, evidence = guess.network, guess.subject, guess.wearer, guess.evidence
    index = rng.permutation(len(evidence.surface_points))[:count]
    points, normals = (
        torch.from_numpy(values[index]).to(subject.betas)
        for values in (evidence.surface_points, evidence.surface_normals)
    )
    matches = match(points, wearer, network.weights_at(subject))
    points_neutral = network.to_neutral(matches.points_canonical[None], subject.betas)
    logits, read = network.read_neutral(points_neutral, subject)
    transforms, head = wearer.transforms()[None], network.normal.head
    blended = blend_transforms(matches.weights[None], transforms)[0]
    pose = None if head is None else head.local_pose(matches.weights[None], transforms)[0]
    back = torch.nn.functional.normalize(matvec(blended[..., :3].mT, normals), dim=-1)
    kept = (matches.found & (logits[0].abs() < NEAR_LOGIT)).nonzero()[:, 0]
    return SeenNormals(points_neutral[0], read[0], back, pose)[kept]


def fit_detail(guess: Guess, settings: FitSettings, watch: Watch) -> Float[Tensor, " Zd"]:
    """Adam on the detail code alone, from the mean; the mean itself where the model predicts no normals."""
    network, rng = guess.network, np.random.default_rng(settings.seed)
    statistics = CodeStatistics.of(network)
    prior = CodePrior.of(statistics.detail_mean, statistics.detail_std)
    if network.config.stage != "fine" or settings.detail_steps == 0:
        return statistics.detail_mean
    seen = seen_normals(guess, MATCHED * settings.points, rng)
    if len(seen) == 0:
        return statistics.detail_mean
    offset, weight = torch.zeros_like(prior.mean).requires_grad_(), guess.evidence.doubt * settings.prior
    optimizer = torch.optim.Adam([offset], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.detail_steps)
    for step in range(settings.detail_steps):
        drawn = seen[torch.from_numpy(rng.integers(0, len(seen), settings.points // 2)).to(offset.device)]
        normals = drawn.predicted(network.normal, prior.code(offset))
        cosine = (normals * drawn.normals).sum(-1).mean()
        optimizer.zero_grad()
        (1 - cosine + weight * offset.square().mean()).backward()
        optimizer.step()
        schedule.step()
        watch(Progress("detail", step + 1, settings.detail_steps, 1 - cosine.item(), "1 - cosine"))
    return prior.code(offset).detach()
