"""From a body-tight piece to a garment: looseness, straight cuts, added cloth below a rim, collars, an open front."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from gdna.synthesize.closing import open_loops
from gdna.synthesize.cutting import triangles
from gdna.synthesize.mannequin import LEG_JOINTS, Mannequin, joint
from gdna.synthesize.quads import boundary_loops, laplacian, unique_edges, vertex_normals

STEEPEST = 0.35  # metres a metre by which added cloth widens to make room for the legs
ANGLE_WINDOW = 0.3  # radians around a limb's axis within which cloth hangs from what is above it


@dataclass(frozen=True)
class Sheet:
    """Cloth in the making: a quad mesh in the start pose."""

    vertices: Float[np.ndarray, "V 3"]
    quads: Int[np.ndarray, "Q 4"]
    skin_weights: Float[np.ndarray, "V J"]


def smooth(sheet: Sheet, steps: int) -> Sheet:
    """Laplacian smoothing; rims are smoothed along themselves."""
    mean = laplacian(sheet.quads, len(sheet.vertices))
    points = sheet.vertices
    for _ in range(steps):
        points = 0.5 * points + 0.5 * (mean @ points)
    return replace(sheet, vertices=points)


def smooth_weights(sheet: Sheet, steps: int) -> Sheet:
    """The same for skin weights, so that loose cloth bends in a wider curve than the skin under it."""
    mean = laplacian(sheet.quads, len(sheet.vertices))
    weights = sheet.skin_weights
    for _ in range(steps):
        weights = 0.5 * weights + 0.5 * (mean @ weights)
    return replace(sheet, skin_weights=weights / weights.sum(1, keepdims=True))


def inflate(sheet: Sheet, distance: Float[np.ndarray, " V"]) -> Sheet:
    """Move every vertex outward by its distance along the smoothed normal."""
    normals = vertex_normals(sheet.vertices, triangles(sheet.quads))
    mean = laplacian(sheet.quads, len(sheet.vertices))
    for _ in range(4):
        normals = 0.5 * normals + 0.5 * (mean @ normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return replace(sheet, vertices=sheet.vertices + distance[:, None] * normals)


def clear_body(sheet: Sheet, body: Mannequin, gap: float, steps: int = 3) -> Sheet:
    """Push vertices nearer to the skin than `gap` metres (or under it) out along the skin's normal."""
    import igl

    points = sheet.vertices.copy()
    faces = body.skin_faces
    for _ in range(steps):
        signed, _, nearest, normals = igl.signed_distance(
            points, body.vertices, faces, sign_type=igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
        )[:4]
        close = signed < gap
        points[close] = nearest[close] + gap * normals[close]
    return replace(sheet, vertices=points)


def draw_in(sheet: Sheet, body: Mannequin, gap: float, share: Float[np.ndarray, " V"]) -> Sheet:
    """Bring cloth that stands off the skin nearer to it, by a `share` of what lies beyond `gap` metres."""
    import igl

    index = np.flatnonzero(share > 0)
    points = sheet.vertices.copy()
    signed, _, nearest, _ = igl.signed_distance(
        points[index], body.vertices, body.skin_faces, sign_type=igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    )[:4]
    kept = np.where(signed > gap, 1 - share[index] * (1 - gap / np.maximum(signed, gap)), 1.0)
    points[index] = nearest + kept[:, None] * (points[index] - nearest)
    return replace(sheet, vertices=points)


