"""Warp and skinning field laid out for the fused kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16
from torch import Tensor
from torch.nn.functional import pad

from gdna.fields.bound_weights import BoundWeights
from gdna.fields.mlp import BoundMlp

WIDEST = 128  # layer of which a tile of activations fits the registers
WARP_OUTPUTS = 16  # three numbers, padded to the smallest matrix product
NEVER = -1e30  # logit of a padding bone


@dataclass(frozen=True)
class Split:
    """A matrix as the sum of two half-precision ones: 22 bits of mantissa."""

    high: Float16[Tensor, "*s"]
    low: Float16[Tensor, "*s"]

    @classmethod
    def of(cls, matrix: Float[Tensor, "*s"]) -> Split:
        high = matrix.half()
        return cls(high, (matrix - high).half())


@dataclass(frozen=True)
class FusedNetworks:
    """Layers of width W (a power of two; padded by zeros), matrices (inputs, outputs): the warp's, then the field's."""

    first: Float[Tensor, "2 3 W"]
    offset: Float[Tensor, "B 2 W"]
    hidden: Split  # (L, W, W)
    biases: Float[Tensor, "L W"]
    last: Split  # (W * 16 + W * bones): both flattened; the field's times the blend's sharpness
    last_bias: Float[Tensor, " O"]
    warp_layers: int  # between hidden activations
    skinning_layers: int
    width: int
    bones: int  # padded to a power of two of at least 16


def why_not_fused(weights_at: object) -> str | None:
    """Why these weights do not fit the fused kernels, None where they do."""
    if not isinstance(weights_at, BoundWeights):
        return "the weights are a function of which nothing else is known, not warp and skinning networks"
    for name, mlp in (("warp", weights_at.warp), ("skinning field", weights_at.skinning)):
        if mlp.sizes.width > WIDEST:
            return f"the {name} has layers of {mlp.sizes.width}, the kernels take at most {WIDEST}"
        if mlp.encoding_weight.dtype != torch.float32:
            return f"the {name} computes in {mlp.encoding_weight.dtype}, the kernels in torch.float32"
    return None


def fused_networks(weights_at: BoundWeights, batch: int) -> FusedNetworks:
    """Laid out once and kept with the weights. Nothing here waits for the device."""
    kept = weights_at.laid_out.get(batch)
    if not isinstance(kept, FusedNetworks):
        kept = weights_at.laid_out[batch] = _laid_out(weights_at, batch)
    return kept


@torch.no_grad()
def _laid_out(weights_at: BoundWeights, batch: int) -> FusedNetworks:
    warp, skinning = weights_at.warp, weights_at.skinning
    width = power_of_two(max(warp.sizes.width, skinning.sizes.width))
    bones = power_of_two(skinning.sizes.dim_out)
    firsts, offsets, hidden, biases = zip(*(_padded(mlp, width, batch) for mlp in (warp, skinning)), strict=True)
    moved = _matrix(warp.weights[-1], width, WARP_OUTPUTS).flatten()
    logits = _matrix(weights_at.blend * skinning.weights[-1], width, bones).flatten()
    bias = pad(weights_at.blend * skinning.biases[-1], (0, bones - skinning.sizes.dim_out), value=NEVER)
    return FusedNetworks(
        torch.stack(firsts),
        torch.stack(offsets, 1).contiguous(),
        Split.of(torch.cat(hidden)),
        torch.cat(biases),
        Split.of(torch.cat([moved, logits])),
        torch.cat([pad(warp.biases[-1], (0, WARP_OUTPUTS - 3)), bias]),
        warp.sizes.depth - 1,
        skinning.sizes.depth - 1,
        width,
        bones,
    )


def check_sizes(networks: FusedNetworks, bone_transforms: Float[Tensor, "B J 4 4"]) -> None:
    """What the kernels take for granted when they read: they ask no masks of the networks."""
    n, layers = networks, networks.warp_layers + networks.skinning_layers
    assert n.width == power_of_two(n.width)
    assert n.bones == power_of_two(n.bones) >= bone_transforms.shape[1]
    assert n.first.shape == (2, 3, n.width)
    assert n.offset.shape == (len(bone_transforms), 2, n.width)
    assert n.hidden.high.shape == n.hidden.low.shape == (layers, n.width, n.width)
    assert n.biases.shape == (layers, n.width)
    assert n.last.high.shape == n.last.low.shape == (n.width * (WARP_OUTPUTS + n.bones),)
    assert n.last_bias.shape == (WARP_OUTPUTS + n.bones,)


def power_of_two(count: int) -> int:
    return max(16, 1 << (count - 1).bit_length())


def _padded(mlp: BoundMlp, width: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First matrix (3, W), offset (B, W), the square matrices between (L, W, W) and their biases (L, W)."""
    rest = width - mlp.sizes.width
    first = pad(mlp.encoding_weight.mT, (0, rest))
    offset = pad(mlp.offset[:, 0].expand(batch, -1), (0, rest))
    if mlp.sizes.depth == 1:
        return first, offset, first.new_empty(0, width, width), first.new_empty(0, width)
    hidden = torch.stack([_matrix(weight, width, width) for weight in mlp.weights[:-1]])
    return first, offset, hidden, pad(torch.stack(mlp.biases[:-1]), (0, rest))


def _matrix(weight: Float[Tensor, "O I"], inputs: int, outputs: int) -> Float[Tensor, "I2 O2"]:
    return pad(weight.mT, (0, outputs - weight.shape[0], 0, inputs - weight.shape[1]))
