"""The critic of the fine stage: a residual discriminator of square normal maps, after StyleGAN2 (Karras et al. 2020).

Everything is plain convolution, average pooling and leaky ReLU, so that the second derivatives that the R1 penalty
needs cost what convolutions cost.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gdna.errors import GdnaError
from gdna.fields.leaky import leaky_biased
from gdna.geometry.arithmetic import working_dtype
from gdna.train.convolution import convolution

STDDEV_GROUP = 4
LEAK = 0.2  # slope of the leaky ReLU below zero
KEPT = math.sqrt(2)  # its gain that keeps the variance of a unit normal near one


def blur(images: Float[Tensor, "B C H W"], padding: int, stride: int = 1) -> Float[Tensor, "B C h w"]:
    """Zero-pad by `padding` (1 or 2) and filter with [1, 3, 3, 1] x [1, 3, 3, 1] / 64, in three means of 2 x 2 pixels.

    The result has (H + 2 padding - 4) / stride + 1 rows. ([1, 3, 3, 1] is [1, 1] convolved with itself twice.)
    """
    if images.is_cuda:
        return blur_by_products(images, padding, stride)
    images = F.avg_pool2d(images, 2, stride=1, padding=1)
    images = F.avg_pool2d(images, 2, stride=1, padding=1 if padding == 2 else 0)
    return F.avg_pool2d(images, 2, stride=stride)


def blur_by_products(images: Float[Tensor, "B C H W"], padding: int, stride: int = 1) -> Float[Tensor, "B C h w"]:
    """The same as two products with band matrices, along rows and columns of channels-last images.

    On a GPU, where pooling of channels-last images took two thirds of a fine step. Gradients of any order are
    products too.
    """
    rows, columns = (_band(n, padding, stride, images.dtype, images.device) for n in images.shape[2:])
    last = images.permute(0, 2, 3, 1)
    shorter = (rows @ last.flatten(2)).unflatten(2, last.shape[2:])
    return (columns @ shorter).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _band(count: int, padding: int, stride: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n N"]:
    """Each row filters `count` values with [1, 3, 3, 1] / 8 at one place."""
    places = torch.arange((count + 2 * padding - 4) // stride + 1, device=device)
    tap = torch.arange(count, device=device) - (stride * places - padding)[:, None]  # 0 to 3 within the filter
    return ((4 - (2 * tap - 3).abs()).clamp_min(0) / 8).to(dtype)


class EqualConv(nn.Module):
    """Convolution with unit-normal weights, scaled when used, so that Adam's step has the same relative size in every
    layer (Karras et al. 2018, section 4.1); then bias and leaky ReLU, if it has a bias.

    `gain` times all of it: as both are positively homogeneous, weights and bias carry it and no pass over the images.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        gain: float = 1.0,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, size, size))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        self.scale = gain / math.sqrt(channels_in * size * size)
        self.stride, self.padding, self.gain = stride, padding, gain

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c h w"]:
        dtype = working_dtype(images)
        y = convolution(images.to(dtype), (self.weight * self.scale).to(dtype), self.stride, self.padding)
        if self.bias is None:
            return y
        return leaky_biased(y.permute(0, 2, 3, 1), self.bias, LEAK, self.gain).permute(0, 3, 1, 2)


class EqualLinear(nn.Module):
    """The same for a fully connected layer."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.scale = 1 / math.sqrt(channels_in)

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B c"]:
        return F.linear(features, self.weight * self.scale, self.bias)


class DownBlock(nn.Module):
    """Residual block that halves the resolution; blurs before each stride, so that nothing aliases.

    Over sqrt 2, so that the sum of two keeps its variance: that takes the gain of the second convolution away.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv1 = EqualConv(channels_in, channels_in, 3, padding=1, gain=KEPT)
        self.conv2 = EqualConv(channels_in, channels_out, 3, stride=2)
        self.skip = EqualConv(channels_in, channels_out, 1, bias=False, gain=1 / KEPT)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c h w"]:
        x = self.conv2(blur(self.conv1(images), padding=2))
        return x + self.skip(blur(images, padding=1, stride=2))


def batch_deviation(features: Float[Tensor, "B C H W"], sets: int = 1) -> Float[Tensor, "B 1 H W"]:
    """How much the images of a group differ: the standard deviation over the group, averaged over channels and pixels.
    It shows the critic a generator that draws one person only (Karras et al. 2018, section 3).

    Each of `sets` equal parts of the images is a batch of its own. Groups have the largest size up to four that divides
    it; image b of n belongs to group b modulo n / size.
    """
    images, _, height, width = features.shape
    batch = images // sets
    size = next(g for g in range(min(STDDEV_GROUP, batch), 0, -1) if batch % g == 0)
    variance = features.unflatten(0, (sets, size, batch // size)).var(1, unbiased=False)
    deviation = (variance + 1e-8).sqrt().mean((2, 3, 4))
    return deviation.repeat(1, size).flatten()[:, None, None, None].expand(-1, 1, height, width)


class Critic(nn.Module):
    """(B, 3, H, H) normal maps in [-1, 1] -> (B,) logits, larger is more real. H is a power of two from 8 on.

    Channels double from `channels` at full size with each halving, up to `max_channels`, down to 4 x 4.
    """

    def __init__(self, image_size: int = 256, channels: int = 64, max_channels: int = 512):
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise GdnaError(f"image_size: found {image_size}; the critic takes a power of two, 8 or more")
        self.first = EqualConv(3, channels, 3, padding=1, gain=KEPT)
        blocks: list[nn.Module] = []
        for _ in range(int(math.log2(image_size)) - 2):
            blocks.append(DownBlock(channels, min(2 * channels, max_channels)))
            channels = min(2 * channels, max_channels)
        self.blocks = nn.ModuleList(blocks)
        self.mix = EqualConv(channels + 1, channels, 3, padding=1, gain=KEPT)
        self.hidden = EqualLinear(channels * 16, channels)
        self.last = EqualLinear(channels, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Float[Tensor, "B 3 H H"], sets: int = 1) -> Float[Tensor, " B"]:
        """`sets` equal batches, one after the other, in one pass."""
        x = self.first(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        x = self.mix(torch.cat([x, batch_deviation(x, sets)], 1))
        return self.last(KEPT * F.leaky_relu(self.hidden(x.flatten(1)), LEAK))[:, 0]
