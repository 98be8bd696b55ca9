"""Linear layers whose biases' gradients are matrix products: on a GPU, summing over many rows of few columns took torch
longer than the layers' own products."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


def affine(
    x: Float[Tensor, "B M I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, "#B 1 O"]
) -> Float[Tensor, "B M O"]:
    """x @ weight^T + bias."""
    if x.is_cuda and torch.is_grad_enabled():
        return affine_by_products(x, weight, bias)
    return linear(x, weight, bias[0, 0]) if len(bias) == 1 else linear(x, weight) + bias


def affine_by_products(
    x: Float[Tensor, "B M I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, "#B 1 O"]
) -> Float[Tensor, "B M O"]:
    """The same, once differentiable."""
    return _Affine.apply(x, weight, bias)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.several = len(bias) > 1
        return linear(x, weight) + bias if ctx.several else linear(x, weight, bias[0, 0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = slope @ weight if ctx.needs_input_grad[0] else None
        of_weight = slope.flatten(0, 1).mT @ x.flatten(0, 1) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[2]:
            return of_x, of_weight, None
        of_bias = slope.new_ones(len(slope), 1, slope.shape[1]) @ slope  # of each subject
        return of_x, of_weight, of_bias if ctx.several else of_bias.sum(0, keepdim=True)
