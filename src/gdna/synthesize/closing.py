"""Open sheets become closed solids: a hem with thickness, a short lining inside it, and a lid across the opening.

A scan is a watertight outer surface, and a field of occupancy cannot hold a sheet of cloth, so the room between cloth
and body is filled: every garment is closed by itself, and the person is the union of closed solids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.synthesize.quads import triangulate, vertex_normals

THICKNESS = 0.0025  # metres of cloth at a hem
BRIDGE_STEPS = 8
BRIDGE_SMOOTHING = 5


@dataclass(frozen=True)
class Solid:
    """A closed triangle mesh; `lining` marks what was added to close it (hem edges, linings, lids)."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    lining: Bool[np.ndarray, " F"]


@dataclass(frozen=True)
class FrontEdges:
    """The lower and the upper ends of an open front's two edges (left of the wearer first), and where a point beside
    the opening lies inside the body: the lid over the front runs there, so that the opening stays open."""

    ends: Int[np.ndarray, "2 2"]
    into_body: Callable[[Float[np.ndarray, "P 3"]], Float[np.ndarray, "P 3"]]


def open_loops(faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " L"]]:
    """Closed loops of edges that only one face has, running as that face does."""
    directed = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    size = int(faces.max()) + 1
    keys = np.sort(directed[:, 0] * size + directed[:, 1])
    back = directed[:, 1] * size + directed[:, 0]
    place = np.minimum(np.searchsorted(keys, back), len(keys) - 1)
    following: dict[int, list[int]] = {}
    for a, b in directed[keys[place] != back].tolist():
        following.setdefault(a, []).append(b)
    loops = []
    while following:
        loop = [min(following)]
        while loop[-1] in following:
            ahead = following[loop[-1]]
            step = ahead.pop()
            if not ahead:
                del following[loop[-1]]
            if step == loop[0]:
                break
            loop.append(step)
        loops.append(np.array(loop))
    return loops


def fan_loops(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], apex: Float[np.ndarray, "3"] | None = None
) -> tuple[Float[np.ndarray, "W 3"], Int[np.ndarray, "G 3"]]:
    """Close every opening by a fan around its middle, or around `apex`."""
    loops = open_loops(faces)
    centres = [vertices[loop].mean(0) if apex is None else apex for loop in loops]
    fans = [
        np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(vertices) + k)], 1) for k, loop in enumerate(loops)
    ]
    return np.concatenate([vertices, *[c[None] for c in centres]]), np.concatenate([faces, *fans])


def close_sheet(
    vertices: Float[np.ndarray, "V 3"],
    quads: Int[np.ndarray, "Q 4"],
    recess: float,
    front: FrontEdges | None = None,
) -> Solid:
    """Close a garment; the lids lie `recess` metres inside the hems."""
    faces = triangulate(quads)
    outer = len(faces)
    normals = vertex_normals(vertices, faces)
    rows, strips = [vertices], [faces]
    last_row: dict[int, int] = {}
    count = len(vertices)
    for loop in open_loops(faces):
        inward = _into_cloth(vertices, quads, loop)
        under = _along_rim(normals[loop])
        edge = vertices[loop] - THICKNESS * under
        inner = edge - 0.3 * THICKNESS * under + recess * inward
        index = [loop, count + np.arange(len(loop)), count + len(loop) + np.arange(len(loop))]
        rows += [edge, inner]
        strips += [_strip(index[0], index[1]), _strip(index[1], index[2])]
        last_row |= dict(zip(loop.tolist(), index[2].tolist(), strict=True))
        count += 2 * len(loop)
    points, faces = np.concatenate(rows), np.concatenate(strips)
    if front is not None:
        points, faces = _bridge_front(points, faces, np.vectorize(last_row.get)(front.ends), front)
    points, faces = fan_loops(points, faces)
    return Solid(points, faces, np.arange(len(faces)) >= outer)


def _into_cloth(vertices: np.ndarray, quads: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Unit directions from the rim's vertices into the cloth."""
    on_rim = np.zeros(len(vertices), bool)
    on_rim[loop] = True
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges = np.concatenate([edges, edges[:, ::-1]])
    edges = edges[on_rim[edges[:, 0]] & ~on_rim[edges[:, 1]]]
    total = np.zeros_like(vertices)
    np.add.at(total, edges[:, 0], vertices[edges[:, 1]] - vertices[edges[:, 0]])
    return _along_rim(total[loop])


def _along_rim(directions: np.ndarray) -> np.ndarray:
    """Unit directions smoothed along the rim."""
    for _ in range(4):
        directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        directions = 0.5 * directions + 0.25 * (np.roll(directions, 1, 0) + np.roll(directions, -1, 0))
    return directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)


def _strip(rim: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Triangles that continue a rim, which runs as its faces do, to the next row."""
    a, b, c, d = np.roll(rim, -1), rim, following, np.roll(following, -1)
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _bridge_front(
    points: np.ndarray, faces: np.ndarray, ends: np.ndarray, front: FrontEdges
) -> tuple[np.ndarray, np.ndarray]:
    """Join the two edges of an open front by a strip that dips into the body between them."""
    (left_low, right_low), (left_high, right_high) = ends.tolist()
    loop = next(rim for rim in open_loops(faces) if left_low in rim)
    left, forward = _arc(loop, left_low, left_high, (right_low, right_high))
    right, _ = _arc(loop, right_low, right_high, (left_low, left_high))
    shares = np.linspace(0, 1, BRIDGE_STEPS + 1)[1:-1, None, None]
    added = [front.into_body(row) for row in (1 - shares) * points[left] + shares * points[right]]
    for _ in range(BRIDGE_SMOOTHING):  # along the front: where the nearest skin jumps from one leg to the other
        added = [0.5 * row + 0.25 * (row[[0, *range(len(row) - 1)]] + row[[*range(1, len(row)), -1]]) for row in added]
    count = len(points)
    columns = [left, *(count + k * len(left) + np.arange(len(left)) for k in range(len(added))), right]
    grid = [np.stack([a[1:], a[:-1], b[:-1], b[1:]], 1) for a, b in pairwise(columns)]
    quads = np.concatenate(grid)
    if not forward:
        quads = quads[:, ::-1]
    new = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return np.concatenate([points, *added]), np.concatenate([faces, new])


def _arc(loop: np.ndarray, start: int, end: int, others: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """The stretch of a loop from `start` to `end` without `others`, and whether the loop runs that way."""
    for way, forward in ((loop, True), (loop[::-1], False)):
        way = np.roll(way, -int(np.flatnonzero(way == start)[0]))
        arc = way[: int(np.flatnonzero(way == end)[0]) + 1]
        if not np.isin(others, arc).any():
            return arc, forward
    raise ValueError("the front's edges do not follow the rim")
