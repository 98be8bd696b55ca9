"""The mouth of the open body, which MakeHuman made hollow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.body.open_body import OpenBody, open_body
from gdna.body.skeleton import JOINT_NAMES

MIDDLE = (0.0, -0.02, 0.05)  # metres from the head's joint to a point amid the cavity
WALL = 0.045  # metres from there within which what faces that point is the cavity's wall
OUTER = 0.13  # metres from there beyond which all is outer skin
MICRON = 1e-6  # lengths of edges are counted in whole ones


@lru_cache(maxsize=1)
def mouth_faces() -> Int[np.ndarray, "F 3"]:
    """Triangles between the open body's vertices that bound what its mouth holds, looking outward: the cavity's walls,
    turned round, and a lid between the lips.

    The wall ends at the shortest closed line of edges that parts the inner cavity from the outer skin (a minimum cut),
    which runs along the lips where they meet.
    """
    body = open_body()
    quads = body.skin_quads
    wall = _within(body, quads)
    walls = quads[wall][:, [[0, 2, 1], [0, 3, 2]]].reshape(-1, 3)
    return np.concatenate([walls, _lid(walls, body.template.numpy())])


def _within(body: OpenBody, quads: Int[np.ndarray, "K 4"]) -> Bool[np.ndarray, " K"]:
    """Quads behind the lips."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    vertices = body.template.double().numpy()
    edges, one, other = _neighbours(quads)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    corners = vertices[quads]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    middle = body.joints_neutral[JOINT_NAMES.index("head")].double().numpy() + MIDDLE
    away = corners.mean(1) - middle
    distance = np.linalg.norm(away, axis=1)
    inner = np.flatnonzero((distance < WALL) & ((away * normals).sum(1) < 0))
    outer = np.flatnonzero(distance > OUTER)
    source, sink = len(quads), len(quads) + 1
    rows = np.concatenate([one, other, np.full(len(inner), source), outer])
    columns = np.concatenate([other, one, inner, np.full(len(outer), sink)])
    edge_capacity = np.maximum(lengths / MICRON, 1).astype(np.int32)
    ends = np.full(len(inner) + len(outer), np.iinfo(np.int32).max)
    capacity = np.concatenate([edge_capacity, edge_capacity, ends]).astype(np.int32)
    graph = coo_array((capacity, (rows, columns)), shape=(sink + 1, sink + 1)).tocsr()
    left = graph - maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(sink + 1, bool)
    reached[breadth_first_order(left, source, return_predecessors=False)] = True
    return reached[: len(quads)]


def _neighbours(
    quads: Int[np.ndarray, "K 4"],
) -> tuple[Int[np.ndarray, "E 2"], Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The edges of a closed mesh of quads and the two quads at each."""
    edges = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    order = np.lexsort(edges.T)
    return edges[order[::2]], order[::2] // 4, order[1::2] // 4


def _lid(walls: Int[np.ndarray, "W 3"], vertices: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, "L 3"]:
    """Triangles that close the one hole of the walls, from corner to corner of the mouth between the two lips."""
    onward = _border(walls)
    loop = [min(onward, key=lambda vertex: vertices[vertex, 0])]
    while (following := onward[loop[-1]]) != loop[0]:
        loop.append(following)
    far = max(range(len(loop)), key=lambda place: vertices[loop[place], 0])
    there, back = loop[: far + 1], [loop[0], *reversed(loop[far:])]
    faces, i, j = [], 0, 0
    while i < len(there) - 1 or j < len(back) - 1:
        on_there = j == len(back) - 1 or (i < len(there) - 1 and vertices[there[i + 1], 0] < vertices[back[j + 1], 0])
        if on_there:
            faces.append((there[i + 1], there[i], back[j]))
            i += 1
        else:
            faces.append((back[j], back[j + 1], there[i]))
            j += 1
    return np.array([face for face in faces if len(set(face)) == 3])


def _border(faces: Int[np.ndarray, "F 3"]) -> dict[int, int]:
    """Start and end of each directed edge that no face runs through the other way."""
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    return {a: b for a, b in edges if (b, a) not in edges}
