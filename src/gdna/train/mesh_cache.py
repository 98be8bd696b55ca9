"""The correspondences of a scan's pictures from the person's mesh: extracted once, posed, rasterised in every view.

The same answer as marching rays (`gdna.train.cache.trace_scan`, the definition) to the mesh's precision, for a
hundredth of the questions: the surface is found once instead of once per ray and view.
"""

from __future__ import annotations

import math

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


@torch.no_grad()
def rasterize_scan(
    model: AvatarModel, data: PreparedSet, index: int, image_size: int, resolution: int
) -> tuple[Float[Tensor, "V H W 3"], Bool[Tensor, "V H W"]]:
    """Neutral surface points of all pixels of all views of one scan (zero where nothing is seen), and what is seen.

    `resolution` cells along the mesh's longest side. Raises `GdnaError` where the model has no surface.
    """
    subject = model.subject(model.codes(data.person[index, None], data.number(index)), data.betas[index, None])
    parents = tuple(data.body.parents.tolist())
    mesh = extract_avatar(
        model, subject, data.vertices_canonical[index], data.joints_canonical[index], parents, resolution
    )
    points = model.to_neutral(mesh.vertices[None], subject.betas)[0]
    (posed,) = pose_mesh(mesh, data.bone_transforms[index, None])
    camera = Orthographic(image_size=image_size)
    shape = (data.num_views, image_size, image_size)
    points_neutral = points.new_zeros(*shape, 3)
    mask = torch.zeros(shape, dtype=torch.bool, device=points.device)
    for view in range(data.num_views):
        turn = rotation_y(2 * math.pi * view / data.num_views).to(points)
        seen = rasterize(posed.vertices @ turn.mT, mesh.faces, camera)
        mask[view] = seen.mask
        points_neutral[view][seen.mask] = seen.interpolate(points, mesh.faces)
    return points_neutral, mask
