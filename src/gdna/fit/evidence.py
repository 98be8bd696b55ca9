"""What a placed scan says of the person: points on its surface, and points known to lie inside or outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from gdna.data.inside import Solids, components, inside, winding_number
from gdna.data.surface import orient_outward, sample_outer, sample_surface
from gdna.errors import GdnaError
from gdna.evaluate.surface import Surface, nearest_points, outer_surface
from gdna.fit.cleaning import floor, stray
from gdna.fit.cloud import agreed, estimate_normals, turned_out
from gdna.fit.dipoles import Dipoles
from gdna.fit.smoothing import NOISY, aloof, calmed, roughness, smoothed
from gdna.fit.types import Placement, RawScan

FAR = 0.4  # metres from the body beyond which nothing is worn
NEAR_SIGMA = (0.003, 0.010, 0.030)  # metres: a third of the samples each
BOX_MARGIN = 0.05  # metres
OPEN_AT = 0.05  # share of undecided winding numbers from which a mesh does not say what is inside
COVERED_STEP = 0.0005  # metres above a surface, where what covers it is looked for
UNDECIDED = 0.25  # from the next whole number
MAIN_PART = 0.01  # of the area: components that are asked
DEEP = 0.02  # metres under the skin: inside whatever is worn, even if the body is a little off
THIN = 0.02  # metres under a surface: deeper may be behind a hand
FREE = 0.3  # metres from the body: outside whatever is worn
ALONG_RAY = (0.3, 0.99)  # of the way from a camera to the point it saw
MIN_POINTS = 200
DOUBT = 10.0  # of a scan that leaves much open


@dataclass(frozen=True)
class Evidence:
    """In the body's frame (posed), metres. `near` are samples around the surface, `box` in the space around."""

    surface_points: Float[np.ndarray, "K 3"]
    surface_normals: Float[np.ndarray, "K 3"]  # unit, outward
    near_points: Float[np.ndarray, "N 3"]
    near_inside: Bool[np.ndarray, " N"]
    box_points: Float[np.ndarray, "M 3"]
    box_inside: Bool[np.ndarray, " M"]
    target: Surface | None  # the scan's outer surface, as distances are measured to it; None: it has no faces
    seen: Surface | None  # the part of it that nothing covers, be it a millimetre above
    solids: Solids | None  # that say what is inside; None: only the sides of the scan's surface and the body do
    dipoles: Dipoles | None = None  # of points that say so instead; None: there are none, or they leave holes
    noise: float = 0.0  # metres, along the normal; from `NOISY` on, surface points lie on smooth surfaces through many

    @property
    def doubt(self) -> float:
        """How heavy priors on codes are: 1 where the scan says nearly everywhere what is inside, and without noise."""
        told = self.solids is not None or self.dipoles is not None
        return 1.0 if told and self.noise < NOISY else DOUBT


