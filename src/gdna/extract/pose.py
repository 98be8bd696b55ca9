"""Linear blend skinning of a canonical mesh, many frames at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.types import AvatarMesh, PosedMesh

FRAMES_AT_ONCE = 4  # 60,000 vertices x 4 frames x 12 numbers stay near the cache


def pose_mesh(avatar: AvatarMesh, bone_transforms: Float[Tensor, "T J 4 4"]) -> Iterator[PosedMesh]:
    """One posed mesh per frame, in order, as they are asked for.

    Vertices go through the blended transforms, normals, in this pose where they see it, through the inverse transpose
    of their linear part.
    Raises `GdnaError` where the number of bones does not fit.
    """
    if bone_transforms.shape[1] != avatar.skin_weights.shape[1]:
        raise GdnaError(
            f"pose_mesh: found {bone_transforms.shape[1]} bone transforms a frame, "
            f"the avatar has {avatar.skin_weights.shape[1]} bones"
        )
    return _frames(avatar, bone_transforms)


@torch.no_grad()
def _frames(avatar: AvatarMesh, bone_transforms: Float[Tensor, "T J 4 4"]) -> Iterator[PosedMesh]:
    weights = avatar.skin_weights.T.contiguous()
    vertices, normals = avatar.vertices.T.contiguous(), avatar.normals.T.contiguous()  # (3, V), or a frame each
    for some in bone_transforms.split(FRAMES_AT_ONCE):
        transforms = some[:, :, :3]
        if avatar.normals_in is not None:
            normals = avatar.normals_in(some).mT[:, None]
        # (t, 12, J) x (J, V): each of the 12 numbers becomes one contiguous row over the vertices
        blended = torch.matmul(transforms.flatten(2).mT, weights).unflatten(1, (3, 4))
        posed = (blended[:, :, :3] * vertices).sum(2) + blended[:, :, 3]
        turned = (_cofactors(blended[:, :, :3]) * normals).sum(2)
        turned *= turned.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
        for frame in range(len(posed)):
            yield PosedMesh(posed[frame].T.contiguous(), avatar.faces, turned[frame].T.contiguous())


def _cofactors(linear: Float[Tensor, "T 3 3 V"]) -> Float[Tensor, "T 3 3 V"]:
    """The inverse transpose times the determinant: what carries oriented area, and so normals, exactly."""
    first, second, third = linear.unbind(1)
    rows = (torch.linalg.cross(second, third, dim=1), torch.linalg.cross(third, first, dim=1),
            torch.linalg.cross(first, second, dim=1))  # fmt: skip
    return torch.stack(rows, 1)
