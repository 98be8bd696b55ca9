"""Body, draped garments, hair and shoes become one scan: a union of closed solids without skin coming through cloth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, UInt8

from gdna.synthesize.closing import Solid, fan_loops
from gdna.synthesize.quads import vertex_normals

TUCK_REACH = 0.03  # metres outside a layer from which covered points are taken back under it
TUCK_GAP = 0.004  # metres under that layer where they are put
TUCK_ROUNDS = 2
ENCLOSE_ROUNDS, ENCLOSE_MARGIN, ENCLOSE_REACH = 6, 0.001, 0.012  # rounds, metres, metres
SEEN_STEP = 0.002  # metres over a face from which it is asked whether the face is under another solid
LINING = "lining"


@dataclass(frozen=True)
class Part:
    """One closed solid of a person, posed."""

    label: str
    solid: Solid


@dataclass(frozen=True)
class Assembly:
    """The parts as one mesh."""

    vertices: Float[np.ndarray, "V 3"]  # posed
    faces: Int[np.ndarray, "F 3"]
    face_labels: UInt8[np.ndarray, " F"]  # index into `label_names`
    label_names: tuple[str, ...]
    visible: Bool[np.ndarray, " F"]  # not under another solid


def tuck_under(
    points: Float[np.ndarray, "P 3"],
    covered: Bool[np.ndarray, " P"],
    cloth: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    rim: Bool[np.ndarray, " V"],
) -> Float[np.ndarray, "P 3"]:
    """Take `covered` points that stick out of a sheet of cloth, or nearly so, back under it. Points whose nearest
    cloth is its `rim` stay: they lie beyond the hem."""
    import igl

    moved = points.copy()
    index = np.flatnonzero(covered)
    if len(index) == 0:
        return moved
    normals = vertex_normals(cloth, faces)
    at_rim = rim[faces].any(1)
    for _ in range(TUCK_ROUNDS):
        squared, face, nearest = igl.point_mesh_squared_distance(moved[index], cloth, faces)[:3]
        normal = normals[faces[face]].mean(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        height = ((moved[index] - nearest) * normal).sum(1)
        out = (squared < TUCK_REACH**2) & (height > -0.9 * TUCK_GAP) & ~at_rim[face]
        moved[index[out]] = nearest[out] - TUCK_GAP * normal[out]
    return moved


def enclose(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "P 3"]
) -> Float[np.ndarray, "V 3"]:
    """An open shell (a garment, a shoe) widened until `points` lie in it. Those that look out of its openings do not
    count, nor those further outside than `ENCLOSE_REACH`, which belong to another part of the body."""
    import igl

    ring = igl.adjacency_matrix(faces).astype(np.float64)
    average = sp.diags(1 / np.maximum(np.asarray(ring.sum(1)).ravel(), 1)) @ ring
    for _ in range(ENCLOSE_ROUNDS):
        closed = fan_loops(vertices, faces)
        points = points[np.abs(igl.fast_winding_number(closed[0], closed[1].astype(np.int64), points)) < 0.5]
        if len(points) == 0:
            break
        _, face, nearest = igl.point_mesh_squared_distance(points, *closed)[:3]
        step = points - nearest
        through = (face < len(faces)) & (np.linalg.norm(step, axis=1) < ENCLOSE_REACH)
        step = step[through]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step = step * (1 + ENCLOSE_MARGIN / np.maximum(length, 1e-6))
        shift = np.zeros_like(vertices)
        for k in range(3):
            corner = faces[face[through], k]
            longer = np.linalg.norm(step, axis=1) > np.linalg.norm(shift[corner], axis=1)
            shift[corner[longer]] = step[longer]
        spread = shift
        for _ in range(2):
            spread = average @ spread
        moved = np.linalg.norm(shift, axis=1, keepdims=True) > 0
        vertices = vertices + np.where(moved, shift, spread)
    return vertices


def covered_by(solid: Solid, points: Float[np.ndarray, "P 3"]) -> Bool[np.ndarray, " P"]:
    """Which points lie in a closed garment, asked in the start pose, where layers lie in order."""
    return _winding(solid.vertices, solid.faces, points) > 0.5


def assemble(parts: Sequence[Part]) -> Assembly:
    """Put closed parts together and find the faces that no other part hides."""
    names = [*dict.fromkeys(p.label for p in parts), LINING]
    solids = [p.solid for p in parts]
    offsets = np.cumsum([0, *[len(s.vertices) for s in solids]])[:-1]
    labels = [np.where(p.solid.lining, names.index(LINING), names.index(p.label)) for p in parts]
    return Assembly(
        vertices=np.concatenate([s.vertices for s in solids]),
        faces=np.concatenate([s.faces + o for s, o in zip(solids, offsets, strict=True)]),
        face_labels=np.concatenate(labels).astype(np.uint8),
        label_names=tuple(names),
        visible=np.concatenate([_visible(s, [o for o in solids if o is not s]) for s in solids]),
    )


def widened(mask: Bool[np.ndarray, " V"], faces: Int[np.ndarray, "F 3"], rings: int = 2) -> Bool[np.ndarray, " V"]:
    """The marked vertices and some rings around them."""
    mask = mask.copy()
    for _ in range(rings):
        mask[faces[mask[faces].any(1)]] = True
    return mask


def _visible(part: Solid, others: Sequence[Solid]) -> Bool[np.ndarray, " F"]:
    """Faces with a corner that, seen a little outward, is in none of the other parts; of the wide faces of lids the
    middle is asked as well."""
    normals = vertex_normals(part.vertices, part.faces)
    seen = _free(part.vertices + SEEN_STEP * normals, others)[part.faces].any(1)
    lids = np.flatnonzero(part.lining & ~seen)
    if len(lids):
        corners = part.faces[lids]
        middles = part.vertices[corners].mean(1) + SEEN_STEP * normals[corners].mean(1)
        seen[lids] = _free(middles, others)
    return seen


def _free(points: Float[np.ndarray, "P 3"], others: Sequence[Solid]) -> Bool[np.ndarray, " P"]:
    """Points in none of the solids. Pockets where a solid is turned inside out (cloth that passes through itself) hide
    nothing."""
    free = np.ones(len(points), bool)
    for other in others:
        boxed = ((points >= other.vertices.min(0)) & (points <= other.vertices.max(0))).all(1) & free
        if boxed.any():
            free[boxed] = _winding(other.vertices, other.faces, points[boxed]) <= 0.5
    return free


def _winding(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    import igl

    return np.asarray(igl.fast_winding_number(vertices, faces.astype(np.int64), points))
