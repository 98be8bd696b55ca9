"""Bias and leaky ReLU after a convolution, as one: on a GPU they and their gradients took longer than convolutions."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import leaky_relu

from gdna.geometry.devices import has_triton, launching_on

TILE = 4096  # numbers a program holds at a time
PROGRAMS = 528  # that share the rows when gradients of biases are summed: four for each unit of an H100


def leaky_biased(
    x: Float[Tensor, "*b C"], bias: Float[Tensor, " C"], slope: float, gain: float = 1.0
) -> Float[Tensor, "*b C"]:
    """leaky_relu(x + gain * bias) in the type of x, differentiable as often as asked."""
    channels = x.shape[-1]
    if x.is_cuda and channels & (channels - 1) == 0 and channels <= TILE and has_triton():
        return leaky_by_kernels(x, bias, slope, gain)
    return leaky_plainly(x, bias, slope, gain)


def leaky_plainly(
    x: Float[Tensor, "*b C"], bias: Float[Tensor, " C"], slope: float, gain: float = 1.0
) -> Float[Tensor, "*b C"]:
    """The definition, on any device."""
    return leaky_relu(x + (gain * bias).to(x.dtype), slope)


def leaky_by_kernels(
    x: Float[Tensor, "*b C"], bias: Float[Tensor, " C"], slope: float, gain: float = 1.0
) -> Float[Tensor, "*b C"]:
    """The same, for a power of two of channels; the second and higher derivatives are torch's."""
    return _Leaky.apply(x.contiguous(), bias, slope, gain)


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, slope: float, gain: float) -> Tensor:
        from gdna.fields import leaky_kernels

        channels, out = x.shape[-1], torch.empty_like(x)
        rows, block = x.numel() // channels, TILE // channels
        with launching_on(x):
            leaky_kernels.leaky_kernel[(-(-rows // block),)](x, bias, out, rows, slope, gain, C=channels, BLOCK=block)
        ctx.save_for_backward(out)
        ctx.slope, ctx.gain, ctx.bias_dtype = slope, gain, bias.dtype
        return out

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor, Tensor, None, None]:
        from gdna.fields import leaky_kernels

        (out,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will differentiate this again
            of_x = of_out * torch.where(out > 0, 1.0, ctx.slope).to(of_out.dtype)
            return of_x, (ctx.gain * of_x.flatten(0, -2).sum(0)).to(ctx.bias_dtype), None, None
        of_out, channels = of_out.contiguous(), out.shape[-1]
        of_x, of_bias = torch.empty_like(of_out), torch.zeros(channels, dtype=torch.float32, device=out.device)
        rows, block = out.numel() // channels, TILE // channels
        with launching_on(out):
            leaky_kernels.leaky_back_kernel[(min(PROGRAMS, -(-rows // block)),)](
                of_out, out, of_x, of_bias, rows, ctx.slope, ctx.gain, C=channels, BLOCK=block
            )
        return of_x, of_bias.to(ctx.bias_dtype), None, None
