"""Folds as geometry: a mesh whose vertices move along its own normals until its faces agree with predicted normals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from gdna.geometry.mesh import face_areas, face_normals, vertex_normals
from gdna.types import AvatarMesh

LARGEST_WEIGHT = 4.0  # of an edge (an even triangle's have 0.6): a sliver must not outweigh all around it
TURNED = 0.3  # cosine between a face before and after
CALMING = 6  # rounds; 0.3 % of a badly trained model's faces are turned, 0.02 % after two rounds, none after six
CALMED = 0.7  # of the mean of the neighbours
EVENING = 5  # rounds
EVENING_STEP = 0.7  # of the way to the middle of the neighbours


@dataclass(frozen=True)
class FoldSettings:
    """How far predicted normals are believed. Measured on four garments of open scans, smoothed over 2 cm (2.2 mm away
    on average) and brought back by their true normals: a reach of 1, 2, 3, 4 cm leaves 1.8, 1.3, 1.1, 1.0 mm."""

    reach: float = 0.03  # metres: 2 pi times this is the wavelength of which half comes through
    limit: float = 0.015  # metres that a vertex may move
    least_cosine: float = 0.3  # to the surface's own normal; predictions that contradict it more are not believed
    iterations: int = 100  # of conjugate gradients


def with_folds(mesh: AvatarMesh, settings: FoldSettings | None = None) -> AvatarMesh:
    """The mesh moved to where its normals say, for normals of the canonical pose. What is not moved stays as `base`."""
    return replace(mesh, vertices=_folded(mesh.vertices, mesh.faces, mesh.normals, settings), base=mesh.vertices)


def without_folds(mesh: AvatarMesh) -> AvatarMesh:
    """The mesh before `with_folds`."""
    return mesh if mesh.base is None else replace(mesh, vertices=mesh.base, base=None)


def folds_in_pose(mesh: AvatarMesh, bone_transforms: Float[Tensor, "J 4 4"]) -> AvatarMesh:
    """A mesh with folds with those of this pose, where its normals see the pose; the mesh itself elsewhere."""
    if mesh.base is None or mesh.normals_in is None:
        return mesh
    normals = mesh.normals_in(bone_transforms[None])[0]
    return replace(mesh, vertices=_folded(mesh.base, mesh.faces, normals, None))


def _folded(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    normals: Float[Tensor, "V 3"],
    settings: FoldSettings | None,
) -> Float[Tensor, "V 3"]:
    moved = displacement(vertices, faces, normals, settings or FoldSettings())
    return vertices + unturned(vertices, faces, moved)[:, None] * vertex_normals(vertices, faces)


def displacement(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    normals: Float[Tensor, "V 3"],
    settings: FoldSettings,
) -> Float[Tensor, " V"]:
    """Metres by which each vertex moves along the mesh's own normal N, so that its edges lie at right angles to the
    predicted unit `normals` n at their ends: least squares over the edges,

        sum_ij w_ij ((n_i + n_j) / 2 . (x_i + d_i N_i - x_j - d_j N_j))^2 + sum_i a_i (d_i / reach)^2,

    w_ij the cotangent weights, a_i the area of vertex i. After Nehab et al. 2005 ("Efficiently combining positions and
    normals for precise 3D geometry"), whose positions this keeps at low frequencies by the second sum.
    """
    system = fold_system(vertices, faces, normals, settings)
    moved = conjugate_gradients(system.product, system.right, system.diagonal, settings.iterations)
    return moved.clamp(-settings.limit, settings.limit)


@dataclass(frozen=True)
class FoldSystem:
    """The normal equations A d = b of `displacement`, edge by edge."""

    edges: Int[Tensor, "E 2"]
    coefficients: Float[Tensor, "E 2"]  # of d_i and d_j in an edge's residual, times the root of its weight
    targets: Float[Tensor, " E"]  # what they shall add up to
    screen: Float[Tensor, " V"]  # a_i / reach^2

    def product(self, d: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
        """A d."""
        return self._gathered((self.coefficients * d[self.edges]).sum(1)) + self.screen * d

    @property
    def right(self) -> Float[Tensor, " V"]:
        return self._gathered(self.targets)

    @property
    def diagonal(self) -> Float[Tensor, " V"]:
        return self.screen.index_add(0, self.edges.flatten(), self.coefficients.square().flatten())

    def _gathered(self, per_edge: Float[Tensor, " E"]) -> Float[Tensor, " V"]:
        values = (self.coefficients * per_edge[:, None]).flatten()
        return torch.zeros_like(self.screen).index_add_(0, self.edges.flatten(), values)


def fold_system(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    normals: Float[Tensor, "V 3"],
    settings: FoldSettings,
) -> FoldSystem:
    """Where a prediction is not believed, the surface's own normal stands for it: no fold there."""
    own = vertex_normals(vertices, faces)
    believed = (normals * own).sum(1, keepdim=True) > settings.least_cosine
    target = torch.where(believed, normals, own)
    edges, weights = cotangent_weights(vertices, faces)
    i, j = edges.unbind(1)
    middle = normalize(target[i] + target[j], dim=1) * weights.sqrt()[:, None]
    coefficients = torch.stack([(middle * own[i]).sum(1), -(middle * own[j]).sum(1)], 1)
    share = (face_areas(vertices, faces) / 3).repeat_interleave(3)
    areas = torch.zeros_like(vertices[:, 0]).index_add_(0, faces.flatten(), share)
    return FoldSystem(edges, coefficients, -(middle * (vertices[i] - vertices[j])).sum(1), areas / settings.reach**2)


def cotangent_weights(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> tuple[Int[Tensor, "E 2"], Float[Tensor, " E"]]:
    """Each edge once, its lower vertex first, with half the cotangents of the angles opposite to it, between zero and
    `LARGEST_WEIGHT`."""
    cotangents = []
    for tip, a, b in ((2, 0, 1), (0, 1, 2), (1, 2, 0)):
        u, v = (vertices[faces[:, end]] - vertices[faces[:, tip]] for end in (a, b))
        cotangents.append((u * v).sum(1) / (2 * torch.linalg.cross(u, v).norm(dim=1).clamp_min(1e-12)))
    edges, edge = unique_edges(faces, len(vertices))
    weights = vertices.new_zeros(len(edges)).index_add_(0, edge, torch.cat(cotangents))
    return edges, weights.clamp(0.0, LARGEST_WEIGHT)


def unique_edges(faces: Int[Tensor, "F 3"], count: int) -> tuple[Int[Tensor, "E 2"], Int[Tensor, " S"]]:
    """Each edge once, its lower vertex first; and the edge of each face's first side, then each one's second, third."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values
    unique, edge = (ends[:, 0] * count + ends[:, 1]).unique(return_inverse=True)
    return torch.stack([unique // count, unique % count], 1), edge


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Float[Tensor, " V"], diagonal: Float[Tensor, " V"], iterations: int
) -> Float[Tensor, " V"]:
    """x with A x = `right` for a positive definite A (`product`), preconditioned by its diagonal, from zero. The number
    of iterations is fixed, so that a GPU is not waited for."""
    x, residual = torch.zeros_like(right), right
    ahead = residual / diagonal
    direction, energy = ahead, residual @ ahead
    for _ in range(iterations):
        image = product(direction)
        step = energy / (direction @ image).clamp_min(1e-30)
        x, residual = x + step * direction, residual - step * image
        ahead = residual / diagonal
        before, energy = energy, residual @ ahead
        direction = ahead + energy / before.clamp_min(1e-30) * direction
    return x


def unturned(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], moved: Float[Tensor, " V"]
) -> Float[Tensor, " V"]:
    """The displacement made smaller and smoother wherever it turns a face, round by round: in thin places, where both
    sides would meet, and where predictions are torn."""
    own, before = vertex_normals(vertices, faces), face_normals(vertices, faces)
    edges, _ = unique_edges(faces, len(vertices))
    count = around(torch.ones_like(moved), edges)
    for _ in range(CALMING):
        after = face_normals(vertices + moved[:, None] * own, faces)
        turned = (after * before).sum(1) < TURNED
        corners = torch.zeros_like(moved).index_add_(0, faces.flatten(), turned.to(moved).repeat_interleave(3))
        near = corners + around(corners, edges) > 0
        moved = torch.where(near, CALMED * around(moved, edges) / count.clamp_min(1), moved)
    return moved


def around(values: Float[Tensor, "V *c"], edges: Int[Tensor, "E 2"]) -> Float[Tensor, "V *c"]:
    """The sum over each vertex's neighbours."""
    i, j = edges.unbind(1)
    return torch.zeros_like(values).index_add_(0, i, values[j]).index_add_(0, j, values[i])


def evened(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Vertices moved within the surface towards the middle of their neighbours.

    Marching cubes leaves slivers (a twentieth of its faces are worse than 1 : 8), which any displacement turns over;
    a few rounds leave even triangles on the same surface (a move of 2 mm leaves a sphere of 5 cm by 0.04 mm).
    """
    edges, _ = unique_edges(faces, len(vertices))
    count = around(torch.ones_like(vertices[:, 0]), edges).clamp_min(1)[:, None]
    for _ in range(EVENING):
        normals = vertex_normals(vertices, faces)
        away = around(vertices, edges) / count - vertices
        away = away - (away * normals).sum(1, keepdim=True) * normals
        vertices = vertices + EVENING_STEP * away
    return vertices
