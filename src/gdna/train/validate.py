"""What is looked at while training goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gdna.data.prepared import PreparedSet
from gdna.geometry.arithmetic import matmul_precision
from gdna.model.avatar_model import AvatarModel
from gdna.objectives import intersection_over_union

SCANS = 4
POINTS = 1000


@dataclass(frozen=True)
class HeldOutSample:
    """N points each of the first B scans, drawn once: half uniform in the scan's box, half near its surface."""

    scans: Int[Tensor, " B"]
    people: Int[Tensor, " B"]
    betas: Float[Tensor, "B S"]
    bone_transforms: Float[Tensor, "B J 4 4"]
    points_posed: Float[Tensor, "B N 3"]
    occupied: Bool[Tensor, "B N"]


def held_out_sample(data: PreparedSet, generator: torch.Generator, device: torch.device) -> HeldOutSample:
    """At most four scans with at most 1000 points of either kind."""
    indices = torch.arange(min(SCANS, len(data)))
    points, occupied = [], []
    for index in indices.tolist():
        held_out = data.held_out(index)
        count = len(held_out.uniform_points)
        chosen = torch.randperm(count, generator=generator)[:POINTS]
        points.append(torch.cat([held_out.uniform_points[chosen], held_out.near_points[chosen]]))
        occupied.append(torch.cat([held_out.uniform_occupancy[chosen], held_out.near_occupancy[chosen]]))
    return HeldOutSample(
        indices.to(device),
        data.person[indices.to(data.person.device)].to(device),
        data.betas[: len(indices)].to(device),
        data.bone_transforms[: len(indices)].to(device),
        torch.stack(points).to(device),
        torch.stack(occupied).to(device),
    )


@torch.no_grad()
def held_out_iou(model: AvatarModel, sample: HeldOutSample) -> dict[str, float]:
    """Intersection over union of posed occupancy, for the log: of the uniform points and of those near the surface."""
    subject = model.subject(model.codes(sample.people, sample.scans), sample.betas)
    with matmul_precision("highest"):
        query = model.occupancy_posed(sample.points_posed, sample.bone_transforms, subject, model.search_settings())
    inside = (query.logits > 0).unflatten(1, (2, -1))
    occupied = sample.occupied.unflatten(1, (2, -1))
    return {
        "held_out/iou_uniform": intersection_over_union(inside[:, 0], occupied[:, 0]),
        "held_out/iou_near": intersection_over_union(inside[:, 1], occupied[:, 1]),
        "held_out/found": float(query.found.float().mean()),
    }


def image_rows(*rows: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "h w 3"]:
    """Images with components in [-1, 1], each batch a row of the picture."""
    joined = torch.cat([torch.cat(list(row.detach().float()), -1) for row in rows], 1)
    return ((joined + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
