"""A scan as the model sees it: codes looked for where there are none, and the posed mesh of a person with codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gdna.data.prepared import PreparedSet
from gdna.evaluate.settings import EvaluateSettings
from gdna.extract.avatar_mesh import Geometry
from gdna.extract.detail import folds_in_pose
from gdna.extract.pose import pose_mesh
from gdna.generate.people import Model, Person
from gdna.model.codes import CodeStatistics
from gdna.objectives import occupancy_loss
from gdna.types import Codes, PosedMesh


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
    return "fine" if settings.geometry == "fine" else "coarse"


def reconstruct(
    person: Person, bone_transforms: Float[Tensor, "J 4 4"], resolution: int, geometry: Geometry = "fine"
) -> PosedMesh:
    """The person's mesh in the pose of a scan, with this pose's folds; bone transforms map canonical to posed."""
    transforms = bone_transforms.to(person.model.device)
    mesh = folds_in_pose(person.mesh(resolution, geometry), transforms)
    return next(iter(pose_mesh(mesh, transforms[None])))


def fit_codes(model: Model, data: PreparedSet, index: int, settings: CodeFitSettings) -> Codes:
    """The shape code that explains the occupancy samples of a scan, everything else frozen, its body known; the mean
    detail code. `data` must be opened with fields "coarse"."""
    network = model.network
    statistics = CodeStatistics.of(network)
    spread = statistics.shape_std.clamp_min(1e-3)
    offset = torch.zeros_like(spread, requires_grad=True)  # in standard deviations
    optimizer = torch.optim.Adam([offset], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.steps, 1))
    generator = torch.Generator().manual_seed(settings.seed)
    search, detail = network.search_settings(), statistics.detail_mean[None]
    for _ in range(settings.steps):
        batch = data.draw_coarse(torch.tensor([index]), generator, settings.points)
        codes = Codes((statistics.shape_mean + offset * spread)[None], detail)
        subject = network.subject(codes, batch.betas)
        query = network.occupancy_posed(batch.points_posed, batch.bone_transforms, subject, search)
        loss = occupancy_loss(query.logits, batch.occupancy, query.found)
        optimizer.zero_grad()
        (loss + settings.prior * F.mse_loss(offset, torch.zeros_like(offset))).backward()
        optimizer.step()
        schedule.step()
    return Codes((statistics.shape_mean + offset.detach() * spread)[None], detail)
