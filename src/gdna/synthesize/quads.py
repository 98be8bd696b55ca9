"""Quad meshes: edges, one Catmull-Clark step as a sparse matrix, Laplacian, boundary loops, normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Edges:
    """The undirected edges of a quad mesh; side k of a quad runs from its corner k to corner k+1."""

    ends: Int[np.ndarray, "E 2"]  # ends[:, 0] < ends[:, 1], rows sorted
    of_quad: Int[np.ndarray, "Q 4"]  # the edge at each side
    num_quads: Int[np.ndarray, " E"]  # 1 on the boundary, 2 inside

    @property
    def boundary(self) -> Bool[np.ndarray, " E"]:
        return self.num_quads == 1


def unique_edges(quads: Int[np.ndarray, "Q 4"]) -> Edges:
    """Edges of a quad mesh."""
    sides = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    ends, inverse, counts = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return Edges(ends, inverse.reshape(-1, 4), counts)


@dataclass(frozen=True)
class Subdivision:
    """One Catmull-Clark step. New vertices are the old ones (moved), then one per edge, then one per quad."""

    quads: Int[np.ndarray, "Q4 4"]
    smooth: sp.csr_matrix  # (V2, V), Catmull-Clark with the cubic B-spline rule along boundaries
    linear: sp.csr_matrix  # (V2, V), plain interpolation, for attributes such as skin weights


def catmull_clark(quads: Int[np.ndarray, "Q 4"], num_vertices: int) -> Subdivision:
    """The Catmull-Clark operator of a quad mesh (Catmull and Clark 1978; boundaries as in DeRose et al. 1998).

    Every vertex must be used by a quad. Rows of both matrices sum to 1.
    """
    edges = unique_edges(quads)
    num_edges, num_quads = len(edges.ends), len(quads)
    to_faces = _rows(quads, num_vertices, 0.25)
    to_middles = _rows(edges.ends, num_vertices, 0.5)
    faces_of_edge = sp.csr_matrix(
        (np.ones(4 * num_quads), (edges.of_quad.ravel(), np.repeat(np.arange(num_quads), 4))), (num_edges, num_quads)
    )
    inside = sp.diags((~edges.boundary).astype(float))
    edge_points = to_middles - inside @ (0.5 * to_middles - 0.25 * faces_of_edge @ to_faces)
    vertex_points = _vertex_points(quads, edges, to_faces, to_middles, num_vertices)
    corner, around = quads, edges.of_quad + num_vertices
    centre = np.arange(num_quads) + num_vertices + num_edges
    fine = [np.stack([corner[:, k], around[:, k], centre, around[:, k - 1]], 1) for k in range(4)]
    return Subdivision(
        quads=np.concatenate(fine),
        smooth=sp.vstack([vertex_points, edge_points, to_faces]).tocsr(),
        linear=sp.vstack([sp.identity(num_vertices), to_middles, to_faces]).tocsr(),
    )


def _rows(corners: Int[np.ndarray, "R K"], num_vertices: int, weight: float) -> sp.csr_matrix:
    count, width = corners.shape
    rows = np.repeat(np.arange(count), width)
    return sp.csr_matrix((np.full(corners.size, weight), (rows, corners.ravel())), (count, num_vertices))


def _vertex_points(
    quads: Int[np.ndarray, "Q 4"], edges: Edges, to_faces: sp.csr_matrix, to_middles: sp.csr_matrix, num_vertices: int
) -> sp.csr_matrix:
    """(F + 2 R + (n - 3) v) / n inside; 1/8, 3/4, 1/8 along the boundary."""
    incident_quads = (_rows(quads, num_vertices, 1.0) > 0).T.astype(float)
    incident_edges = _rows(edges.ends, num_vertices, 1.0).T
    valence = np.asarray(incident_edges.sum(1)).ravel()
    quad_count = np.asarray(incident_quads.sum(1)).ravel()
    mean_faces = sp.diags(1 / quad_count) @ incident_quads @ to_faces
    mean_middles = sp.diags(1 / valence) @ incident_edges @ to_middles
    inner = sp.diags(1 / valence) @ (mean_faces + 2 * mean_middles) + sp.diags((valence - 3) / valence)
    on_boundary, neighbours = _boundary(edges, num_vertices)
    outer = 0.75 * sp.identity(num_vertices) + 0.125 * neighbours
    keep = sp.diags((~on_boundary).astype(float))
    return (keep @ inner + sp.diags(on_boundary.astype(float)) @ outer).tocsr()


def _boundary(edges: Edges, num_vertices: int) -> tuple[Bool[np.ndarray, " V"], sp.csr_matrix]:
    """Boundary vertices, and the adjacency along the boundary scaled to two neighbours a vertex."""
    a, b = edges.ends[edges.boundary].T
    adjacent = sp.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (num_vertices, num_vertices))
    count = np.asarray(adjacent.sum(1)).ravel()
    return count > 0, sp.diags(2 / np.maximum(count, 1)) @ adjacent


def boundary_mask(quads: Int[np.ndarray, "Q 4"], num_vertices: int) -> Bool[np.ndarray, " V"]:
    """Vertices on a boundary of the mesh."""
    return _boundary(unique_edges(quads), num_vertices)[0]


def laplacian(quads: Int[np.ndarray, "Q 4"], num_vertices: int) -> sp.csr_matrix:
    """Averages the neighbours along edges; boundary vertices average along the boundary only, so that hems keep their
    line."""
    edges = unique_edges(quads)
    a, b = edges.ends.T
    adjacent = sp.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (num_vertices, num_vertices))
    on_boundary, along = _boundary(edges, num_vertices)
    mean = sp.diags(1 / np.maximum(np.asarray(adjacent.sum(1)).ravel(), 1)) @ adjacent
    return (sp.diags((~on_boundary).astype(float)) @ mean + 0.5 * sp.diags(on_boundary.astype(float)) @ along).tocsr()


def boundary_loops(quads: Int[np.ndarray, "Q 4"]) -> list[Int[np.ndarray, " L"]]:
    """Boundary vertices in order, one array a loop, the cloth to the left seen from outside; longest loop first."""
    directed = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    open_edges = directed[unique_edges(quads).boundary[unique_edges(quads).of_quad.ravel()]]
    following = {int(a): int(b) for a, b in open_edges}
    loops = []
    while following:
        loop = [min(following)]
        while (after := following.pop(loop[-1])) in following:
            loop.append(after)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def triangulate(quads: Int[np.ndarray, "Q 4"]) -> Int[np.ndarray, "F 3"]:
    """Two triangles a quad, its diagonals alternating from quad to quad; triangles 2q and 2q+1 belong to quad q."""
    first = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1)
    second = np.stack([quads[:, [0, 1, 3]], quads[:, [1, 2, 3]]], 1)
    even = (np.arange(len(quads)) % 2 == 0)[:, None, None]
    return np.where(even, first, second).reshape(-1, 3)


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit normals."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def bend_triples(quads: Int[np.ndarray, "Q 4"], num_vertices: int) -> Int[np.ndarray, "T 3"]:
    """(before, middle, after): pairs of edges that run straight on through a vertex, boundaries included.

    Inside, neighbours are put in order around the vertex and paired with the one half a turn on (twice where the
    valence is odd); on the boundary the two boundary neighbours are paired.
    """
    edges = unique_edges(quads)
    boundary_ends = edges.ends[edges.boundary]
    on_boundary = np.zeros(num_vertices, bool)
    on_boundary[boundary_ends] = True
    turn: list[dict[int, int]] = [{} for _ in range(num_vertices)]
    for k in range(4):
        for middle, after, before in zip(quads[:, k], quads[:, (k + 1) % 4], quads[:, k - 1], strict=True):
            turn[middle][int(after)] = int(before)
    triples = [pair for v in np.flatnonzero(~on_boundary) for pair in _pairs_around(int(v), turn[v])]
    along: list[list[int]] = [[] for _ in range(num_vertices)]
    for a, b in boundary_ends:
        along[a].append(int(b))
        along[b].append(int(a))
    triples += [(n[0], v, n[1]) for v, n in enumerate(along) if len(n) == 2]
    return np.array(triples, np.int64).reshape(-1, 3)


def _pairs_around(vertex: int, turn: dict[int, int]) -> list[tuple[int, int, int]]:
    ring = [min(turn)]
    while (following := turn[ring[-1]]) != ring[0] and len(ring) < len(turn):
        ring.append(following)
    valence = len(ring)
    count = valence // 2 if valence % 2 == 0 else valence
    return [(ring[k], vertex, ring[(k + valence // 2) % valence]) for k in range(count)]
