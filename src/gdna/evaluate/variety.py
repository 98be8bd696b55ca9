"""Are people different, and does each code change what it is for? Only its own: new details should leave the outline,
a new body should leave the folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse

from gdna.evaluate.maps import Image, MapPair, ViewSettings, angles_between, images_of, render_pairs, silhouette_shift
from gdna.evaluate.surface import Surface, nearest_points, one_way
from gdna.generate.people import Model, Person
from gdna.objectives import intersection_over_union
from gdna.types import AvatarMesh, PosedMesh

FOLD_BAND = (0.008, 0.025)  # metres: what is rougher is the mesh, what is smoother is form, folds are between
SURFACE_POINTS = 5000


@dataclass(frozen=True)
class CodeEffect:
    """What changing one code does to a standing person's views, mean over people."""

    normals_deg: float  # of the pixels that both show
    silhouette_iou: float
    silhouette_px: float  # how far the outline moves


@dataclass(frozen=True)
class VarietyReport:
    """`surface_...`: mean distance between two people in the neutral body, drawn and trained. `folds_...`: share of the
    folds (normals without their low frequencies) that a new body, or a new person, replaces: 0 keeps them all, about
    1.41 keeps nothing."""

    surface_generated_mm: float
    surface_trained_mm: float
    z_detail: CodeEffect
    z_shape: CodeEffect
    folds_by_betas: float
    folds_by_person: float

    def summary(self) -> dict[str, float]:
        values = {
            "surface_diversity_mm": self.surface_generated_mm,
            "surface_diversity_trained_mm": self.surface_trained_mm,
        }
        for name, effect in (("z_detail", self.z_detail), ("z_shape", self.z_shape)):
            values |= {f"{name}_{what}": value for what, value in vars(effect).items()}
        return values | {"folds_by_betas": self.folds_by_betas, "folds_by_person": self.folds_by_person}


@dataclass(frozen=True)
class Changed:
    """A person, and the same with other details, another shape code, another body."""

    base: Person
    z_detail: Person
    z_shape: Person
    betas: Person

    @staticmethod
    def of(base: Person, other: Person) -> Changed:
        return Changed(
            base, replace(base, z_detail=other.z_detail), replace(base, z_shape=other.z_shape),
            replace(base, betas=other.betas),
        )  # fmt: skip


def effect_of(base: AvatarMesh, changed: AvatarMesh, views: ViewSettings) -> tuple[CodeEffect, list[Image]]:
    """Both in the canonical pose, seen with the predicted normals; with the two pictures of view 0."""
    one, other = (list(render_pairs(standing(mesh), views)) for mesh in (base, changed))
    pairs: list[tuple[MapPair, MapPair]] = list(zip(one, other, strict=True))
    angles = torch.cat([angles_between(a.predicted, b.predicted) for a, b in pairs])
    shift = [silhouette_shift(a.raw.mask, b.raw.mask) for a, b in pairs]
    masks = (torch.stack([m.raw.mask for m in maps]) for maps in (one, other))
    effect = CodeEffect(float(angles.mean()), intersection_over_union(*masks), float(np.mean(shift)))
    return effect, [*images_of(one[:1], True), *images_of(other[:1], True)]


def mean_effect(effects: Sequence[CodeEffect]) -> CodeEffect:
    rows = [list(vars(effect).values()) for effect in effects]
    return CodeEffect(*np.mean(rows, axis=0).tolist())


def standing(mesh: AvatarMesh) -> PosedMesh:
    """The canonical mesh as it is."""
    return PosedMesh(mesh.vertices, mesh.faces, mesh.normals)


@torch.no_grad()
def folds_replaced(one: Person, mesh: AvatarMesh, other: Person, changed: AvatarMesh) -> float:
    """How much of the folds differs where both surfaces have the same neutral point: root mean square of the
    difference over that of the folds themselves. Both are filtered on the first person's mesh, so that the cells of the
    second leave no trace."""
    network = one.model.network
    neutral, there = (
        network.to_neutral(m.vertices[None], p.betas[None])[0].cpu().numpy() for m, p in ((mesh, one), (changed, other))
    )
    faces = changed.faces.cpu().numpy()
    _, face, at = nearest_points(neutral, Surface(there, faces))
    normals = mesh.normals.cpu().numpy().astype(np.float64)
    others = _interpolate(changed.normals.cpu().numpy().astype(np.float64), there, faces[face], at)
    own, new = fold_band(mesh, normals), fold_band(mesh, others)
    size = np.sqrt((np.square(own).sum(1).mean() + np.square(new).sum(1).mean()) / 2)
    return float(np.sqrt(np.square(own - new).sum(1).mean()) / max(size, 1e-12))


def fold_band(
    mesh: AvatarMesh, values: Float[np.ndarray, "V C"], band: tuple[float, float] = FOLD_BAND
) -> Float[np.ndarray, "V C"]:
    """The part of values at vertices between two widths: smoothed by a Gaussian of the first along the surface, less
    smoothed by one of the second.

    The Gaussian is a walk over the mesh: each step to the vertex or one of its neighbours, about 6/7 of an edge's
    squared length further, half of it along either axis of the surface.
    """
    vertices, faces = mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy()
    ends = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    step = np.square(vertices[ends[:, 0]] - vertices[ends[:, 1]]).sum(1).mean() * 3 / 7
    walk = _walk(ends, len(vertices))
    fine, coarse = (max(round(sigma**2 / step), least) for sigma, least in zip(band, (0, 1), strict=True))
    smooth = [values]
    for _ in range(coarse):
        smooth.append(walk @ smooth[-1])
    return smooth[min(fine, coarse - 1)] - smooth[-1]


def surface_diversity(meshes: Sequence[AvatarMesh], seed: int) -> float:
    """Mean distance in millimetres from one person's surface to another's, over all pairs, one way each."""
    surfaces = [Surface(m.vertices.cpu().numpy(), m.faces.cpu().numpy()) for m in meshes]
    rng = np.random.default_rng(seed)
    return 1000 * float(np.mean([one_way(a, b, SURFACE_POINTS, rng)[0].mean() for a, b in combinations(surfaces, 2)]))


def neutral_people(model: Model, people: Sequence[Person]) -> list[Person]:
    """The same people in the mean body."""
    return [model.person(torch.zeros_like(p.betas), p.z_shape, p.z_detail) for p in people]


def _walk(ends: Int[np.ndarray, "E 2"], count: int) -> sparse.csr_array:
    rows, columns = np.concatenate([ends, ends[:, ::-1], np.repeat(np.arange(count), 2).reshape(-1, 2)]).T
    graph = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    graph.data[:] = 1.0
    return sparse.csr_array(sparse.diags_array(1 / graph.sum(1)) @ graph)


def _interpolate(
    values: Float[np.ndarray, "V C"],
    vertices: Float[np.ndarray, "V 3"],
    corners: Int[np.ndarray, "N 3"],
    points: Float[np.ndarray, "N 3"],
) -> Float[np.ndarray, "N C"]:
    """At points in triangles, from the triangles' corners."""
    a, b, c = (vertices[corners[:, k]].astype(np.float64) for k in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = ((x * y).sum(1) for x, y in ((u, u), (u, v), (v, v)))
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    area = np.maximum(uu * vv - uv**2, 1e-30)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    weights = np.clip(np.stack([1 - second - third, second, third], 1), 0, 1)
    return (values[corners] * weights[..., None]).sum(1)
