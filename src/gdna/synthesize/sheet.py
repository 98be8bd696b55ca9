"""A garment at one level of resolution, as the arrays that the cloth kernels work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from gdna.body.skeleton import JOINT_NAMES, PARENTS
from gdna.synthesize.collider import allowed_masks
from gdna.synthesize.garment import BodyPath, Fabric, Garment
from gdna.synthesize.quads import (
    Subdivision,
    bend_triples,
    boundary_mask,
    catmull_clark,
    laplacian,
    triangulate,
    unique_edges,
)
from gdna.synthesize.tangle import untangle

LIMBS = ("hip", "knee", "shoulder", "elbow", "wrist")
HEAVIEST_FOLD = (
    0.5  # the middle of three points stays within this share of an edge from its neighbours' chord: 60 degrees
)


@dataclass(frozen=True)
class Springs:
    """Distance constraints."""

    ends: Int[np.ndarray, "E 2"]
    rest: Float[np.ndarray, " E"]


@dataclass(frozen=True)
class Tethers:
    """Limits on the distances between the vertices that a sheet inherited from a coarser one, sides of the coarser
    quads: weight is held up in a few long steps where the sheet's own constraints would take many short ones."""

    springs: Springs
    inverse_mass: Float[np.ndarray, " W"]  # of the coarser sheet's W vertices
    spread: sp.csr_matrix  # (V, W), interpolates corrections


@dataclass(frozen=True)
class Sheet:
    """One level of a garment: V vertices, constant over the simulation."""

    start: Float[np.ndarray, "V 3"]  # start pose; also the shape the cloth was cut in
    quads: Int[np.ndarray, "Q 4"]
    faces: Int[np.ndarray, "F 3"]
    weights: Float[np.ndarray, "V J"]
    pinned: Bool[np.ndarray, " V"]
    rim: Bool[np.ndarray, " V"]  # on a boundary
    inverse_mass: Float[np.ndarray, " V"]  # 1 / kg, 0 where pinned
    threads: Springs  # quad sides
    diagonals: Springs
    triples: Int[np.ndarray, "B 3"]
    share: Float[np.ndarray, " B"]  # weight of a triple's first point in its chord
    flatness: Float[np.ndarray, " B"]  # distance of the middle point to the chord at rest
    sharpest: Float[np.ndarray, " B"]  # largest such distance
    bend_compliance: Float[np.ndarray, " B"]  # m/N
    allowed: Int[np.ndarray, " V"]  # bit mask of bones, see `collider.allowed_masks`
    tethers: tuple[Tethers, ...]  # coarsest first
    average: sp.csr_matrix  # (V, V), `quads.laplacian`
    ring: sp.csr_matrix  # (V, V), pattern: each vertex and all corners of the quads around it
    local_spacing: Float[np.ndarray, " V"]  # mean length of the quad sides at a vertex, metres


def limb_axes(path: BodyPath) -> Float[np.ndarray, "J 3"]:
    """Direction of each bone's part of the body in the start pose: a limb's longest extent, the vertical elsewhere."""
    axes = np.tile(np.array([0.0, 1.0, 0.0]), (len(PARENTS), 1))
    for bone, name in enumerate(JOINT_NAMES):
        weight = path.bone_weights[:, bone] * (path.bone_weights[:, bone] > 0.5)
        if not name.endswith(LIMBS) or weight.sum() < 1:
            continue
        centred = path.vertices[0] - weight @ path.vertices[0] / weight.sum()
        axis = np.linalg.eigh((centred * weight[:, None]).T @ centred)[1][:, -1]
        axes[bone] = axis * np.sign(axis[1] + 1e-9)
    return axes


def make_sheets(garment: Garment, path: BodyPath, levels: int, flatten: float) -> tuple[list[Sheet], list[Subdivision]]:
    """The garment at every level, coarsest first, and the subdivisions between. `flatten` in [0, 1] is the share of the
    modelled curvature that the cloth forgets."""
    axes = limb_axes(path)
    quads = garment.quads.astype(np.int64)
    average = laplacian(quads, len(garment.vertices))
    start = np.ascontiguousarray(garment.vertices, np.float64)
    start = untangle(start, triangulate(quads), unique_edges(quads).ends, average)
    weights, pinned = np.asarray(garment.skin_weights, np.float64), garment.pinned.astype(np.float64)
    scales = _scales(garment)
    cut = _Cut(start, weights @ axes, scales)
    sheets = [_make_sheet(garment.fabric, cut, quads, weights, pinned > 0.99, 1 - flatten, ())]
    steps: list[Subdivision] = []
    for _ in range(levels):
        step = catmull_clark(quads, len(start))
        start, weights, pinned, quads = step.smooth @ start, step.linear @ weights, step.linear @ pinned, step.quads
        steps.append(step)
        scales = step.linear @ scales
        tethers = _tethers(sheets, steps, start)
        cut = _Cut(start, weights @ axes, scales)
        sheets.append(_make_sheet(garment.fabric, cut, quads, weights, pinned > 0.99, 1 - flatten, tethers))
    return sheets, steps


