"""New people: draws from the learned codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.model.config import NOVELTY
from gdna.types import Codes


@dataclass(frozen=True)
class CodeStatistics:
    """Mean and unbiased standard deviation of each channel over the training people."""

    shape_mean: Float[Tensor, " Z"]
    shape_std: Float[Tensor, " Z"]
    detail_mean: Float[Tensor, " Zd"]
    detail_std: Float[Tensor, " Zd"]

    @staticmethod
    def of(model: AvatarModel) -> CodeStatistics:
        shapes, details = learned_codes(model)
        return CodeStatistics(shapes.mean(0), shapes.std(0), details.mean(0), details.std(0))


@dataclass(frozen=True)
class Mixture:
    """Whose numbers those of random people are made of: numbers of training people."""

    base: Int[Tensor, " B"]  # who they mostly are
    one: Int[Tensor, " B"]  # what sets this one ...
    other: Int[Tensor, " B"]  # ... apart from this other is added

    @staticmethod
    def draw(people: int, count: int, generator: torch.Generator) -> Mixture:
        """`count` of them, on the generator's device."""
        base = torch.randint(people, (count,), generator=generator, device=generator.device)
        chance = torch.rand(count, people, generator=generator, device=generator.device)
        one, other = chance.topk(2).indices.unbind(1)  # two that differ
        return Mixture(base, one, other)

    def of(self, rows: Float[Tensor, "n C"], novelty: float = NOVELTY) -> Float[Tensor, "B C"]:
        """Mix the training people's numbers (see `sample_people`); on the device of `rows`."""
        base, one, other = (who.to(rows.device) for who in (self.base, self.one, self.other))
        mean, kept = rows.mean(0), math.sqrt(1 - novelty**2)
        return mean + kept * (rows[base] - mean) + novelty * (rows[one] - rows[other]) / math.sqrt(2)


@dataclass(frozen=True)
class Drawn:
    """Random people: codes, and the body shapes that go with them."""

    codes: Codes
    betas: Float[Tensor, "B S"]


def sample_people(
    model: AvatarModel, betas: Float[Tensor, "n S"], count: int, generator: torch.Generator, novelty: float = NOVELTY
) -> Drawn:
    """`count` random people; `betas` are those of the training people. Drawn on the generator's device.

    A smoothed bootstrap (Silverman and Young, Biometrika 1987): a training person's shape code, detail code and betas
    together, drawn towards the mean by sqrt(1 - novelty^2), plus novelty times the difference of two people, over
    sqrt 2. So mean and covariance are those of the training people whatever the novelty, also between clothes and
    bodies; at 0 people are those of the training, at 1 none of them is left. (The original draws each channel from a
    Gaussian of its own, which mixes a skirt's channels with trousers', and bodies apart.) Raises `GdnaError` for a
    model of one person.
    """
    shapes, details = learned_codes(model)
    mixture = Mixture.draw(len(shapes), count, generator)
    shape, detail, bodies = (mixture.of(rows.to(shapes.device), novelty) for rows in (shapes, details, betas))
    return Drawn(Codes(shape, detail), bodies)


def from_the_mean(model: AvatarModel) -> Float[Tensor, " n"]:
    """How far each training person's shape code is from the mean of all: squared, in standard deviations of channels.
    How somebody is built and dressed is in it; what detail codes say is not, and changes with every fine stage."""
    shapes = model.z_shapes.weight.detach()
    return _apart(shapes.mean(0, keepdim=True), shapes)[0]


def nearest_people(model: AvatarModel, codes: Codes) -> Int[Tensor, " B"]:
    """Numbers of the training people whose codes, shape and detail in standard deviations of channels, are nearest."""
    known = torch.cat([model.z_shapes.weight, model.z_details.weight], 1).detach()
    return _apart(torch.cat([codes.shape, codes.detail], 1).detach(), known).argmin(1)


def _apart(asked: Float[Tensor, "B C"], known: Float[Tensor, "n C"]) -> Float[Tensor, "B n"]:
    """Squared distances in standard deviations of the channels of `known`."""
    spread = (known - known.mean(0)).square().mean(0).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)  # where nobody differs there is nothing to tell
    return ((asked.to(known)[:, None] - known) / spread).square().sum(2)


def learned_codes(model: AvatarModel) -> tuple[Float[Tensor, "n Z"], Float[Tensor, "n Zd"]]:
    """Shape and detail codes of the training people. Raises `GdnaError` where they are too few to draw others."""
    shapes, details = model.z_shapes.weight.detach(), model.z_details.weight.detach()
    if len(shapes) < 2:
        raise GdnaError(f"the model was trained on {len(shapes)} person; random people need at least 2, train on more")
    return shapes, details
