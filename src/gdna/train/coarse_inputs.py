"""What a step of the coarse stage draws, and what it knows of the body."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.data.batches import CoarseBatch
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import PreparedBody
from gdna.model.pose_offsets import POSE_NUMBERS
from gdna.objectives import bone_ends, bone_points
from gdna.train.empty_space import EmptySpace
from gdna.train.shown import CodeNoise

POINTS_PER_BONE = 5
SKIN_POINTS = 1000  # of the body's, a step; all 13,000 would cost as much as the rest of the fields
EMPTY_POINTS = 256  # of each scan


@dataclass(frozen=True)
class CoarseInputs:
    """Everything that a step draws."""

    batch: CoarseBatch
    bone_points: Float[Tensor, "P 3"]  # neutral, inside
    skin: Int[Tensor, " S"]  # vertices of the body, for what the losses ask of them
    empty_points: Float[Tensor, "B E 3"]  # neutral, outside of everybody; none where nobody asks
    noise: CodeNoise

    @staticmethod
    def draw(
        data: PreparedSet,
        indices: Int[Tensor, " B"],
        body: PreparedBody,
        points: int,
        generator: torch.Generator,
        empty: EmptySpace | None,
    ) -> CoarseInputs:
        """Of the scans `indices`; `body` is the set's and `empty` its empty space, where the generator is."""
        batch = data.draw_coarse(indices, generator, points)
        on_bones = bone_points(body.joints_neutral, tuple(body.parents.tolist()), POINTS_PER_BONE, generator)
        skin = torch.randint(len(body.skin_weights), (SKIN_POINTS,), generator=generator, device=generator.device)
        people = len(indices)
        empty_points = torch.zeros(people, 0, 3) if empty is None else empty.draw(people, EMPTY_POINTS, generator)
        noise = CodeNoise.draw(people, POSE_NUMBERS, generator)
        return CoarseInputs(batch, on_bones, skin, empty_points, noise)


@dataclass(frozen=True)
class NeutralBody:
    """What the losses ask of the body without clothes, in neutral space."""

    vertices: Float[Tensor, "Vs 3"]
    skin_weights: Float[Tensor, "Vs J"]
    bone_ends: Float[Tensor, "E 3"]
    bones: Int[Tensor, " E"]  # which of them moves each end

    @staticmethod
    def of(body: PreparedBody) -> NeutralBody:
        ends, bones = bone_ends(body.joints_neutral, tuple(body.parents.tolist()))
        return NeutralBody(body.vertices_neutral, body.skin_weights, ends, bones)