def clear_layer(
    vertices: Float[np.ndarray, "V 3"],
    layer: Float[np.ndarray, "W 3"],
    faces: Int[np.ndarray, "F 3"],
    gap: float,
    reach: float = 0.06,
    steps: int = 3,
) -> Float[np.ndarray, "V 3"]:
    """Push vertices that lie under another garment or in a shoe, or closer to it than `gap`, out over it; only within
    `reach` metres of it."""
    import igl

    normals = vertex_normals(layer, faces)
    rim = np.zeros(len(layer), bool)
    rim[np.concatenate([np.zeros(0, np.int64), *open_loops(faces)])] = True
    at_rim = rim[faces].any(1)
    points = vertices.copy()
    for _ in range(steps):
        squared, face, nearest = igl.point_mesh_squared_distance(points, layer, faces)[:3]
        normal = normals[faces[face]].mean(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        under = (squared < reach**2) & (((points - nearest) * normal).sum(1) < gap) & ~at_rim[face]
        points[under] = nearest[under] + gap * normal[under]
    return points


def straighten(
    sheet: Sheet, chosen: Bool[np.ndarray, " V"], axis: tuple[np.ndarray, np.ndarray], strength: float
) -> Sheet:
    """Let cloth hang straight down a limb or the trunk: where it is nearer to the axis (top, bottom) than the cloth
    further up at the same angle, it moves out by `strength` times the difference (0: body-tight, 1: a straight
    tube)."""
    top, bottom = axis
    down = (bottom - top) / np.linalg.norm(bottom - top)
    side = np.cross(down, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    ahead = np.cross(side, down)
    index = np.flatnonzero(chosen)
    local = sheet.vertices[index] - top
    along, x, z = local @ down, local @ side, local @ ahead
    radius, angle = np.hypot(x, z), np.arctan2(z, x)
    turn = np.abs(np.angle(np.exp(1j * (angle[:, None] - angle[None]))))
    above = (along[None] <= along[:, None] + 1e-9) & (turn < ANGLE_WINDOW)
    hang = np.where(above, radius[None] * np.cos(turn), 0).max(1)
    grown = radius + strength * np.maximum(hang - radius, 0)
    outward = (x[:, None] * side + z[:, None] * ahead) / np.maximum(radius, 1e-9)[:, None]
    vertices = sheet.vertices.copy()
    vertices[index] += (grown - radius)[:, None] * outward
    return replace(sheet, vertices=vertices)


def share_legs(sheet: Sheet, height: float, width: float, pelvis: float) -> Sheet:
    """Below `height` the cloth hangs from both legs: their weights are divided smoothly from left to right over
    `width` metres, and a share `pelvis` goes to the pelvis."""
    blend = np.clip((height - sheet.vertices[:, 1]) / 0.15, 0, 1)[:, None]
    legs = [joint(f"{s}_{n}") for s in ("left", "right") for n in LEG_JOINTS]
    total = sheet.skin_weights[:, legs].sum(1)
    ramp = np.clip(0.5 + sheet.vertices[:, 0] / width, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    even = sheet.skin_weights.copy()
    even[:, legs] = 0
    even[:, joint("left_hip")] += total * (1 - pelvis) * ramp
    even[:, joint("right_hip")] += total * (1 - pelvis) * (1 - ramp)
    even[:, joint("pelvis")] += total * pelvis
    return replace(sheet, skin_weights=(1 - blend) * sheet.skin_weights + blend * even)


def loosen_neck(sheet: Sheet, share: float) -> Sheet:
    """Collars stay with the trunk while the neck moves in them: of the neck's weights only `share` is kept, of the
    head's none."""
    neck, head, trunk = joint("neck"), joint("head"), joint("spine3")
    weights = sheet.skin_weights.copy()
    given = weights[:, head] + (1 - share) * weights[:, neck]
    weights[:, head] = 0
    weights[:, neck] *= share
    weights[:, trunk] += given
    return replace(sheet, skin_weights=weights)


def lowest_loop(sheet: Sheet) -> Int[np.ndarray, " L"]:
    """The rim nearest to the floor."""
    return min(boundary_loops(sheet.quads), key=lambda loop: sheet.vertices[loop, 1].mean())


def highest_loop(sheet: Sheet) -> Int[np.ndarray, " L"]:
    """The rim nearest to the head."""
    return max(boundary_loops(sheet.quads), key=lambda loop: sheet.vertices[loop, 1].mean())


def add_rows(sheet: Sheet, loop: Int[np.ndarray, " L"], rows: Float[np.ndarray, "R L 3"]) -> Sheet:
    """Sew rows of new vertices, each continuing the one before, onto the rim `loop` (as `boundary_loops` gives it)."""
    count, length = len(sheet.vertices), len(loop)
    index = [loop, *(count + r * length + np.arange(length) for r in range(len(rows)))]
    strips = [np.stack([np.roll(a, -1), a, b, np.roll(b, -1)], 1) for a, b in pairwise(index)]
    return Sheet(
        np.concatenate([sheet.vertices, *rows]),
        np.concatenate([sheet.quads, *strips]),
        np.concatenate([sheet.skin_weights, *[sheet.skin_weights[loop]] * len(rows)]),
    )


def lengthen(sheet: Sheet, body: Mannequin, hem: float, flare: float, ease: float) -> Sheet:
    """Add cloth below the lowest rim down to the height `hem`: around both legs by at least `ease`, and opening by
    `flare` metres a metre."""
    loop = lowest_loop(sheet)
    rim = sheet.vertices[loop]
    start = rim[:, 1].mean()
    if start - hem < 0.015:
        return sheet
    step = float(np.median(np.linalg.norm(rim - np.roll(rim, -1, 0), axis=1)))
    count = max(1, round((start - hem) / step))
    centre = rim[:, [0, 2]].mean(0)
    flat = rim[:, [0, 2]] - centre
    radius = np.hypot(*flat.T)
    direction = flat / radius[:, None]
    suit = body.vertices[np.unique(body.suit_quads)]
    suit = suit[np.abs(suit[:, 0]) < 0.32 * body.scale]
    rows = []
    for k in range(1, count + 1):
        height = start + (hem - start) * k / count
        drop = (start - hem) / count
        needed = np.minimum(_reach(suit, height, centre, direction) + ease, radius + STEEPEST * drop)
        grown = np.maximum(radius + flare * drop, needed)
        radius = 0.5 * grown + 0.25 * (np.roll(grown, 1) + np.roll(grown, -1))
        blend = k / count
        level = (1 - blend) * (rim[:, 1] - start) + height
        flat = centre + direction * radius[:, None]
        rows.append(np.stack([flat[:, 0], level, flat[:, 1]], 1))
    return add_rows(sheet, loop, np.stack(rows))


def _reach(points: np.ndarray, height: float, centre: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far the body's slice at `height` reaches from `centre` in each direction."""
    flat = points[np.abs(points[:, 1] - height) < 0.02][:, [0, 2]] - centre
    along = flat @ direction.T
    beside = np.abs(flat[:, :1] * direction[:, 1] - flat[:, 1:] * direction[:, 0])
    return np.where((along > 0) & (beside < 0.15 * along), along, 0).max(0)


def add_collar(sheet: Sheet, body: Mannequin, height: float, lean: float) -> Sheet:
    """A standing collar: rows upward from the neckline along the neck, opening by `lean` metres a metre."""
    loop = highest_loop(sheet)
    rim = sheet.vertices[loop]
    upward = body.joint("head") - body.joint("neck")
    upward /= np.linalg.norm(upward)
    outward = rim - body.joint("neck")
    outward -= (outward @ upward)[:, None] * upward
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    count = max(2, round(height / 0.02))
    shares = np.arange(1, count + 1)[:, None, None] / count
    rows = rim[None] + shares * height * (upward + lean * outward)[None]
    return add_rows(sheet, loop, rows)


def front_path(sheet: Sheet) -> Int[np.ndarray, " P"]:
    """Vertices in order from the lowest rim up the front's mirror line to the highest rim. Raises `ValueError` where
    the mesh has no such line."""
    points = sheet.vertices
    middle = np.flatnonzero((np.abs(points[:, 0]) < 0.012) & (points[:, 2] > _mid_depth(points)))
    edges = unique_edges(sheet.quads).ends
    inside = np.isin(edges, middle).all(1)
    graph = sp.coo_matrix((np.ones(inside.sum()), edges[inside].T), (len(points), len(points)))
    graph = (graph + graph.T).tocsr()
    low, high = lowest_loop(sheet), highest_loop(sheet)
    start = min(np.intersect1d(low, middle), key=lambda v: abs(points[v, 0]), default=None)
    goals = set(np.intersect1d(high, middle).tolist())
    if start is None or not goals:
        raise ValueError("the garment has no line of vertices down its front")
    path, came = [int(start)], -1
    while path[-1] not in goals:
        options = [v for v in graph[path[-1]].indices if v not in (came, *path)]
        if not options:
            raise ValueError("the garment's front line is broken")
        came = path[-1]
        path.append(int(max(options, key=lambda v: points[v, 1])))
    return np.array(path)


def _mid_depth(points: np.ndarray) -> np.ndarray:
    """Depth (z) halfway between the garment's front and back at each point's height."""
    result = np.empty(len(points))
    for k, height in enumerate(points[:, 1]):
        near = points[np.abs(points[:, 1] - height) < 0.05]
        result[k] = 0.5 * (near[:, 2].min() + near[:, 2].max())
    return result


def open_front(sheet: Sheet, path: Int[np.ndarray, " P"], gap: float) -> tuple[Sheet, Int[np.ndarray, "P 2"]]:
    """Split the sheet along `path` and draw the two edges apart to `gap` metres. Also answers the edges' vertex pairs
    (left of the wearer first)."""
    count = len(sheet.vertices)
    twin = np.arange(count)
    twin[path] = count + np.arange(len(path))
    quads = sheet.quads.copy()
    right = sheet.vertices[quads].mean(1)[:, 0] < 0
    touches = np.isin(quads, path).any(1) & right
    quads[touches] = twin[quads[touches]]
    vertices = np.concatenate([sheet.vertices, sheet.vertices[path]])
    side = np.sign(vertices[:, 0])
    side[path], side[count:] = 1, -1
    front = np.r_[sheet.vertices[:, 2] > _mid_depth(sheet.vertices), np.ones(len(path), bool)]
    vertices[:, 0] += front * side * 0.5 * gap * np.clip(1 - np.abs(vertices[:, 0]) / 0.15, 0, 1)
    weights = np.concatenate([sheet.skin_weights, sheet.skin_weights[path]])
    return Sheet(vertices, quads, weights), np.stack([path, count + np.arange(len(path))], 1)
