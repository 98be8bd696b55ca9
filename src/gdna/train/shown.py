"""The shape codes that a coarse step shows its scans by, and how it is learned what the pose does to shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.data.batches import CoarseBatch
from gdna.model.avatar_model import AvatarModel
from gdna.model.pose_offsets import pose_numbers
from gdna.objectives import code_loss
from gdna.train.settings import LossSettings

BETWEEN_PEOPLE = 0.4  # weight of people's codes beside scans' offsets: so much more than the pose is in them


@dataclass(frozen=True)
class CodeNoise:
    """What a step draws for the codes of B scans."""

    pose: Float[Tensor, "B P"]  # standard normal, for the pose's numbers
    coin: Float[Tensor, " B"]  # uniform in [0, 1): whether a scan's own offset is left out

    @staticmethod
    def draw(count: int, numbers: int, generator: torch.Generator) -> CodeNoise:
        device = generator.device
        pose = torch.randn(count, numbers, generator=generator, device=device)
        return CodeNoise(pose, torch.rand(count, generator=generator, device=device))


@dataclass(frozen=True)
class ShownShapes:
    """Shape codes of a step's B scans."""

    shown: Float[Tensor, "B Z"]
    full: Float[Tensor, "B Z"]  # with the scans' own offsets
    scan: Float[Tensor, "B Z"]  # these
    pose_loss: Float[Tensor, ""]  # squared error of what the pose does, as a regression on the codes


def shown_shapes(model: AvatarModel, batch: CoarseBatch, noise: CodeNoise, weights: LossSettings) -> ShownShapes:
    """By their full codes; a share (`offset_dropout`) of those whose person has several scans by person and pose alone,
    as new poses are.

    What poses do is regressed on the codes, which are given for that: on what scans have beyond their persons' codes,
    and on what these have beyond the mean of all. A person of one scan says nothing of the first kind, but many of them
    tell what their poses have in common. The noise on the poses shrinks the answer as a ridge would.
    """
    person = posed = model.z_shapes(batch.people)
    scan, left_out = torch.zeros_like(person), torch.zeros_like(noise.coin, dtype=torch.bool)
    if model.scan_offsets is not None:
        scan = model.scan_offsets(batch.indices, model.config.num_people)
        left_out = (noise.coin < weights.offset_dropout) & model.scan_offsets.several(batch.indices)
    loss = torch.zeros_like(person[0, 0])
    if model.pose_offsets is not None:
        jitter = weights.pose_jitter * noise.pose
        pose, start = pose_numbers(batch.bone_transforms, model.parents), model.pose_offsets.mean[batch.people]
        offset = model.pose_offsets(pose + jitter, start)
        own = person.detach() if model.config.person_code == "rest" else person  # which scans at rest alone shall tell
        posed = own + offset
        beyond = person.detach() - model.z_shapes.weight.detach().mean(0)
        common = model.pose_offsets(start + jitter, model.pose_offsets.mean.mean(0).expand_as(start))
        loss = code_loss(offset - scan.detach()) + BETWEEN_PEOPLE * code_loss(common - beyond)
    full = person + scan
    return ShownShapes(torch.where(left_out[:, None], posed, full), full, scan, loss)
