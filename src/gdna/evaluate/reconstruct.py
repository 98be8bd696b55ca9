"""A scan as the model sees it: codes looked for where there are none, and the posed mesh of a person with codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.data.prepared import PreparedSet
from gdna.evaluate.settings import EvaluateSettings
from gdna.extract.avatar_mesh import Geometry
from gdna.extract.detail import folds_in_pose
from gdna.extract.pose import pose_mesh
from gdna.generate.people import Model, Person
from gdna.model.codes import CodeStatistics
from gdna.objectives import occupancy_loss
from gdna.types import AvatarMesh, Codes, PosedMesh

SCANS_AT_ONCE = 10


@dataclass(frozen=True)
class CodeFitSettings:
    """Test-time optimisation of the shape code alone."""

    steps: int = 200
    learning_rate: float = 0.2  # in standard deviations
    points: int = 2000  # near the surface, and an eighth as many in the box, each step
    prior: float = 1e-3  # weight of the squared distance to the mean, in standard deviations, mean over channels
    seed: int = 0


def geometry_of(settings: EvaluateSettings) -> Geometry:
    """As the settings say."""
    return cast(Geometry, settings.geometry)


def reconstruct(
    person: Person, bone_transforms: Float[Tensor, "J 4 4"], resolution: int, geometry: Geometry = "fine"
) -> PosedMesh:
    """The person's mesh in the pose of a scan, with this pose's folds; bone transforms map canonical to posed."""
    return in_pose(person.mesh(resolution, geometry), bone_transforms)


def in_pose(mesh: AvatarMesh, bone_transforms: Float[Tensor, "J 4 4"]) -> PosedMesh:
    """A canonical mesh in a pose, with this pose's folds."""
    transforms = bone_transforms.to(mesh.vertices)
    return next(iter(pose_mesh(folds_in_pose(mesh, transforms), transforms[None])))


def fit_codes(model: Model, data: PreparedSet, indices: Sequence[int], settings: CodeFitSettings) -> Codes:
    """The shape codes (a row each) that explain the occupancy samples of some scans, everything else frozen, their
    bodies known; the mean detail code. `data` must be opened with fields "coarse".

    Scans are looked for side by side, `SCANS_AT_ONCE` in a step: their losses are added, so that none sees another.
    """
    codes = [_fit_some(model, data, some, settings) for some in torch.tensor(indices).split(SCANS_AT_ONCE)]
    return Codes(torch.cat([c.shape for c in codes]), torch.cat([c.detail for c in codes]))


def _fit_some(model: Model, data: PreparedSet, indices: Int[Tensor, " B"], settings: CodeFitSettings) -> Codes:
    network = model.network
    statistics = CodeStatistics.of(network)
    spread = statistics.shape_std.clamp_min(1e-3)
    offset = torch.zeros_like(spread).repeat(len(indices), 1).requires_grad_()  # in standard deviations
    optimizer = torch.optim.Adam([offset], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.steps, 1))
    generator = torch.Generator().manual_seed(settings.seed)
    search, detail = network.search_settings(), statistics.detail_mean.repeat(len(indices), 1)
    for _ in range(settings.steps):
        batch = data.draw_coarse(indices, generator, settings.points)
        codes = Codes(statistics.shape_mean + offset * spread, detail)
        subject = network.subject(codes, batch.betas)
        query = network.occupancy_posed(batch.points_posed, batch.bone_transforms, subject, search)
        loss = occupancy_loss(query.logits, batch.occupancy, query.found) + settings.prior * offset.square().mean()
        optimizer.zero_grad()
        (loss * len(indices)).backward()  # means over scans become sums
        optimizer.step()
        schedule.step()
    return Codes(statistics.shape_mean + offset.detach() * spread, detail)
