"""Does the body come out of its clothes? And is a union of parts solid?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gdna.body.open_body import open_body
from gdna.synthesize.scan_file import SyntheticScan
from gdna.types import BodyParams

COINCIDENT = 5e-4  # metres: bare skin is the body itself, but leans a little under the hems it runs into


@dataclass(frozen=True)
class Exactness:
    """How much of the exact body lies outside the scan's surface."""

    outside: float  # share of the body's surface
    deepest: float  # metres


def exactness(scan: SyntheticScan) -> Exactness:
    """Of a whole scan: the body of its betas and pose against the union of its parts."""
    body = open_body()
    rotations, betas = torch.from_numpy(scan.joint_rotations)[None], torch.from_numpy(scan.betas)[None]
    skin = body(BodyParams(betas, rotations, torch.zeros(1, 3))).vertices[0].double().numpy()
    faces = np.asarray(body.faces)[: body.num_skin_faces]
    return coming_out(skin, faces, scan.vertices.astype(np.float64), scan.faces.astype(np.int64))


def coming_out(
    skin: Float[np.ndarray, "C 3"],
    skin_faces: Int[np.ndarray, "G 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    asked: Bool[np.ndarray, " G"] | None = None,
) -> Exactness:
    """The share of the skin's surface outside a union of closed solids, and how far the furthest point of it is away.
    Each face is asked at its middle; where only some are `asked`, the others are known to lie on the union or in it."""
    corners = skin[skin_faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    asked = np.ones(len(skin_faces), bool) if asked is None else asked
    distance = np.zeros(len(skin_faces))
    distance[asked] = outside_by(corners[asked].mean(1), vertices, faces)
    return Exactness(float(area[distance > COINCIDENT].sum() / area.sum()), float(distance.max()))


def outside_by(
    points: Float[np.ndarray, "P 3"], vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, " P"]:
    """Metres by which points lie outside a union of closed solids; 0 inside and on the surface."""
    import igl

    distance = np.zeros(len(points))
    out = np.flatnonzero(np.abs(igl.fast_winding_number(vertices, faces, points)) < 0.5)
    if len(out):
        gap = np.sqrt(igl.point_mesh_squared_distance(points[out], vertices, faces)[0])
        distance[out] = np.where(gap > COINCIDENT, gap, 0)
    return distance


def wrongly_inside(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "P 3"]
) -> Bool[np.ndarray, " P"]:
    """Points where the winding number and a ray disagree about a union of closed solids: a hole, or a part turned
    inside out. Rays run along an irregular direction and count crossings with their sign."""
    import igl

    by_winding = np.abs(igl.fast_winding_number(vertices, faces, points)) > 0.5
    return by_winding != (_signed_crossings(vertices, faces, points) > 0)


def _signed_crossings(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> Int[np.ndarray, " P"]:
    """How often a ray from each point leaves a solid more than it enters one (Moeller and Trumbore 1997)."""
    direction = np.array([0.5477, 0.3651, 0.7528])
    origin, first, second = (vertices[faces[:, k]] for k in range(3))
    e1, e2 = first - origin, second - origin
    h = np.cross(direction, e2)
    det = (e1 * h).sum(1)
    total = np.zeros(len(points), np.int64)
    for k, point in enumerate(points):
        s = point - origin
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (s * h).sum(1) / det
            q = np.cross(s, e1)
            v = (q @ direction) / det
            t = (e2 * q).sum(1) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        total[k] = -np.sign(det[hit]).sum()
    return total
