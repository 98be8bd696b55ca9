"""Folds as geometry: a mesh whose vertices move until its faces agree with predicted normals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from gdna.geometry.cores import each
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
    stiffness: float = 0.05  # against shearing within the surface, beside 1 for what normals say
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
    return vertices + unturned(vertices, faces, moved)


def displacement(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    normals: Float[Tensor, "V 3"],
    settings: FoldSettings,
) -> Float[Tensor, "V 3"]:
    """Metres by which each vertex moves, so that its edges lie at right angles to the predicted unit `normals` n at
    their ends: least squares over the edges,

        sum_ij w_ij ((n_ij . (x_i + u_i - x_j - u_j))^2 + stiffness |t_ij|^2) + sum_i a_i |u_i|^2 / reach^2,

    n_ij the mean direction of n_i and n_j, t_ij what u_i - u_j has at right angles to it, w_ij the cotangent weights,
    a_i the area of vertex i. After Nehab et al. 2005 ("Efficiently combining positions and normals for precise 3D
    geometry"), whose positions this keeps at low frequencies by the last sum. Vertices are free to move aside: where a
    surface is frayed, its own normals are no directions in which it could be evened.
    """
    system = fold_system(vertices, faces, normals, settings)
    moved = conjugate_gradients(system.product, system.right, system.diagonal, settings.iterations)
    return moved * (settings.limit / moved.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)


@dataclass(frozen=True)
class FoldSystem:
    """The normal equations A u = b of `displacement`, edge by edge."""

    edges: Int[Tensor, "E 2"]
    directions: Float[Tensor, "E 3"]  # n_ij times the root of w_ij
    weights: Float[Tensor, " E"]  # w_ij
    stiffness: float
    targets: Float[Tensor, " E"]  # of directions . (u_i - u_j)
    screen: Float[Tensor, " V"]  # a_i / reach^2

    def product(self, u: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """A u; on a CPU vertex by vertex, elsewhere edge by edge."""
        if u.device.type != "cpu" or u.dtype != torch.float32:
            return self.product_by_edges(u)
        from gdna.extract.fold_system_kernels import product

        (starts, far, directions, weights), out = self._half_edges, torch.empty_like(u)
        numbers = np.float32(self.stiffness), self.screen.numpy(), u.numpy(), out.numpy()
        parts = torch.linspace(0, len(u), torch.get_num_threads() + 1).long().tolist()
        each(lambda part: product(starts, far, directions, weights, *numbers, *part), list(pairwise(parts)))
        return out

    def product_by_edges(self, u: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """A u, plain."""
        i, j = self.edges.unbind(1)
        apart = u[i] - u[j]
        along = (self.directions * apart).sum(1, keepdim=True)
        pull = (1 - self.stiffness) * self.directions * along + self.stiffness * self.weights[:, None] * apart
        return self._gathered(pull) + self.screen[:, None] * u

    @cached_property
    def _half_edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where each vertex's begin, their other ends, directions and weights."""
        near, far = self.edges.T.flatten(), self.edges.flip(1).T.flatten()
        order = near.argsort(stable=True)
        starts = torch.zeros(len(self.screen) + 1, dtype=torch.long)
        starts[1:] = near.bincount(minlength=len(self.screen)).cumsum(0)
        edge = order % len(self.edges)
        return starts.numpy(), far[order].numpy(), self.directions[edge].numpy(), self.weights[edge].numpy()

    @property
    def right(self) -> Float[Tensor, "V 3"]:
        return self._gathered(self.directions * self.targets[:, None])

    @property
    def diagonal(self) -> Float[Tensor, "V 3"]:
        own = (1 - self.stiffness) * self.directions.square() + self.stiffness * self.weights[:, None]
        i, j = self.edges.unbind(1)
        return self.screen[:, None].repeat(1, 3).index_add_(0, i, own).index_add_(0, j, own)

    def _gathered(self, per_edge: Float[Tensor, "E 3"]) -> Float[Tensor, "V 3"]:
        i, j = self.edges.unbind(1)
        return per_edge.new_zeros(len(self.screen), 3).index_add_(0, i, per_edge).index_add_(0, j, -per_edge)


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
    directions = normalize(target[i] + target[j], dim=1) * weights.sqrt()[:, None]
    share = (face_areas(vertices, faces) / 3).repeat_interleave(3)
    areas = torch.zeros_like(vertices[:, 0]).index_add_(0, faces.flatten(), share)
    targets = -(directions * (vertices[i] - vertices[j])).sum(1)
    return FoldSystem(edges, directions, weights, settings.stiffness, targets, areas / settings.reach**2)


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
    product: Callable[[Tensor], Tensor], right: Float[Tensor, "*n"], diagonal: Float[Tensor, "*n"], iterations: int
) -> Float[Tensor, "*n"]:
    """x with A x = `right` for a positive definite A (`product`), preconditioned by its diagonal, from zero. The number
    of iterations is fixed, so that a GPU is not waited for."""
    x, residual = torch.zeros_like(right), right
    ahead = residual / diagonal
    direction, energy = ahead, (residual * ahead).sum()
    for _ in range(iterations):
        image = product(direction)
        step = energy / (direction * image).sum().clamp_min(1e-30)
        x, residual = x + step * direction, residual - step * image
        ahead = residual / diagonal
        before, energy = energy, (residual * ahead).sum()
        direction = ahead + energy / before.clamp_min(1e-30) * direction
    return x


def unturned(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], moved: Float[Tensor, "V 3"]
) -> Float[Tensor, "V 3"]:
    """The displacement made smaller and smoother wherever it turns a face, round by round: in thin places, where both
    sides would meet, and where predictions are torn."""
    before = face_normals(vertices, faces)
    edges, _ = unique_edges(faces, len(vertices))
    count = around(torch.ones_like(moved[:, :1]), edges).clamp_min(1)
    for _ in range(CALMING):
        after = face_normals(vertices + moved, faces)
        turned = (after * before).sum(1) < TURNED
        corners = torch.zeros_like(moved[:, 0]).index_add_(0, faces.flatten(), turned.to(moved).repeat_interleave(3))
        near = corners + around(corners, edges) > 0
        moved = torch.where(near[:, None], CALMED * around(moved, edges) / count, moved)
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
