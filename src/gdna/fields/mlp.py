"""The perceptron behind every field: conditioned once per subject, asked at many points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from gdna.fields.affine import affine
from gdna.geometry.arithmetic import matmul_precision, working_dtype

SHARPNESS = 100.0  # of the softplus: a ReLU with a smooth corner of about a centimetre
NOTHING = -20.0 / SHARPNESS  # below it softplus is under 2e-11


@dataclass(frozen=True)
class MlpSizes:
    """`depth` hidden layers of `width`; layer `skip` sees the activation and the encoded point again, over sqrt 2."""

    dim_out: int
    width: int
    depth: int
    dim_condition: int = 0
    dim_features: int = 0
    frequencies: int = 0
    skip: int | None = None

    @property
    def dim_encoding(self) -> int:
        return 3 + 6 * self.frequencies

    @property
    def dim_hidden(self) -> int:
        """Channels of the last hidden activation."""
        return self.width - (self.dim_encoding if self.skip == self.depth else 0)

    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear layer."""
        inputs = [self.dim_encoding + self.dim_condition + self.dim_features] + [self.width] * self.depth
        outputs = [self.width] * self.depth + [self.dim_out]
        if self.skip is not None:
            outputs[self.skip - 1] -= self.dim_encoding
        return list(zip(inputs, outputs, strict=True))


