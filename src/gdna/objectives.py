"""Losses and measures as pure functions of tensors; the weights between them live in `gdna.train.settings`."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def occupancy_loss(
    logits: Float[Tensor, "B N"], occupied: Float[Tensor, "B N"], found: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Binary cross entropy of occupancy logits, summed over points with a correspondence and divided by all points.

    A point without a correspondence has no logit, so no gradient; keeping it in the count leaves the weight of the
    others independent of how many were found.
    """
    each = F.binary_cross_entropy_with_logits(torch.where(found, logits, 0), occupied, reduction="none")
    return torch.where(found, each, 0).sum() / each.numel()


def inside_loss(logits: Float[Tensor, "B N"]) -> Float[Tensor, ""]:
    """Binary cross entropy of points that are known to lie inside."""
    return F.softplus(-logits).mean()


def outside_loss(logits: Float[Tensor, "B N"]) -> Float[Tensor, ""]:
    """Binary cross entropy of points that are known to lie outside."""
    return F.softplus(logits).mean()


def code_loss(codes: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """Mean square of latent codes: the prior of an auto-decoder (Park et al. 2019, equation 9)."""
    return codes.square().mean()


def warp_loss(warped: Float[Tensor, "B V 3"], vertices_neutral: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
    """Mean square distance per axis between warped canonical body vertices and the neutral body's, m^2."""
    return (warped - vertices_neutral).square().mean()


def skin_weight_loss(weights: Float[Tensor, "B N J"], bones: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean square difference to weights that bind point n to bone `bones[n]` alone."""
    return (weights - F.one_hot(bones, weights.shape[-1]).to(weights)).square().mean()


def skin_prior_loss(weights: Float[Tensor, "B N J"], body_weights: Float[Tensor, "N J"]) -> Float[Tensor, ""]:
    """Squared difference to the body model's skinning weights, summed over bones, mean over points and people."""
    return (weights - body_weights).square().sum(-1).mean()


def normal_loss(
    normals: Float[Tensor, "B N 3"], target: Float[Tensor, "B N 3"], found: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """1 - cosine between unit normals, mean over the points with a correspondence (zero where there is none)."""
    each = torch.where(found, 1 - (normals * target).sum(-1), 0)
    return each.sum() / found.sum().clamp_min(1)


def generator_loss(fake_logits: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Non-saturating logistic loss (Goodfellow et al. 2014) of what the critic says about generated images."""
    return F.softplus(-fake_logits).mean()


def critic_loss(real_logits: Float[Tensor, " B"], fake_logits: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Logistic loss of a critic that should answer high for real and low for generated images."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(real_logits: Float[Tensor, " B"], real: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Squared gradient of the logits with respect to the real images, mean over images; without the factor gamma / 2
    (Mescheder et al. 2018, equation 9). `real` must be the leaf that `real_logits` were computed from.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def bone_points(
    joints: Float[Tensor, "J 3"], parents: tuple[int, ...], per_bone: int, generator: torch.Generator
) -> Float[Tensor, "N 3"]:
    """`per_bone` points on each bone (parent joint to joint), N = bones * per_bone: evenly spaced, then moved along the
    bone by a tenth of its length (sigma), but not beyond its ends."""
    children = [j for j, parent in enumerate(parents) if parent >= 0]
    start, end = joints[[parents[j] for j in children]], joints[children]
    noise = torch.randn(len(children), per_bone, generator=generator, device=generator.device).to(joints)
    along = (torch.linspace(0, 1, per_bone).to(joints) + 0.1 * noise).clamp(0, 1)[..., None]
    return (start[:, None] + along * (end - start)[:, None]).flatten(0, 1)


def bone_ends(joints: Float[Tensor, "J 3"], parents: tuple[int, ...]) -> tuple[Float[Tensor, "N 3"], Int[Tensor, " N"]]:
    """Points and the bone that moves each: the joints with their own bones, then the far ends of all bones, each with
    the bone's parent joint."""
    children = [j for j, parent in enumerate(parents) if parent >= 0]
    points = torch.cat([joints, joints[children]])
    bones = [*range(len(parents)), *(parents[j] for j in children)]
    return points, torch.tensor(bones, device=joints.device)


def intersection_over_union(inside: Bool[Tensor, " *shape"], occupied: Bool[Tensor, " *shape"]) -> float:
    """Points that both call inside over points that either does; 1 where neither does."""
    union = int((inside | occupied).sum())
    return int((inside & occupied).sum()) / union if union else 1.0
