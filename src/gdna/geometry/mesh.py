"""Triangle meshes as (vertices, faces) tensors: normals, areas, the largest part, samples on the surface."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError

FUSE_SIGMA = 0.2


def _area_vectors(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """Normals of counter-clockwise faces, as long as twice the face's area."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return torch.linalg.cross(b - a, c - a)


def face_areas(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, " F"]:
    """Square metres."""
    return _area_vectors(vertices, faces).norm(dim=-1) / 2


def face_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """Unit normals; zero where a face has no area."""
    return torch.nn.functional.normalize(_area_vectors(vertices, faces), dim=-1, eps=1e-30)


def vertex_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Unit normals, the mean of the adjacent faces by area; zero where there is none."""
    vectors = _area_vectors(vertices, faces)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(0, faces[:, corner], vectors)
    return torch.nn.functional.normalize(normals, dim=-1, eps=1e-30)


def fuse_normals(fine: Float[Tensor, "*#n 3"], coarse: Float[Tensor, "*#n 3"]) -> Float[Tensor, "*_ 3"]:
    """Predicted unit normals, led back to the surface's own where the two disagree.

    The confidence in `fine` is exp(-(c - 1)^2 / (2 * 0.2^2)) with c = (cos + 1) / 2 of the angle between them.
    """
    closeness = 0.5 * ((fine * coarse).sum(-1, keepdim=True) + 1)
    confidence = torch.exp(-((closeness - 1) ** 2) / (2 * FUSE_SIGMA**2))
    return torch.nn.functional.normalize(confidence * fine + (1 - confidence) * coarse, dim=-1)


def largest_component(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> tuple[Int[Tensor, " W"], Int[Tensor, "G 3"]]:
    """The connected part with the most area: which vertices it keeps (ascending), and its faces, indexing those."""
    part = connected_parts(torch.cat([faces[:, [0, 1]], faces[:, [1, 2]]]), len(vertices))
    area = torch.zeros_like(vertices[:, 0]).index_add_(0, part[faces[:, 0]], face_areas(vertices, faces))
    keep = part == area.argmax()
    renumbered = keep.cumsum(0) - 1
    return keep.nonzero()[:, 0], renumbered[faces[keep[faces[:, 0]]]]


def genus(faces: Int[Tensor, "F 3"]) -> int:
    """Handles of a closed connected surface, V - E + F = 2 - 2 g, in which each edge has two faces: E = 3 F / 2."""
    vertices = int(torch.count_nonzero(torch.bincount(faces.flatten())))
    return (2 - vertices + len(faces) // 2) // 2


def connected_parts(edges: Int[Tensor, "E 2"], count: int) -> Int[Tensor, " V"]:
    """The lowest vertex of each vertex's part, for `count` vertices.

    In rounds on the vertices' device: each part that has an edge to one of a lower number joins the lowest such; then
    all vertices look up where their part has gone. (After Shiloach and Vishkin, J. Algorithms 1982.)
    """
    part = torch.arange(count, device=edges.device)
    first, second = edges.unbind(1)
    while True:
        ends = torch.stack([part[first], part[second]])
        between = (ends[0] != ends[1]).nonzero()[:, 0]
        if len(between) == 0:
            return part
        first, second, ends = first[between], second[between], ends[:, between]
        part.scatter_reduce_(0, ends.amax(0), ends.amin(0), "amin")
        for _ in range(count.bit_length()):  # paths of any length are followed to their end
            part = part[part]


@dataclass(frozen=True)
class SurfaceSamples:
    """Points on a mesh, the face each lies on, and where on it."""

    points: Float[Tensor, "N 3"]
    faces: Int[Tensor, " N"]
    barycentric: Float[Tensor, "N 3"]

    def interpolate(self, values: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "N C"]:
        """Values at the samples from values at the vertices."""
        return (values[faces[self.faces]] * self.barycentric[..., None]).sum(1)


def sample_surface(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], count: int, generator: torch.Generator
) -> SurfaceSamples:
    """`count` points spread evenly over the area. Raises `GdnaError` for a mesh without area."""
    cumulative = face_areas(vertices, faces).double().cumsum(0)
    if len(faces) == 0 or not cumulative[-1] > 0:
        raise GdnaError(f"sample_surface: the mesh ({len(faces)} faces) has no area to sample; check its faces")
    uniform = torch.rand(count, 3, generator=generator, device=generator.device, dtype=torch.float64)
    uniform = uniform.to(vertices.device)
    index = torch.searchsorted(cumulative, uniform[:, 0] * cumulative[-1], right=True).clamp_max(len(faces) - 1)
    root = uniform[:, 1].sqrt()
    weights = torch.stack([1 - root, root * (1 - uniform[:, 2]), root * uniform[:, 2]], -1).to(vertices.dtype)
    points = (vertices[faces[index]] * weights[..., None]).sum(1)
    return SurfaceSamples(points, index, weights)
