"""Small networks that act like a trained warp and skinning field: an arm along x, bent at the origin."""

from __future__ import annotations

import torch
from torch import Tensor

from gdna.fields.bound_weights import BoundWeights
from gdna.fields.mlp import ConditionedMlp, MlpSizes
from gdna.geometry.rotations import axis_angle_to_matrix, rigid


def small_weights(batch: int = 2, dtype: torch.dtype = torch.float32, width: int = 16, bones: int = 3) -> BoundWeights:
    """For each of `batch` conditions; the weights change over a few centimetres, the warp moves by centimetres."""
    generator = torch.Generator().manual_seed(3)
    mlps = [
        ConditionedMlp(MlpSizes(3, width, 2, dim_condition=2)),
        ConditionedMlp(MlpSizes(bones, width, 3, dim_condition=2)),
    ]
    for mlp in mlps:
        for layer in mlp.linears:
            outputs, inputs = layer.weight_v.shape
            layer.set_weight(torch.randn(outputs, inputs, generator=generator) / inputs**0.5, 0.05)
    condition = torch.randn(batch, 2, generator=generator).to(dtype)
    warp, skinning = (mlp.to(dtype).bind(condition * scale) for mlp, scale in zip(mlps, (0.2, 1.0), strict=True))
    return BoundWeights(warp, skinning, 8.0)


def bent(batch: int = 2, dtype: torch.dtype = torch.float32, bones: int = 3) -> Tensor:
    """Bones (batch, bones, 4, 4) turned by up to 0.4 rad and moved by centimetres."""
    generator = torch.Generator().manual_seed(4)
    angles = 0.25 * torch.randn(batch, bones, 3, generator=generator)
    return rigid(axis_angle_to_matrix(angles), 0.03 * torch.randn(batch, bones, 3, generator=generator)).to(dtype)


def cloud(batch: int = 2, count: int = 40, dtype: torch.dtype = torch.float32) -> Tensor:
    """Canonical points (batch, count, 3) within 0.5 m of the origin."""
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(batch, count, 3, generator=generator) - 0.5).to(dtype)


def elbow_weights(points_canonical: Tensor) -> Tensor:
    """(B, M, 3) -> (B, M, 2): from one bone to the other within centimetres of x = 0."""
    share = torch.sigmoid(40 * points_canonical[..., :1])
    return torch.cat([1 - share, share], -1)


def elbow(batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Two bones (batch, 2, 4, 4), the second turned by 1.9 rad around z: inside the elbow the map folds."""
    angles = torch.zeros(batch, 2, 3)
    angles[:, 1, 2] = 1.9
    return rigid(axis_angle_to_matrix(angles), torch.zeros(batch, 2, 3)).to(dtype)
