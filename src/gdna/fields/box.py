"""The box of the neutral space in which the fields live."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BOX_LOW = (-1.0, -1.28, -0.25)  # metres, neutral space
BOX_HIGH = (1.0, 0.72, 0.25)


def to_box(points_neutral: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Neutral points (metres) with the box mapped onto [-1, 1]^3."""
    sides = zip(points_neutral.unbind(-1), BOX_LOW, BOX_HIGH, strict=True)  # a tensor of sides would wait for a GPU
    return torch.stack([(x - 0.5 * (low + high)) * (2 / (high - low)) for x, low, high in sides], -1)


def through_box(of_points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """The gradient with respect to neutral points, given that with respect to what `to_box` makes of them."""
    sides = zip(of_points.unbind(-1), BOX_LOW, BOX_HIGH, strict=True)
    return torch.stack([x * (2 / (high - low)) for x, low, high in sides], -1)
