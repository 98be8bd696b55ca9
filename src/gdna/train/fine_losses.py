"""What is wrong with the normals that a model draws, and with a critic's opinion of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16
from lightning_fabric import Fabric
from torch import Tensor

from gdna.data.batches import FineBatch
from gdna.deform.packing import pack, unpack
from gdna.model.avatar_model import AvatarModel
from gdna.objectives import code_loss, critic_loss, generator_loss, normal_loss, r1_penalty
from gdna.train.cast import CastBatch
from gdna.train.critic import Critic
from gdna.train.settings import LossSettings
from gdna.train.surface import SurfaceBatch
from gdna.types import Subject


@dataclass(frozen=True)
class FineLosses:
    """Of the normal field; weighted, so that they add up to `total`."""

    total: Float[Tensor, ""]
    adversarial: Float[Tensor, ""]
    normals: Float[Tensor, ""]
    detail_code: Float[Tensor, ""]


@dataclass(frozen=True)
class CriticLosses:
    """Of the critic; `r1` is zero where it was not computed, else weighted for all the steps it stands for."""

    critic_total: Float[Tensor, ""]
    critic: Float[Tensor, ""]
    r1: Float[Tensor, ""]
    real_logit: Float[Tensor, ""]
    fake_logit: Float[Tensor, ""]


@dataclass(frozen=True)
class Shown:
    """Pictures of scans and those drawn of them, as the critic sees them."""

    real: Float[Tensor, "B 3 H W"]
    drawn: Float[Tensor, "B 3 H W"]


@dataclass(frozen=True)
class FineInputs:
    """Everything that a step draws."""

    batch: FineBatch
    surface: SurfaceBatch | None  # None if no loss looks at points of the scans
    cast: CastBatch | None = None  # whom the critic sees drawn; None: the scans' own people


def field_step(
    model: AvatarModel,
    critic: Critic,
    inputs: FineInputs,
    features: Float16[Tensor, "M C d h w"],
    weights: LossSettings,
    fabric: Fabric,
    pixels: int | None = None,
) -> tuple[Shown | None, FineLosses]:
    """What the critic is shown of the batch and of the normal maps that the model draws for it (None if no loss looks
    at them), and what is wrong with these maps and with the model's normals. No view has more than `pixels` points of
    its person."""
    batch, surface = inputs.batch, inputs.surface
    codes = model.codes(batch.people, batch.indices)
    detail = codes.detail
    subject = Subject(batch.betas, codes.shape, detail, features[batch.indices].to(detail.dtype))
    fake = shown = None
    if weights.looks_at_pictures:
        cast = inputs.cast
        drawn_of = subject if cast is None else cast_subject(model, cast, features)
        fake = normal_maps(model, batch if cast is None else cast, drawn_of, fabric, pixels)
        shown = shown_to_critic(batch.normal_maps, fake, weights)
    adversarial = torch.zeros((), device=detail.device)
    if shown is not None and weights.lambda_gan:
        with fabric.autocast():
            logits = critic(shown.drawn)
        adversarial = weights.lambda_gan * generator_loss(logits.float())
    if surface is None:
        assert fake is not None
        drawn, wanted = (image.flatten(2).mT for image in (fake, batch.normal_maps))
        normals = normal_loss(drawn, wanted, batch.cache_mask)
    else:
        drawn = posed_normals(model, surface.points_neutral, batch.bone_transforms, subject, fabric)
        normals = normal_loss(drawn, surface.normals_posed, surface.found)
    detail_code = weights.lambda_reg * code_loss(detail)
    return shown, FineLosses(adversarial + normals + detail_code, adversarial, normals, detail_code)


def cast_subject(model: AvatarModel, cast: CastBatch, features: Float16[Tensor, "M C d h w"]) -> Subject:
    """Those of a cast, whose detail codes follow those of the training people."""
    detail = cast.detail(model.z_details.weight)
    return Subject(cast.betas, cast.z_shape, detail, features[cast.rows].to(detail.dtype))


def normal_maps(
    model: AvatarModel, batch: FineBatch | CastBatch, subject: Subject, fabric: Fabric, capacity: int | None = None
) -> Float[Tensor, "B 3 H W"]:
    """Posed normals at the cached points of each view, white (1) elsewhere, as in the scans' pictures. With the largest
    number of points in a view as `capacity`, the device is not waited for."""
    packed = pack(batch.cache_points, batch.cache_mask, capacity)
    normals = posed_normals(model, packed.values, batch.bone_transforms_view, subject, fabric)
    pixels = unpack(normals, packed, torch.ones_like(batch.cache_points))
    return pixels.mT.unflatten(2, (math.isqrt(pixels.shape[1]),) * 2)


def shown_to_critic(real: Float[Tensor, "B 3 H W"], fake: Float[Tensor, "B 3 H W"], weights: LossSettings) -> Shown:
    """The pictures as they are; with a common outline, white wherever one of a pair is.

    Coarse surfaces are frozen. A critic that is shown their outlines soon tells drawings by these alone, and then has
    little to teach about normals.
    """
    if not weights.common_outline:
        return Shown(real, fake)
    both = (real < 1).any(1, keepdim=True) & (fake < 1).any(1, keepdim=True)
    return Shown(torch.where(both, real, 1.0), torch.where(both, fake, 1.0))


def posed_normals(
    model: AvatarModel,
    points_neutral: Float[Tensor, "B N 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    subject: Subject,
    fabric: Fabric,
) -> Float[Tensor, "B N 3"]:
    """Unit normals with gradients to the normal field and the detail code."""
    with fabric.autocast():
        with torch.no_grad():
            _, read = model.read_neutral(points_neutral, subject)
        return model.normals_posed(points_neutral, read, bone_transforms, subject).float()


def critic_step(
    critic: Critic,
    shown: Shown,
    weights: LossSettings,
    regularised: bool,
    fabric: Fabric,
) -> CriticLosses:
    """What the critic gets wrong about what it is shown, drawings without gradients; if `regularised`, with R1 for
    `d_reg_every` steps."""
    leaf = shown.real.detach().requires_grad_(regularised)
    if regularised:
        with fabric.autocast():
            fake_logits = critic(shown.drawn).float()
        real_logits = critic(leaf)  # second derivatives in full precision
    else:
        with fabric.autocast():
            real_logits, fake_logits = critic(torch.cat([leaf, shown.drawn]), sets=2).float().chunk(2)
    loss = weights.lambda_gan * critic_loss(real_logits, fake_logits)
    r1 = torch.zeros_like(loss)
    if regularised:
        factor = weights.lambda_gan * weights.lambda_grad / 2 * weights.d_reg_every
        r1 = factor * r1_penalty(real_logits, leaf)
    return CriticLosses(loss + r1, loss, r1, real_logits.mean(), fake_logits.mean())