def gather(raw: RawScan, placement: Placement, body: Surface, samples: int, rng: np.random.Generator) -> Evidence:
    """`samples` around the surface, half as many on it, a quarter in the space around; `body` is the posed skin.

    Raises `GdnaError` where hardly anything of the scan lies near the body.
    """
    placed = placement(raw.points.astype(np.float64))
    surface = None if raw.faces is None else _near_part(Surface(placed, raw.faces.astype(np.int64)), body, raw.name)
    if surface is not None and is_solid(surface, rng):
        found = _of_solid(surface, samples, rng)
        noise = roughness(found.surface_points, found.surface_normals, rng)
        if noise < NOISY:
            return replace(found, noise=noise)
        calm = Surface(calmed(surface.vertices, surface.faces, noise), surface.faces)
        return replace(_of_solid(calm, samples, rng), target=found.target, noise=noise)
    eye = None if raw.eye is None else placement(raw.eye[None].astype(np.float64))[0]
    normals = None if raw.normals is None else raw.normals @ placement.rotation.T
    points, normals = (
        _cloud_surface(placed, normals, eye, body, raw.name)
        if surface is None
        else _open_surface(surface, body, samples // 2, rng)
    )
    noise = roughness(points, normals, rng)
    return _of_points(points, normals, noise, surface, eye, body, samples, rng)


def is_solid(surface: Surface, rng: np.random.Generator, count: int = 4000) -> bool:
    """Whether winding numbers decide nearly everywhere: no matter small holes, but not for half a person."""
    solids = Solids.of(surface.vertices, surface.faces)
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    on = sample_surface(surface.vertices, surface.faces, count, rng)[0]
    points = np.concatenate([rng.uniform(low, high, (count, 3)), on + NEAR_SIGMA[1] * rng.normal(size=on.shape)])
    area = np.linalg.norm(_area_vectors(surface), axis=1)
    undecided = np.zeros(len(points), bool)
    for part in solids.open:
        if area[part].sum() < MAIN_PART * area.sum():
            continue
        used, local = np.unique(surface.faces[part], return_inverse=True)
        winding = winding_number(surface.vertices[used], local.reshape(-1, 3).astype(np.int64), points)
        undecided |= np.abs(winding - np.round(winding)) > UNDECIDED
    return bool(undecided.mean() < OPEN_AT)


def _of_solid(surface: Surface, samples: int, rng: np.random.Generator) -> Evidence:
    vertices = surface.vertices
    solids = _together(Solids.of(vertices, orient_outward(vertices, surface.faces)))
    on, normals = sample_outer(solids, samples // 2, rng)
    near = on[rng.integers(0, len(on), samples)]
    near = near + rng.choice(NEAR_SIGMA, (samples, 1)) * rng.normal(size=near.shape)
    box = rng.uniform(vertices.min(0) - BOX_MARGIN, vertices.max(0) + BOX_MARGIN, (samples // 4, 3))
    outer = outer_surface(surface)
    return Evidence(
        on, normals, near, solids.contain(near), box, solids.contain(box), outer, _uncovered(outer, solids), solids
    )


def _together(solids: Solids) -> Solids:
    """With the open components as one more: what a scanner sees of a face and of the hair over it are two shells of one
    head, which neither closes alone."""
    return replace(solids, open=(*solids.open, np.concatenate(solids.open))) if len(solids.open) > 1 else solids


def _uncovered(outer: Surface, solids: Solids) -> Surface:
    """Skin that shimmers through thin clothes counts as outer, but to draw a surface to both would make it rough."""
    above = outer.vertices[outer.faces].mean(1) + COVERED_STEP * outer.normals()
    return Surface(outer.vertices, outer.faces[~solids.contain(above)])


def _of_points(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    noise: float,
    target: Surface | None,
    eye: Float[np.ndarray, " 3"] | None,
    body: Surface,
    samples: int,
    rng: np.random.Generator,
) -> Evidence:
    """Of a surface that does not say what is inside, or too roughly: where it is noisy, of the smooth one in it."""
    seen = target
    if noise >= NOISY:
        some = rng.permutation(len(points))[: samples // 2]
        (points, normals), seen = smoothed(points[some], normals[some], noise), None
    return replace(_of_open(points, normals, target, eye, body, samples, rng), seen=seen, noise=noise)


def _of_open(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    target: Surface | None,
    eye: Float[np.ndarray, " 3"] | None,
    body: Surface,
    samples: int,
    rng: np.random.Generator,
) -> Evidence:
    """Both sides of the surface nearby; what is deep in the body is inside, what is far from it or was seen through is
    outside; where the surface has no large hole, winding numbers tell of the rest."""
    chosen = rng.integers(0, len(points), samples // 2)
    on, out = points[chosen], normals[chosen]
    depth = np.abs(rng.normal(size=(len(on), 1))) * rng.choice(NEAR_SIGMA, (len(on), 1))
    near = np.concatenate([on + depth * out, on - np.minimum(depth, THIN) * out])
    near_inside = np.repeat([False, True], len(on))
    right = _on_their_side(near, near_inside, points, normals)
    box, box_inside = _around_body(body, samples // 4, rng)
    if eye is not None:
        along = rng.uniform(*ALONG_RAY, (samples // 8, 1))
        through = eye + along * (points[rng.integers(0, len(points), samples // 8)] - eye)
        box, box_inside = np.concatenate([box, through]), np.append(box_inside, np.zeros(len(through), bool))
    dipoles = Dipoles.of(points, normals, rng)
    whole = eye is None and dipoles.are_whole(rng)
    if whole:
        right &= dipoles.side(near) != np.where(near_inside, -1, 1)
        more = rng.uniform(points.min(0) - BOX_MARGIN, points.max(0) + BOX_MARGIN, (samples // 4, 3))
        side = dipoles.side(more)
        box, box_inside = np.concatenate([box, more[side != 0]]), np.append(box_inside, side[side != 0] > 0)
    kept = rng.permutation(len(points))[: samples // 2]
    return Evidence(
        points[kept], normals[kept], near[right], near_inside[right], box, box_inside, target, target, None,
        dipoles if whole else None,
    )  # fmt: skip


def _on_their_side(
    near: Float[np.ndarray, "N 3"],
    near_inside: Bool[np.ndarray, " N"],
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
) -> Bool[np.ndarray, " N"]:
    """Whether the surface nearest to each sample agrees on which side it is (across thin parts it may not)."""
    from scipy.spatial import cKDTree

    nearest = cKDTree(points).query(near)[1]
    below = ((near - points[nearest]) * normals[nearest]).sum(1) < 0
    return below == near_inside


def _around_body(
    body: Surface, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "M 3"], Bool[np.ndarray, " M"]]:
    low, high = body.vertices.min(0) - 2 * FREE, body.vertices.max(0) + 2 * FREE
    on, normals = sample_surface(body.vertices, body.faces, count, rng)
    under = on - rng.uniform(DEEP, 0.1, (count, 1)) * normals
    points = np.concatenate([rng.uniform(low, high, (count, 3)), under])
    distance = np.sqrt(nearest_points(points, body)[0])
    in_body = inside(body.vertices, body.faces, points)
    known = np.where(in_body, distance > 0.9 * DEEP, distance > FREE)
    return points[known], in_body[known]


def _near_part(surface: Surface, body: Surface, name: str) -> Surface:
    """The faces that a person in this body can be wearing: floors, walls and stray bits are left out."""
    near = (_distance(surface.vertices, body) < FAR) & ~floor(surface.vertices)
    faces = surface.faces[near[surface.faces].all(1)]
    if len(faces) < MIN_POINTS:
        raise GdnaError(
            f"{name}: {len(faces)} of {len(surface.faces)} faces lie within {FAR} m of the body; do scan and body "
            "parameters belong together (same unit, frame and translation)?"
        )
    used, local = np.unique(faces, return_inverse=True)
    return Surface(surface.vertices[used], local.reshape(-1, 3))


def _open_surface(
    surface: Surface, body: Surface, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Samples of an open mesh; each component's orientation is put to the vote by the body."""
    vectors, middle = _area_vectors(surface), surface.vertices[surface.faces].mean(1)
    agrees = (vectors * _outward(middle, body)).sum(1)
    faces = surface.faces.copy()
    for part in components(faces, len(surface.vertices)):
        if agrees[part].sum() < 0:
            faces[part] = faces[part][:, ::-1]
    return sample_surface(surface.vertices, faces, count, rng)


def _cloud_surface(
    points: Float[np.ndarray, "N 3"],
    normals: Float[np.ndarray, "N 3"] | None,
    eye: Float[np.ndarray, " 3"] | None,
    body: Surface,
    name: str,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    near = (_distance(points, body) < FAR) & ~floor(points)
    for lonely in (stray, aloof):
        if near.sum() >= MIN_POINTS:
            near[near] = ~lonely(points[near])
    if near.sum() < MIN_POINTS:
        raise GdnaError(
            f"{name}: {near.sum()} of {len(points)} points lie within {FAR} m of the body; do scan and body parameters "
            "belong together (same unit, frame and translation)?"
        )
    points = points[near]
    hint = _outward(points, body) if eye is None else eye - points
    if normals is not None:
        return points, turned_out(normals[near], hint)
    normals = estimate_normals(points, hint)
    return points, agreed(points, normals, hint) if eye is None else normals


def _distance(points: Float[np.ndarray, "N 3"], body: Surface) -> Float[np.ndarray, " N"]:
    """To the nearest vertex of the body, which are about a centimetre apart."""
    from scipy.spatial import cKDTree

    return cKDTree(body.vertices).query(points)[0]


def _outward(points: Float[np.ndarray, "N 3"], body: Surface) -> Float[np.ndarray, "N 3"]:
    """The body's normal nearest to each point."""
    return body.normals()[nearest_points(points, body)[1]]


def _area_vectors(surface: Surface) -> Float[np.ndarray, "F 3"]:
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)
