"""A mesh of four times as many faces, so that its surface can follow folds finer than the cells it was cut into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from gdna.extract.detail import unique_edges
from gdna.types import AvatarMesh


def subdivided(mesh: AvatarMesh) -> AvatarMesh:
    """Every face cut in four at the middles of its sides, where vertices get the mean of what both ends have; the
    mesh's own vertices come first. For a mesh that no folds have moved."""
    edges, side = unique_edges(mesh.faces, len(mesh.vertices))
    (a, b, c), (ab, bc, ca) = mesh.faces.T, side.view(3, -1) + len(mesh.vertices)
    quarters = (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)
    return replace(
        mesh,
        vertices=with_middles(mesh.vertices, edges),
        faces=torch.cat([torch.stack(corners, 1) for corners in quarters]),
        normals=normalize(with_middles(mesh.normals, edges), dim=1),
        skin_weights=with_middles(mesh.skin_weights, edges),
        normals_in=None if mesh.normals_in is None else Middles(edges, mesh.normals_in),
    )


def with_middles(values: Float[Tensor, "V C"], edges: Int[Tensor, "E 2"]) -> Float[Tensor, "W C"]:
    """Values at vertices, then their means at the middles of edges."""
    return torch.cat([values, (values[edges[:, 0]] + values[edges[:, 1]]) / 2])


@dataclass(frozen=True, eq=False)
class Middles:
    """Normals in any pose, at vertices and at the middles of edges, from those at the vertices."""

    edges: Int[Tensor, "E 2"]
    at_vertices: Callable[[Tensor], Tensor]

    def __call__(self, bone_transforms: Float[Tensor, "T J 4 4"]) -> Float[Tensor, "T W 3"]:
        """Unit normals in canonical orientation."""
        normals = self.at_vertices(bone_transforms)
        return normalize(torch.stack([with_middles(frame, self.edges) for frame in normals]), dim=2)
