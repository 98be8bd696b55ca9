"""The correspondences of a person's pictures from its mesh: extracted once, posed, rasterised in every view.

The same answer as marching rays (`gdna.train.cache.trace_scan`, the definition) to the mesh's precision, for a
hundredth of the questions: the surface is found once instead of once per ray and view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.data.prepared import PreparedSet
from gdna.extract.avatar_mesh import extract_avatar
from gdna.extract.pose import pose_mesh
from gdna.geometry.rotations import rotation_y
from gdna.model.avatar_model import AvatarModel
from gdna.render.camera import Orthographic
from gdna.render.rasterize import rasterize
from gdna.types import Subject


@dataclass(frozen=True)
class Posed:
    """A person in a pose: who it is, and the body under the clothes."""

    subject: Subject  # one
    skin: Float[Tensor, "Vs 3"]  # of the body, canonical
    joints: Float[Tensor, "J 3"]  # canonical
    bone_transforms: Float[Tensor, "J 4 4"]  # canonical -> posed


def rasterize_scan(
    model: AvatarModel, data: PreparedSet, index: int, image_size: int, resolution: int
) -> tuple[Float[Tensor, "V H W 3"], Bool[Tensor, "V H W"]]:
    """`rasterize_views` of the person of a scan in the scan's pose."""
    with torch.no_grad():
        subject = model.subject(model.codes(data.person[index, None], data.number(index)), data.betas[index, None])
    body = data.vertices_canonical[index], data.joints_canonical[index]
    posed = Posed(subject, *body, data.bone_transforms[index])
    return rasterize_views(model, posed, tuple(data.body.parents.tolist()), data.num_views, image_size, resolution)


@torch.no_grad()
def rasterize_views(
    model: AvatarModel, person: Posed, parents: tuple[int, ...], num_views: int, image_size: int, resolution: int
) -> tuple[Float[Tensor, "V H W 3"], Bool[Tensor, "V H W"]]:
    """Neutral surface points of all pixels of all yaw views of a person (zero where nothing is seen), and what is seen.

    `resolution` cells along the mesh's longest side. Raises `GdnaError` where the model has no surface.
    """
    mesh = extract_avatar(model, person.subject, person.skin, person.joints, parents, resolution)
    points = model.to_neutral(mesh.vertices[None], person.subject.betas)[0]
    (posed,) = pose_mesh(mesh, person.bone_transforms[None])
    camera = Orthographic(image_size=image_size)
    shape = (num_views, image_size, image_size)
    points_neutral = points.new_zeros(*shape, 3)
    mask = torch.zeros(shape, dtype=torch.bool, device=points.device)
    for view in range(num_views):
        turn = rotation_y(2 * math.pi * view / num_views).to(points)
        seen = rasterize(posed.vertices @ turn.mT, mesh.faces, camera)
        mask[view] = seen.mask
        points_neutral[view][seen.mask] = seen.interpolate(points, mesh.faces)
    return points_neutral, mask
