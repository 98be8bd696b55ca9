"""Learned skinning weights against the body model's own, at the body's vertices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.skeleton import blend_skinning
from gdna.data.prepared import PreparedSet
from gdna.model.avatar_model import AvatarModel
from gdna.types import Codes


@dataclass(frozen=True)
class SkinningError:
    """Of one scan's body underneath, which skinning with exact weights would carry exactly to its place.

    Means over a bone's vertices first, then over bones: a third of a body's vertices are on the head.
    """

    name: str
    misplaced_weight: float  # half the absolute differences: the share of a vertex that hangs on wrong bones
    vertex_error_mm: float  # how far the learned weights carry vertices from their places in the scan's pose


@torch.no_grad()
def skinning_error(model: AvatarModel, data: PreparedSet, index: int, codes: Codes) -> SkinningError:
    """Scan `index` of the set with these codes."""
    subject = model.subject(codes, data.betas[index, None])
    points = data.vertices_canonical[index, None]
    weights = model.skin_weights(model.to_neutral(points, subject.betas), subject)[0]
    wrong, distance = weight_error(weights, data.body.skin_weights, points[0], data.bone_transforms[index])
    bone = data.body.skin_weights.argmax(1)
    return SkinningError(data.names[index], mean_over_bones(wrong, bone), 1000 * mean_over_bones(distance, bone))


def mean_over_bones(values: Float[Tensor, " V"], bone: Int[Tensor, " V"]) -> float:
    """Each bone counts alike, however many vertices follow it."""
    total, count = values.new_zeros(2, int(bone.max()) + 1)
    total.index_add_(0, bone, values)
    count.index_add_(0, bone, torch.ones_like(values))
    return float((total[count > 0] / count[count > 0]).mean())


def weight_error(
    weights: Float[Tensor, "V J"],
    exact: Float[Tensor, "V J"],
    vertices_canonical: Float[Tensor, "V 3"],
    bone_transforms: Float[Tensor, "J 4 4"],
) -> tuple[Float[Tensor, " V"], Float[Tensor, " V"]]:
    """Weight on wrong bones, and metres between the two posed vertices."""
    posed = [blend_skinning(vertices_canonical[None], w, bone_transforms[None])[0] for w in (weights, exact)]
    return (weights - exact).abs().sum(-1) / 2, (posed[0] - posed[1]).norm(dim=-1)
