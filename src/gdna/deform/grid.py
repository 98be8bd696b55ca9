"""Skinning weights sampled once on a grid of canonical space, bone transforms blended per node.

After Chen et al., Fast-SNARF (TPAMI 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.settings import GridSettings


@dataclass(frozen=True)
class WeightGrid:
    """Weights of B subjects at the nodes (z, y, x) of a box; does not depend on the pose."""

    weights: Float[Tensor, "B D H W J"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]


@dataclass(frozen=True)
class TransformGrid:
    """Blended transforms (rows of 3x4, flattened) at the nodes, for one pose of each subject."""

    values: Float[Tensor, "B D H W 12"]
    scale: Float[Tensor, "3"]  # points * scale + shift lie in [-1, 1]
    shift: Float[Tensor, "3"]

    def read(self, points_canonical: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3 4"]:
        """Trilinear; outside the box, the value at its nearest point."""
        scaled = torch.addcmul(self.shift, points_canonical, self.scale)
        volume = self.values.permute(0, 4, 1, 2, 3)  # channels stay last in memory
        read = torch.nn.functional.grid_sample(
            volume, scaled[:, None, None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return read[:, :, 0, 0].mT.unflatten(-1, (3, 4))


@torch.no_grad()
def sample_weights(weights_at: WeightsAt, like: Float[Tensor, "B N 3"], settings: GridSettings) -> WeightGrid:
    """Ask `weights_at` at every node; `like` gives batch, type and device.

    On a GPU under bfloat16: the grid only has to lead near the right root, which is then polished on the weights.
    """
    batch, device = len(like), like.device
    low, high = like.new_tensor(settings.low), like.new_tensor(settings.high)
    axes = [torch.linspace(0, 1, n, device=device, dtype=like.dtype) for n in settings.shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    nodes = (low + (high - low) * torch.stack([x, y, z], -1)).reshape(-1, 3)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        weights = in_chunks(weights_at)(nodes.expand(batch, -1, -1))
    return WeightGrid(weights.unflatten(1, settings.shape), low, high)


@torch.no_grad()
def blend_grid(grid: WeightGrid, bone_transforms: Float[Tensor, "B J 4 4"]) -> TransformGrid:
    flat = bone_transforms[:, :, :3].flatten(2)
    blended = torch.bmm(grid.weights.flatten(1, 3), flat).unflatten(1, grid.weights.shape[1:4])
    scale = 2 / (grid.high - grid.low)
    return TransformGrid(blended, scale, -1 - grid.low * scale)
