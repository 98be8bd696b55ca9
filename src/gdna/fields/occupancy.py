"""Is a neutral point inside the clothed person?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from gdna.fields.box import through_box, to_box
from gdna.fields.mlp import BoundMlp, ConditionedMlp, MlpSizes, geometric_init
from gdna.fields.volume import read_volume, through_volume

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A field of given people: neutral points (B, N, 3) -> logits (B, N), hidden activation (B, N, K)."""
Sloped = tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"], Float[Tensor, "B N 3"]]
"""Logits, hidden activation, and the logits' slope (per metre of neutral space), all without gradients."""


@dataclass(frozen=True)
class BoundOccupancy:
    """The occupancy field of given people."""

    mlp: BoundMlp
    features: Float[Tensor, "B C D H W"]
    logit_scale: float

    def __call__(self, points_neutral: Float[Tensor, "B N 3"]) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Logits and the last hidden activation."""
        points = to_box(points_neutral)
        logits, hidden = self.mlp(points, read_volume(self.features, points))
        return self.logit_scale * logits[..., 0], hidden

    def with_normals(
        self, points_neutral: Float[Tensor, "B N 3"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Logits, and the hidden activation with the outward unit normal of the level set through each point after it
        (K is three more than the activation's width). In 32 bit, as a slope's direction is, and without gradients.
        """
        device = points_neutral.device.type
        with_slope = self.with_slope_written_out if device == "cpu" else self.with_slope
        with torch.autocast(device, enabled=False):
            logits, hidden, slope = with_slope(points_neutral)
        return logits, torch.cat([hidden, -normalize(slope, dim=-1)], -1)

    def with_slope(self, points_neutral: Float[Tensor, "B N 3"]) -> Sloped:
        """By autograd."""
        with torch.enable_grad():
            points = points_neutral.detach().requires_grad_()
            logits, hidden = self(points)
            (slope,) = torch.autograd.grad(logits.sum(), points)
        return logits.detach(), hidden.detach(), slope

    @torch.no_grad()
    def with_slope_written_out(self, points_neutral: Float[Tensor, "B N 3"]) -> Sloped:
        """The same without gradient mode, so that on a CPU kernels take values and gradients through activations and
        volume: a bit more than half of the time, under twice that of the logits alone."""
        points = to_box(points_neutral)
        read = read_volume(self.features, points)
        logits, hidden, of_points, of_read = self.mlp.with_slopes(points, read)
        slope = through_box(of_points + through_volume(self.features, points, of_read))
        return self.logit_scale * logits[..., 0], hidden, self.logit_scale * slope


class OccupancyField(nn.Module):
    """Logit (positive inside) from the encoded point and the trilinear feature there, both in the box's coordinates.

    The geometric start is a distance of slope 1, but at a centimetre from a surface a logit should be about 3: to grow
    that steep took the weights most of a short training. So logits are `logit_scale` times the last layer (measured on
    eight codes of one body, 500 steps: cross entropy 0.167 with 10, 0.258 with 1).
    """

    def __init__(self, sizes: MlpSizes, bias: float = 1.0, logit_scale: float = 1.0) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        self.mlp = ConditionedMlp(sizes)
        geometric_init(self.mlp, bias)

    def bind(self, features: Float[Tensor, "B C D H W"]) -> BoundOccupancy:
        """`forward` for people of whom many points are asked."""
        return BoundOccupancy(self.mlp.bind(), features, self.logit_scale)

    def forward(
        self, points_neutral: Float[Tensor, "B N 3"], features: Float[Tensor, "B C D H W"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Returns logits and the last hidden activation, which the normal field reads."""
        return self.bind(features)(points_neutral)
