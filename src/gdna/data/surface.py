"""The outer surface of a scan: orientation, samples, vertex normals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from gdna.data.inside import Solids, components
from gdna.errors import GdnaError

OUTER_STEP = 0.004  # metres: a surface point is outer if its neighbour this far along the normal is outside
MIN_OUTER = 0.02  # share of the surface; less means a mesh that is wrong
TURNED = -1e-3  # signed volume over area^1.5 (a sphere has 0.094) below which a component is inside out


def orient_outward(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """Turn round the faces of connected components that are inside out, by their signed volume."""
    from gdna.data.surface_kernels import volumes_and_areas

    parts = components(faces, len(vertices))
    sorted_faces = np.ascontiguousarray(faces[np.concatenate(parts)], np.int64)
    ends = np.cumsum([len(part) for part in parts])
    volumes, areas = volumes_and_areas(np.ascontiguousarray(vertices, np.float64), sorted_faces, ends)
    return _turned(faces, [part for part, turn in zip(parts, volumes < TURNED * areas**1.5, strict=True) if turn])


def orient_outward_reference(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "F 3"]:
    """`orient_outward` with arrays of all corners."""
    inside_out = []
    for component in components(faces, len(vertices)):
        corners = vertices[faces[component]].astype(np.float64)
        corners -= corners.mean((0, 1))
        vectors = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        volume, area = (corners[:, 0] * vectors).sum() / 6, 0.5 * np.linalg.norm(vectors, axis=1).sum()
        if volume < TURNED * area**1.5:
            inside_out.append(component)
    return _turned(faces, inside_out)


def _turned(faces: Int[np.ndarray, "F 3"], parts: list[Int[np.ndarray, " _"]]) -> Int[np.ndarray, "F 3"]:
    faces = faces.copy()
    for part in parts:
        faces[part] = faces[part][:, ::-1]
    return faces


def sample_outer(
    solids: Solids, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points uniform by area on the outer surface of oriented faces, with face normals; layers under clothes are left
    out.

    Raises `GdnaError` where hardly anything of the surface is outer.
    """
    points: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    found, asked, rate = 0, 0, 0.6
    while found < count:
        drawn = int(1.05 * (count - found) / rate) + 100
        candidates, directions = sample_surface(solids.vertices, solids.faces, drawn, rng)
        outer = ~solids.contain(candidates + OUTER_STEP * directions)
        points.append(candidates[outer])
        normals.append(directions[outer])
        asked, found = asked + drawn, found + int(outer.sum())
        rate = found / asked
        if rate < MIN_OUTER:
            raise GdnaError(f"only {rate:.1%} of the surface is on the outside; is the mesh inside out or in a box?")
    return np.concatenate(points)[:count], np.concatenate(normals)[:count]


def sample_surface(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points uniform by area with their face normals."""
    from gdna.data.surface_kernels import area_vectors, drawn

    vertices, faces = _plain(vertices, faces)
    place = rng.uniform(size=count)
    u, v = rng.uniform(size=(2, count))
    return drawn(vertices, faces, area_vectors(vertices, faces), place, u, v)


def sample_surface_reference(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """`sample_surface`, bit for bit, with arrays of all corners."""
    cross = area_vectors_reference(vertices, faces)
    double_area = np.linalg.norm(cross, axis=1)
    total = np.cumsum(double_area)
    face = np.minimum(np.searchsorted(total, rng.uniform(size=count) * total[-1], side="right"), len(faces) - 1)
    u, v = rng.uniform(size=(2, count, 1))
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    a, b, c = vertices[faces[face]].astype(np.float64).transpose(1, 0, 2)
    return a + u * (b - a) + v * (c - a), cross[face] / np.maximum(double_area[face, None], 1e-30)


def area_vectors_reference(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "F 3"]:
    """Normals of the faces, as long as twice their areas."""
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals: the sum of the adjacent faces' normals weighted by area, as pytorch3d takes them."""
    from gdna.data.surface_kernels import area_vectors, summed_at_vertices

    vertices, faces = _plain(vertices, faces)
    return _unit(summed_at_vertices(area_vectors(vertices, faces), faces, len(vertices)))


def vertex_normals_reference(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """`vertex_normals`, bit for bit, with arrays of all corners."""
    weighted = np.repeat(area_vectors_reference(vertices, faces), 3, axis=0)
    return _unit(np.stack([np.bincount(faces.ravel(), weighted[:, k], len(vertices)) for k in range(3)], 1))


def _unit(vectors: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)).astype(np.float32)


def _plain(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """As the kernels take them."""
    return np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.int64)
