"""Skinning weights sampled once on a grid of canonical space, bone transforms blended per node.

After Chen et al., Fast-SNARF (TPAMI 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from gdna.deform.blend import WeightsAt, in_chunks
from gdna.deform.settings import GridSettings

Corner = tuple[float, float, float]
"""x, y, z in metres; plain numbers, since a tensor made of them would wait for the device."""


@dataclass(frozen=True)
class WeightGrid:
    """Weights of B subjects at the nodes (z, y, x) of a box; does not depend on the pose."""

    weights: Float[Tensor, "B D H W J"]
    low: Corner
    high: Corner


@dataclass(frozen=True)
class TransformGrid:
    """Blended transforms (rows of 3x4, flattened; then padding) at the nodes, for one pose of each subject."""

    values: Float[Tensor, "B D H W C"]  # C = 12, or 16 for aligned reads
    low: Corner
    high: Corner

    def nodes_per_metre(self) -> Corner:
        depth, height, width = self.values.shape[1:4]
        x, y, z = (
            (n - 1) / (high - low) for n, low, high in zip((width, height, depth), self.low, self.high, strict=True)
        )
        return x, y, z

    def read(self, points_canonical: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3 4"]:
        """Trilinear; outside the box, the value at its nearest point."""
        columns = zip(points_canonical.unbind(-1), self.low, self.high, strict=True)
        scaled = torch.stack([(x - low) * (2 / (high - low)) - 1 for x, low, high in columns], -1)
        volume = self.values.permute(0, 4, 1, 2, 3)  # channels stay last in memory
        read = torch.nn.functional.grid_sample(
            volume, scaled[:, None, None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return read[:, :12, 0, 0].mT.unflatten(-1, (3, 4))


@torch.no_grad()
def sample_weights(weights_at: WeightsAt, like: Float[Tensor, "B N 3"], settings: GridSettings) -> WeightGrid:
    """Ask `weights_at` at every node; `like` gives batch, type and device.

    On a GPU under bfloat16: the grid only has to lead near the right root, which is then polished on the weights.
    """
    batch, device = len(like), like.device
    axes = [
        low + (high - low) * torch.linspace(0, 1, n, device=device, dtype=like.dtype)
        for low, high, n in zip(settings.low, settings.high, settings.shape[::-1], strict=True)
    ]
    z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
    nodes = torch.stack([x, y, z], -1).reshape(-1, 3)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        weights = in_chunks(weights_at)(nodes.expand(batch, -1, -1))
    return WeightGrid(weights.unflatten(1, settings.shape), settings.low, settings.high)


@torch.no_grad()
def blend_grid(grid: WeightGrid, bone_transforms: Float[Tensor, "B J 4 4"], columns: int = 12) -> TransformGrid:
    """For one pose; `columns` of 16 pads the nodes for aligned reads."""
    flat = pad(bone_transforms[:, :, :3].flatten(2), (0, columns - 12))
    blended = torch.bmm(grid.weights.flatten(1, 3).to(flat.dtype), flat).unflatten(1, grid.weights.shape[1:4])
    return TransformGrid(blended, grid.low, grid.high)