def _scales(garment: Garment) -> Float[np.ndarray, "V 2"]:
    """How much larger the cloth is than the modelled shape around and along the limbs."""
    one = np.ones(len(garment.vertices))
    return np.stack([one if s is None else s for s in (garment.across, garment.along)], 1)


def _make_sheet(
    fabric: Fabric,
    cut: _Cut,
    quads: Int[np.ndarray, "Q 4"],
    weights: Float[np.ndarray, "V J"],
    pinned: Bool[np.ndarray, " V"],
    curvature: float,
    tethers: tuple[Tethers, ...],
) -> Sheet:
    start = cut.start
    threads = cut.springs(unique_edges(quads).ends)
    faces = triangulate(quads)
    triples = bend_triples(quads, len(start))
    triples = triples[np.argsort(-start[triples[:, 1], 1], kind="stable")]
    before, after = cut.lengths(triples[:, :2]), cut.lengths(triples[:, 1:])
    share = after / (before + after)
    middle = share[:, None] * start[triples[:, 0]] + (1 - share)[:, None] * start[triples[:, 2]]
    modelled = np.linalg.norm(middle - start[triples[:, 1]], axis=1)
    reach = 2 * before * after / (before + after)
    return Sheet(
        start=start,
        quads=quads,
        faces=faces,
        weights=weights,
        pinned=pinned,
        rim=boundary_mask(quads, len(start)),
        inverse_mass=np.where(pinned, 0.0, 1 / (fabric.density * _areas(start, faces))),
        threads=threads,
        diagonals=cut.springs(np.concatenate([quads[:, [0, 2]], quads[:, [1, 3]]])),
        triples=triples,
        share=share,
        flatness=curvature * modelled,
        sharpest=np.maximum(HEAVIEST_FOLD * reach, 1.05 * modelled),
        bend_compliance=reach**2 / (4 * fabric.bend),
        allowed=allowed_masks(weights),
        tethers=tethers,
        average=laplacian(quads, len(start)),
        ring=_ring(quads, len(start)),
        local_spacing=_mean_at_ends(threads, len(start)),
    )


def _mean_at_ends(springs: Springs, num_vertices: int) -> Float[np.ndarray, " V"]:
    total, count = np.zeros(num_vertices), np.zeros(num_vertices)
    np.add.at(total, springs.ends, springs.rest[:, None])
    np.add.at(count, springs.ends, 1)
    return total / count


def _ring(quads: Int[np.ndarray, "Q 4"], num_vertices: int) -> sp.csr_matrix:
    rows = np.repeat(np.arange(len(quads)), 4)
    corners = sp.csr_matrix((np.ones(quads.size), (rows, quads.ravel())), (len(quads), num_vertices))
    return (corners.T @ corners).tocsr()


def _tethers(sheets: list[Sheet], steps: list[Subdivision], start: Float[np.ndarray, "V 3"]) -> tuple[Tethers, ...]:
    """The threads of all coarser sheets, as long as the cloth between their ends is at this level."""
    tethers = []
    for level, sheet in enumerate(sheets):
        threads = sheet.threads
        spread = sp.identity(len(sheet.start), format="csr")
        for step in steps[level:]:
            spread = step.smooth @ spread
        modelled = np.linalg.norm(np.diff(sheet.start[threads.ends], axis=1)[:, 0], axis=1)
        now = np.linalg.norm(np.diff(start[threads.ends], axis=1)[:, 0], axis=1)
        rest = threads.rest * np.clip(now / modelled, 0.7, 1.0)
        tethers.append(Tethers(Springs(threads.ends, rest), sheet.inverse_mass, spread.tocsr()))
    return tuple(tethers)


@dataclass(frozen=True)
class _Cut:
    """How long the cloth is between points of the start pose: by one factor around the limbs and by another along them,
    so that straight legs and sleeves can keep their length and not crumple into rings."""

    start: Float[np.ndarray, "V 3"]
    axes: Float[np.ndarray, "V 3"]
    scales: Float[np.ndarray, "V 2"]  # around, along

    def lengths(self, ends: Int[np.ndarray, "E 2"]) -> Float[np.ndarray, " E"]:
        edge = self.start[ends[:, 1]] - self.start[ends[:, 0]]
        length = np.linalg.norm(edge, axis=1)
        axis = self.axes[ends].sum(1)
        axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
        along = ((edge * axis).sum(1) / np.maximum(length, 1e-9)) ** 2
        scales = self.scales[ends].mean(1)
        return length * (scales[:, 0] * (1 - along) + scales[:, 1] * along)

    def springs(self, ends: Int[np.ndarray, "E 2"]) -> Springs:
        """Sorted from the top down, in which order Gauss-Seidel sweeps carry weight up to where the cloth hangs."""
        ends = ends[np.argsort(-self.start[ends, 1].mean(1), kind="stable")]
        return Springs(ends, self.lengths(ends))


def _areas(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " V"]:
    """A third of the triangles around each vertex, square metres, kept within reason of the median."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.zeros(len(vertices))
    for k in range(3):
        np.add.at(area, faces[:, k], np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6)
    return np.maximum(area, 0.3 * np.median(area))