class WeightNormLinear(nn.Module):
    """Linear layer whose rows have a learned length and a learned direction (Salimans and Kingma 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        plain = nn.Linear(inputs, outputs)
        self.weight_g = nn.Parameter(plain.weight.detach().norm(dim=1, keepdim=True))
        self.weight_v = nn.Parameter(plain.weight.detach().clone())
        self.bias = nn.Parameter(plain.bias.detach().clone())

    def weight(self) -> Float[Tensor, "O I"]:
        return torch._weight_norm(self.weight_v, self.weight_g, 0)  # one kernel each way instead of a dozen

    @torch.no_grad()
    def set_weight(self, weight: Float[Tensor, "O I"], bias: float = 0.0) -> None:
        self.weight_v.copy_(weight)
        self.weight_g.copy_(weight.norm(dim=1, keepdim=True))
        self.bias.fill_(bias)


def encode(points: Float[Tensor, "*b 3"], frequencies: int) -> Float[Tensor, "*b E"]:
    """Point, then sine and cosine at 1, 2, 4, ... radians per unit (Mildenhall et al. 2020)."""
    if frequencies == 0:
        return points
    angles = points[..., None, :] * _octaves(points, frequencies)
    return torch.cat([points, torch.stack([angles.sin(), angles.cos()], -2).flatten(-3)], -1)


def through_encoding(
    points: Float[Tensor, "*b 3"], frequencies: int, of_encoding: Float[Tensor, "*b E"]
) -> Float[Tensor, "*b 3"]:
    """The gradient with respect to the points, given that with respect to what `encode` makes of them."""
    if frequencies == 0:
        return of_encoding
    octaves = _octaves(points, frequencies)
    angles = points[..., None, :] * octaves
    waves = torch.stack([octaves * angles.cos(), -octaves * angles.sin()], -2).flatten(-3)
    slopes = torch.cat([torch.ones_like(points), waves], -1)
    return (of_encoding * slopes).unflatten(-1, (-1, 3)).sum(-2)


def _octaves(points: Float[Tensor, "*b 3"], frequencies: int) -> Float[Tensor, "F 1"]:
    return 2.0 ** torch.arange(frequencies, dtype=points.dtype, device=points.device)[:, None]


def _by_kernels(x: Tensor) -> bool:
    """May x be overwritten by the kernels of `mlp_kernels`?"""
    return not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous()


def activate(x: Float[Tensor, "*b C"]) -> Float[Tensor, "*b C"]:
    """Softplus, cut on a CPU where the exponential's square becomes subnormal, which costs ten times the time.

    Without gradient mode, float32 on a CPU is overwritten by a kernel of the same values in a quarter of the time.
    """
    if _by_kernels(x):
        from gdna.fields.mlp_kernels import softplus_

        softplus_(x.view(-1).numpy(), np.float32(SHARPNESS))
        return x
    return softplus(x if x.is_cuda else x.clamp_min(NOTHING), beta=SHARPNESS)


def through_activation(
    activation: Float[Tensor, "*b C"], of_activation: Float[Tensor, "*b C"]
) -> Float[Tensor, "*b C"]:
    """The gradient with respect to what `activate` was given, from its result and the gradient with respect to that.

    The result tells the derivative. `of_activation` is overwritten where `activate` would overwrite.
    """
    if _by_kernels(of_activation) and activation.is_contiguous():
        from gdna.fields.mlp_kernels import times_slope_

        times_slope_(of_activation.view(-1).numpy(), activation.view(-1).numpy(), np.float32(SHARPNESS))
        return of_activation
    return -of_activation * torch.expm1(-SHARPNESS * activation)


@dataclass(frozen=True)
class BoundMlp:
    """A perceptron with its weights normalised and its condition worked in, ready to be asked many times.

    The first layer always keeps the points' own precision (a coordinate in bfloat16 is millimetres off); the layers
    after it, their softplus included, run in the type of autocast, where that is on.
    """

    sizes: MlpSizes
    encoding_weight: Float[Tensor, "W E"]
    feature_weight: Float[Tensor, "W F"]
    offset: Float[Tensor, "#B 1 W"]  # bias and condition of the first layer
    weights: tuple[Tensor, ...]  # of the layers after it
    biases: tuple[Tensor, ...]

    def silent(self) -> BoundMlp:
        """The same sizes, zero everywhere: for code that takes a perceptron where there shall be none."""
        *weights, last = self.weights
        *biases, bias = self.biases
        return replace(self, weights=(*weights, torch.zeros_like(last)), biases=(*biases, torch.zeros_like(bias)))

    def __call__(
        self,
        points: Float[Tensor, "B M 3"],
        features: Float[Tensor, "B M F"] | None = None,
        activations: list[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "B M O"], Float[Tensor, "B M K"]]:
        """Returns the output and the last hidden activation; appends those of all hidden layers to `activations`."""
        device, last = points.device.type, self.sizes.depth - 1
        dtype = working_dtype(points)
        with torch.autocast(device, enabled=False):
            encoding = encode(points, self.sizes.frequencies)
            with matmul_precision("highest"):
                x = affine(encoding, self.encoding_weight, self.offset)
            if features is not None:
                x = x + linear(features.to(points.dtype), self.feature_weight)
            x = hidden = activate(x.to(dtype))
            for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                if activations is not None:
                    activations.append(hidden)
                if index + 1 == self.sizes.skip:
                    x = torch.cat([x, encoding.to(dtype)], -1) / math.sqrt(2)
                x = affine(x, weight.to(dtype), bias.to(dtype)[None, None])
                if index < last:
                    x = hidden = activate(x)
            return x, hidden

    def with_slopes(
        self, points: Float[Tensor, "B M 3"], features: Float[Tensor, "B M F"]
    ) -> tuple[Float[Tensor, "B M O"], Float[Tensor, "B M K"], Float[Tensor, "B M 3"], Float[Tensor, "B M F"]]:
        """Output, last hidden activation, and the derivatives of the outputs' sum with respect to points and features:
        reverse-mode differentiation, written out; without autocast.

        Autograd needs gradient mode, in which the kernels of `mlp_kernels` cannot be used; this does without.
        """
        activations: list[Tensor] = []
        with torch.autocast(points.device.type, enabled=False):
            output, hidden = self(points, features, activations)
            slope, of_encoding = torch.ones_like(output), points.new_zeros(())
            for index in reversed(range(self.sizes.depth)):
                weight = self.weights[index]
                if index + 1 == self.sizes.skip:
                    weight, again = (weight / math.sqrt(2)).tensor_split([-self.sizes.dim_encoding], 1)
                    of_encoding = slope @ again
                slope = through_activation(activations[index], slope @ weight)
            of_encoding = of_encoding + slope @ self.encoding_weight
            of_points = through_encoding(points, self.sizes.frequencies, of_encoding)
            return output, hidden, of_points, slope @ self.feature_weight

    def with_tangents(
        self, points: Float[Tensor, "B M 3"], tangents: Float[Tensor, "T B M 3"], dtype: torch.dtype | None = None
    ) -> tuple[Float[Tensor, "B M O"], Float[Tensor, "T B M O"]]:
        """The output, and its derivatives along T directions of each point: forward-mode differentiation.

        For perceptrons of plain points (no encoding, no skip, no features). Value and tangents go through a layer in
        one product, after the first layer in `dtype` (None: the points' own).
        """
        if self.sizes.frequencies or self.sizes.skip is not None or self.sizes.dim_features:
            raise ValueError("tangents are known for perceptrons of plain points only")
        dtype = dtype or points.dtype
        stacked = linear(torch.cat([points[None], tangents]), self.encoding_weight)
        value, slopes = (stacked[0] + self.offset).to(dtype), stacked[1:].to(dtype)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            slopes = slopes * torch.sigmoid(SHARPNESS * value)
            stacked = linear(torch.cat([activate(value)[None], slopes]), weight.to(dtype))
            value, slopes = stacked[0] + bias.to(dtype), stacked[1:]
        return value.to(points.dtype), slopes.to(points.dtype)


class ConditionedMlp(nn.Module):
    """Weight-normed perceptron of (encoded point, condition of the subject, features of the point).

    The condition's part of the first layer is computed once per subject and added to that subject's points.
    """

    def __init__(self, sizes: MlpSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.layers = nn.ModuleList(WeightNormLinear(i, o) for i, o in sizes.layers())

    @property
    def linears(self) -> list[WeightNormLinear]:
        """`layers`, typed."""
        return [layer for layer in self.layers if isinstance(layer, WeightNormLinear)]

    def bind(self, condition: Float[Tensor, "B C"] | None = None) -> BoundMlp:
        """For the parameters as they are now; gradients pass to them and to `condition`."""
        sizes, (first, *others) = self.sizes, self.linears
        with torch.autocast(first.bias.device.type, enabled=False):
            parts = first.weight().split([sizes.dim_encoding, sizes.dim_condition, sizes.dim_features], 1)
            offset = first.bias[None] if condition is None else linear(condition, parts[1], first.bias)
            weights = tuple(layer.weight() for layer in others)
        return BoundMlp(sizes, parts[0], parts[2], offset[:, None], weights, tuple(layer.bias for layer in others))

    def forward(
        self,
        points: Float[Tensor, "B M 3"],
        condition: Float[Tensor, "B C"] | None = None,
        features: Float[Tensor, "B M F"] | None = None,
    ) -> tuple[Float[Tensor, "B M O"], Float[Tensor, "B M K"]]:
        """See `BoundMlp`."""
        return self.bind(condition)(points, features)


@torch.no_grad()
def geometric_init(mlp: ConditionedMlp, bias: float = 1.0) -> None:
    """Start as a signed distance to a sphere, positive inside (Atzmon and Lipman, CVPR 2020).

    Sines, cosines and the condition start without influence, features with it.
    """
    sizes, last = mlp.sizes, len(mlp.linears) - 1
    for index, layer in enumerate(mlp.linears):
        outputs, inputs = layer.weight_v.shape
        if index == last:
            layer.set_weight(torch.empty(outputs, inputs).normal_(-math.sqrt(math.pi / inputs), 1e-4), bias)
            continue
        weight = torch.empty(outputs, inputs).normal_(0.0, math.sqrt(2 / outputs))
        if index == 0:
            weight[:, 3 : inputs - sizes.dim_features] = 0
        elif index == sizes.skip:
            weight[:, inputs - sizes.dim_encoding + 3 :] = 0
        layer.set_weight(weight)
