"""From a shape code to the feature volume that the occupancy field reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv3d, interpolate, leaky_relu

from gdna.fields.leaky import leaky_biased

CHANNELS = (256, 128, 64, 64)
START = (2, 8, 8)  # z, y, x
SLOPE = 0.01  # of the leaky ReLU below zero
STYLE_SIZES = tuple(2 * c for c in CHANNELS[:-1])  # a mean and a deviation a channel
STYLES = sum(STYLE_SIZES)  # Y: numbers that all layers are told


def adaptive_instance_norm(
    volume: Float[Tensor, "B D H W C"], style: Float[Tensor, "B C2"]
) -> Float[Tensor, "B D H W C"]:
    """Bring each channel to the mean (first half of `style`) and deviation (second half) asked for.

    Huang and Belongie, ICCV 2017.
    """
    variance, mean = torch.var_mean(volume, dim=(1, 2, 3), keepdim=True)
    wanted_mean, wanted_deviation = style[:, None, None, None].chunk(2, -1)
    return (volume - mean) * ((variance + 1e-5).rsqrt() * wanted_deviation) + wanted_mean


def doubled(volume: Float[Tensor, "B D H W C"]) -> Float[Tensor, "B D2 H2 W2 C"]:
    """Trilinear upsampling by two with the corners kept, as three small matrix products.

    The same as `interpolate`, whose gradient on a GPU took a quarter of the generator's time.
    """
    z, y, x = (_doubling(n, volume.dtype, volume.device) for n in volume.shape[1:4])
    rows = x @ volume
    planes = (y @ rows.flatten(3)).unflatten(3, rows.shape[3:])
    return (z @ planes.flatten(2)).unflatten(2, planes.shape[2:])


@lru_cache(maxsize=64)
def _doubling(count: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "N2 N"]:
    """The matrix that interpolates `count` values linearly at twice as many places."""
    columns = torch.eye(count, dtype=dtype, device=device)[:, None]
    return interpolate(columns, scale_factor=2, mode="linear", align_corners=True)[:, 0].mT


class ShapeGenerator(nn.Module):
    """Learned constant, three times doubled and convolved; the code sets the statistics of all but the last."""

    def __init__(self, dim_shape: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(0.002 * torch.randn(1, CHANNELS[0], *START))
        self.convolutions = nn.ModuleList(nn.Conv3d(i, o, 3, padding=1) for i, o in pairwise(CHANNELS))
        self.styles = nn.ModuleList(nn.Linear(dim_shape, 2 * c) for c in CHANNELS[:-1])

    def forward(self, shape: Float[Tensor, "B Z"]) -> Float[Tensor, "B 64 16 64 64"]:
        """Channels lie side by side in memory, as convolutions on a GPU and `read_volume` want them."""
        return self._volume([style(shape) for style in self.styles])

    def styles_of(self, shape: Float[Tensor, "B Z"]) -> Float[Tensor, "B Y"]:
        """What a code tells the layers, one after another: the statistics of their channels."""
        return torch.cat([style(shape) for style in self.styles], 1)

    def of_styles(self, styles: Float[Tensor, "B Y"]) -> Float[Tensor, "B 64 16 64 64"]:
        """`forward` for statistics that need not come from one code (GAN inversion's style space: Wu et al., CVPR
        2021)."""
        return self._volume(styles.split(STYLE_SIZES, 1))

    def _volume(self, styles: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B 64 16 64 64"]:
        x = self.constant.permute(0, 2, 3, 4, 1).expand(len(styles[0]), -1, -1, -1, -1)
        weights, biases = ([c.get_parameter(name) for c in self.convolutions] for name in ("weight", "bias"))
        for style, weight, bias in zip(styles, weights, [*biases[:-1], None], strict=True):
            x = leaky_relu(adaptive_instance_norm(x, style), SLOPE)
            x = conv3d(doubled(x).permute(0, 4, 1, 2, 3), weight, bias, padding=1).permute(0, 2, 3, 4, 1)
        return leaky_biased(x, biases[-1], SLOPE).permute(0, 4, 1, 2, 3)
