"""Where the scans' surface points lie in neutral space: found once, as the fine stage leaves shape and skinning be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float16, Int, Int16
from torch import Tensor

from gdna.data.prepared import PreparedSet, draw_integers
from gdna.data.sample_file import from_fixed
from gdna.deform.search import uses_grid
from gdna.geometry.devices import sent
from gdna.model.avatar_model import AvatarModel

POINTS_AT_ONCE = 2**16


@dataclass(frozen=True)
class SurfaceBatch:
    """Surface points of B scans in neutral space, with the scans' posed normals there."""

    points_neutral: Float[Tensor, "B N 3"]
    normals_posed: Float[Tensor, "B N 3"]
    found: Bool[Tensor, "B N"]  # whether the posed point has a correspondence; the neutral point is zero otherwise


@dataclass(frozen=True)
class NeutralSurface:
    """All surface points of n scans."""

    points_neutral: Float[Tensor, "n K 3"]
    normals_posed: Int16[Tensor, "n K 3"]  # fixed point, as prepared
    found: Bool[Tensor, "n K"]

    def draw(self, indices: Int[Tensor, " B"], count: int, generator: torch.Generator) -> SurfaceBatch:
        """`count` points of each of the scans, with replacement; on the device of the surface."""
        device, total = self.found.device, self.found.shape[1]
        point = draw_integers(total, (len(indices), count), generator, device)
        flat = point + sent(indices, device)[:, None] * total
        return SurfaceBatch(
            self.points_neutral.flatten(0, 1)[flat],
            from_fixed(self.normals_posed.flatten(0, 1)[flat]),
            self.found.flatten()[flat],
        )


@torch.no_grad()
def frozen_features(model: AvatarModel, data: PreparedSet) -> Float16[Tensor, "n C D H W"]:
    """The generator's volume of every scan, on the model's device, in half precision (8 MB each): the fine stage leaves
    the generator be, so no step has to run it."""
    scans, people = (x.to(model.z_shapes.weight.device) for x in (torch.arange(len(data)), data.person))
    return volumes(model, model.codes(people, scans).shape)


@torch.no_grad()
def volumes(model: AvatarModel, z_shape: Float[Tensor, "M Z"]) -> Float16[Tensor, "M C D H W"]:
    """The generator's answers to these codes, one after the other."""
    return torch.cat([model.generator(code).half() for code in z_shape.to(model.z_shapes.weight).split(1)])


@torch.no_grad()
def neutral_surface(model: AvatarModel, data: PreparedSet) -> NeutralSurface:
    """Ask the model for the correspondences of all surface points, scan by scan."""
    assert data.fine is not None
    device = model.z_shapes.weight.device
    search = model.search_settings()
    points_neutral = torch.zeros(data.fine.surface_points.shape, device=data.betas.device)
    found = torch.zeros(points_neutral.shape[:2], dtype=torch.bool, device=data.betas.device)
    for index in range(len(data)):
        person = data.person[index, None].to(device)
        subject = model.subject(model.codes(person, data.number(index).to(device)), data.betas[index, None].to(device))
        transforms = data.bone_transforms[index, None].to(device)
        points = from_fixed(data.fine.surface_points[index]).to(device)
        grid = model.transform_grid(subject, transforms, search) if uses_grid(search, points[None]) else None
        parts = points.split(POINTS_AT_ONCE)
        answers = [model.occupancy_posed(part[None], transforms, subject, search, grid) for part in parts]
        points_neutral[index] = torch.cat([a.points_neutral[0] for a in answers]).to(points_neutral)
        found[index] = torch.cat([a.found[0] for a in answers]).to(found)
    return NeutralSurface(points_neutral, data.fine.surface_normals, found)
