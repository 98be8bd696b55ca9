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

BETWEEN_PEOPLE = 0.4  # weight of people's codes beside scans' offsets: poses tell so much less of them


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
    as new poses are."""
    person = posed = model.z_shapes(batch.people)
    scan, left_out = torch.zeros_like(person), torch.zeros_like(noise.coin, dtype=torch.bool)
    if model.scan_offsets is not None:
        scan = model.scan_offsets(batch.indices, model.config.num_people)
        left_out = (noise.coin < weights.offset_dropout) & model.scan_offsets.several(batch.indices)
    loss = torch.zeros_like(person[0, 0])
    if model.pose_offsets is not None:
        jitter = weights.pose_jitter * noise.pose
        pose, start = pose_numbers(batch.bone_transforms, model.parents), model.pose_offsets.mean[batch.people]
        offset = model.pose_offsets(pose + jitter, start, person)
        posed = person + offset
        beyond = person.detach() - model.z_shapes.weight.detach().mean(0)
        common = _common(model, start + jitter)
        loss = code_loss(offset - scan.detach()) + BETWEEN_PEOPLE * code_loss(common - beyond)
    full = person + scan
    return ShownShapes(torch.where(left_out[:, None], posed, full), full, scan, loss)


def _common(model: AvatarModel, pose: Float[Tensor, "B P"]) -> Float[Tensor, "B Z"]:
    """What poses do to everybody. People of one scan say nothing of how their shape changes; but many of them tell what
    their poses have in common. They are asked with the mean code: with its own, the answer would be in the question."""
    assert model.pose_offsets is not None
    usual = model.pose_offsets.mean.mean(0).expand_as(pose)
    return model.pose_offsets(pose, usual, model.z_shapes.weight.mean(0).expand(len(pose), -1))
