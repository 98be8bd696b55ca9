"""How normals follow the pose: folds that belong to the bend of the joints near a surface point.

Late in the normal field on purpose. What a vertex brings along (`base`, `key`) does not depend on the pose and is
computed once; a frame of an animation then costs a product of the skinning weights with a small table and one hidden
layer of 64, a fiftieth of the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from gdna.fields.mlp import activate
from gdna.geometry.arithmetic import full_precision

CHANNELS = 64


@dataclass(frozen=True)
class PosableNormals:
    """What the normal field says of points before it knows the pose."""

    base: Float[Tensor, "*b 3"]  # what the layer that sees the pose adds to
    key: Float[Tensor, "*b C"]  # what that layer sees besides the pose

    def chunk(self, rows: slice) -> PosableNormals:
        """Of these points (the first axis)."""
        return PosableNormals(self.base[rows], self.key[rows])


class PoseHead(nn.Module):
    """Adds V (softplus(k + p) - softplus(k)) to the normal field's output, where k = K hidden + b belongs to the point
    and p = sum_j w_j P_j to its pose: the skinning weights' mean of a table with a row per bone.

    A bone's row is linear in the bends of the joints at both its ends: R_parent^T R - 1 of its own joint, and of its
    children's. So p is zero in the canonical pose, does not see where the person stands or faces, is as smooth over the
    surface as the weights, and a bent knee changes only what thigh and shin move. V starts at zero: the field starts
    as one that is blind to the pose.
    """

    def __init__(self, dim_hidden: int, parents: tuple[int, ...], channels: int = CHANNELS) -> None:
        super().__init__()
        self.parents = parents
        self.key = nn.Linear(dim_hidden, channels)
        bend = (len(parents), 9, channels)
        self.own = nn.Parameter(torch.empty(bend).uniform_(-1 / 3, 1 / 3))
        self.below = nn.Parameter(torch.empty(bend).uniform_(-1 / 3, 1 / 3))
        self.out = nn.Linear(channels, 3, bias=False)
        nn.init.zeros_(self.out.weight)

    def table(self, bone_transforms: Float[Tensor, "B J 4 4"]) -> Float[Tensor, "B J C"]:
        """A row per bone; `bone_transforms` are canonical -> posed, turned as a whole or not."""
        bends = joint_bends(bone_transforms, self.parents)
        own, below = (torch.einsum("bjr,jrc->bjc", bends, weight) for weight in (self.own, self.below))
        return own + _tree(self.parents, bends.device)[1].to(bends) @ below

    def local_pose(
        self, skin_weights: Float[Tensor, "B N J"], bone_transforms: Float[Tensor, "B J 4 4"]
    ) -> Float[Tensor, "B N C"]:
        """p, in the weights' own precision."""
        with full_precision():
            return skin_weights @ self.table(bone_transforms.to(skin_weights))

    def posable(self, output: Float[Tensor, "*b 3"], hidden: Float[Tensor, "*b K"]) -> PosableNormals:
        """From the field's output and last hidden activation; in 32 bit, as the two softplus nearly cancel."""
        with torch.autocast(hidden.device.type, enabled=False):
            key = self.key(hidden.to(self.key.weight.dtype))
            return PosableNormals(output.to(key) - self.out(activate(key.clone())), key)

    def normals(self, points: PosableNormals, local_pose: Float[Tensor, "*#b C"]) -> Float[Tensor, "*b 3"]:
        """Unit normals in canonical orientation; zero is the canonical pose."""
        with torch.autocast(points.key.device.type, enabled=False):
            return normalize(points.base + self.out(activate(points.key + local_pose)), dim=-1)


def joint_bends(bone_transforms: Float[Tensor, "B J 4 4"], parents: tuple[int, ...]) -> Float[Tensor, "B J 9"]:
    """R_parent^T R_j - 1 of every joint, zero at the root."""
    rotations = bone_transforms[..., :3, :3]
    above = rotations.index_select(1, _tree(parents, rotations.device)[0])
    relative = (above[..., :, :, None] * rotations[..., :, None, :]).sum(-3)
    return (relative - torch.eye(3, dtype=relative.dtype, device=relative.device)).flatten(2)


@lru_cache(maxsize=16)
def _tree(parents: tuple[int, ...], device: torch.device) -> tuple[Int[Tensor, " J"], Float[Tensor, "J J"]]:
    """Each bone's parent (the root's is itself), and a 1 in row p, column j where p is the parent of j. Kept, because
    a recorded training step may not copy to the device."""
    above = torch.tensor([max(parent, 0) for parent in parents])
    child = torch.zeros(len(parents), len(parents))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            child[parent, joint] = 1.0
    return above.to(device), child.to(device)
