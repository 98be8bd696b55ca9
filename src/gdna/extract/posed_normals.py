"""A mesh's normals in any pose, from what was asked of the normal field once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.fields.pose import PosableNormals, PoseHead
from gdna.geometry.cores import each
from gdna.geometry.mesh import fuse_normals

VERTICES_AT_ONCE = 2048  # their activations, half a megabyte, stay in a core's second-level cache


@dataclass(frozen=True, eq=False)
class PosedNormals:
    """The normals that the field predicts at a mesh's vertices, fused with the surface's own, pose by pose."""

    head: PoseHead
    points: PosableNormals  # of the vertices
    surface: Float[Tensor, "V 3"]  # the mesh's own normals
    skin_weights: Float[Tensor, "V J"]

    @torch.no_grad()
    def __call__(self, bone_transforms: Float[Tensor, "T J 4 4"]) -> Float[Tensor, "T V 3"]:
        """Unit normals in canonical orientation."""
        table = self.head.table(bone_transforms.to(self.surface))
        if self.surface.is_cuda:
            return self._part(table, slice(None))
        starts = range(0, len(self.surface), VERTICES_AT_ONCE)
        parts = each(lambda start: self._part(table, slice(start, start + VERTICES_AT_ONCE)), starts)
        return torch.cat(parts, 1)

    def _part(self, table: Float[Tensor, "T J C"], rows: slice) -> Float[Tensor, "T W 3"]:
        normals = self.head.normals(self.points.chunk(rows), self.skin_weights[rows] @ table)
        return fuse_normals(normals, self.surface[rows])
