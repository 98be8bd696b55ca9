"""Cut a piece out of a quad mesh along iso-lines, with the vertices moved onto the line, so that hems are clean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components

from gdna.synthesize.quads import boundary_mask, laplacian, unique_edges

SLIDE_STEPS = 10
EVEN_STEPS = 25


@dataclass(frozen=True)
class Piece:
    """A piece of a quad mesh. Each of its N vertices is a weighted mean of the source's M: `binding @ values` carries
    anything given at the source's vertices (positions, skin weights) to the piece's."""

    quads: Int[np.ndarray, "Q 4"]
    binding: sp.csr_matrix  # (N, M), rows sum to 1


def triangles(quads: Int[np.ndarray, "Q 4"]) -> Int[np.ndarray, "F 3"]:
    """Two triangles a quad along the same diagonal."""
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def compact(piece: Piece) -> Piece:
    """Drop vertices that no quad uses."""
    used, flat = np.unique(piece.quads, return_inverse=True)
    return Piece(flat.reshape(-1, 4), piece.binding[used].tocsr())


def whole(quads: Int[np.ndarray, "Q 4"], count: int) -> Piece:
    """The source itself, of `count` vertices, as a piece."""
    return compact(Piece(quads, sp.identity(count, format="csr")))


def largest_part(piece: Piece) -> Piece:
    """The connected part with the most quads."""
    edges = unique_edges(piece.quads).ends
    count = piece.binding.shape[0]
    graph = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    _, part = connected_components(graph, directed=False)
    of_quad = part[piece.quads[:, 0]]
    return compact(Piece(piece.quads[of_quad == np.bincount(of_quad).argmax()], piece.binding))


def cut(piece: Piece, vertices: Float[np.ndarray, "M 3"], field: Float[np.ndarray, " M"]) -> Piece:
    """Keep the largest part where `field` (given at the source's vertices) is positive.

    Vertices next to the line `field = 0` move onto it and spread along it. Raises `ValueError` where nothing is kept.
    """
    values = piece.binding @ field
    on_line, keep = _snap(piece.quads, values)
    if not keep.any():
        raise ValueError("nothing lies on the positive side of the cut")
    old_rim = boundary_mask(piece.quads, len(values))
    kept = Piece(piece.quads[keep], piece.binding)
    rim = boundary_mask(kept.quads, len(values))
    on_line = (on_line | (rim & ~old_rim)) & rim
    line = _IsoLine.of(vertices, triangles(piece.quads), piece.binding, values)
    binding = line.pull(kept.binding, np.flatnonzero(on_line), vertices)
    used, flat = np.unique(kept.quads, return_inverse=True)
    moved = Piece(flat.reshape(-1, 4), binding[used].tocsr())
    return largest_part(_slide(moved, on_line[used], line, vertices))


def _snap(quads: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices move onto the line, and which quads stay."""
    edges = unique_edges(quads).ends
    a, b = values[edges].T
    crossing = (a > 0) != (b > 0)
    edges, share = edges[crossing], (a / np.where(crossing, a - b, 1))[crossing]
    on_line = np.zeros(len(values), bool)
    for k in np.argsort(np.minimum(share, 1 - share), kind="stable"):
        if not on_line[edges[k]].any():
            on_line[edges[k, int(share[k] > 0.5)]] = True
    sign = np.where(on_line, 0, np.sign(values))
    for row in quads:  # a corner that sticks out over the line: take it in where it is near, so that no tooth is left
        signs = sign[row]
        for k in np.flatnonzero(signs < 0):
            inner = row[(k + 2) % 4]
            if signs[k - 1] == 0 == signs[(k + 1) % 4] and sign[inner] > 0 and -values[row[k]] < values[inner]:
                sign[row[k]], on_line[row[k]] = 0, True
                signs = sign[row]
    keep = (sign[quads] >= 0).all(1) & (sign[quads] > 0).any(1)
    return on_line, keep


@dataclass(frozen=True)
class _IsoLine:
    """Segments of `field = 0` on a triangle mesh; each end is a mean of the source's vertices."""

    ends: sp.csr_matrix  # (2 S, M): starts, then ends
    count: int

    @staticmethod
    def of(vertices: np.ndarray, faces: np.ndarray, binding: sp.csr_matrix, values: np.ndarray) -> _IsoLine:
        above = values[faces] > 0
        mixed = faces[above.any(1) & ~above.all(1)]
        above = values[mixed] > 0
        lonely = np.where(above.sum(1) == 1, above.argmax(1), (~above).argmax(1))
        apex = mixed[np.arange(len(mixed)), lonely]
        rows = []
        for step in (1, 2):
            other = mixed[np.arange(len(mixed)), (lonely + step) % 3]
            share = values[apex] / (values[apex] - values[other])
            rows.append(sp.diags(1 - share) @ binding[apex] + sp.diags(share) @ binding[other])
        return _IsoLine(sp.vstack(rows).tocsr(), len(mixed))

    def nearest(self, points: np.ndarray, vertices: np.ndarray) -> sp.csr_matrix:
        """Bindings (P, M) of the line's points nearest to `points`."""
        ends = self.ends @ vertices
        start, along = ends[: self.count], ends[self.count :] - ends[: self.count]
        offset = points[:, None] - start[None]
        share = np.clip((offset * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-12), 0, 1)
        gap = np.linalg.norm(offset - share[..., None] * along, axis=-1)
        best = gap.argmin(1)
        t = share[np.arange(len(points)), best]
        mixed = sp.diags(1 - t) @ self.ends[best] + sp.diags(t) @ self.ends[best + self.count]
        return mixed.tocsr()

    def pull(self, binding: sp.csr_matrix, chosen: np.ndarray, vertices: np.ndarray) -> sp.csr_matrix:
        """`binding` with the rows `chosen` moved onto the line."""
        return replace_rows(binding, chosen, self.nearest(binding[chosen] @ vertices, vertices))


def replace_rows(matrix: sp.csr_matrix, rows: Int[np.ndarray, " P"], new: sp.csr_matrix) -> sp.csr_matrix:
    """`matrix` with its `rows` exchanged for those of `new`."""
    keep = np.ones(matrix.shape[0])
    keep[rows] = 0
    place = sp.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), (matrix.shape[0], len(rows)))
    result = (sp.diags(keep) @ matrix + place @ new).tocsr()
    result.eliminate_zeros()
    return result


def _slide(piece: Piece, on_line: np.ndarray, line: _IsoLine, vertices: np.ndarray) -> Piece:
    """Even out the spacing of the vertices along the line."""
    count = piece.binding.shape[0]
    table = unique_edges(piece.quads)
    edges = table.ends[table.boundary & on_line[table.ends].all(1)]
    along = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    along = along + along.T
    sliding = np.flatnonzero(on_line & (np.asarray(along.sum(1)).ravel() == 2))
    points = piece.binding @ vertices
    new = piece.binding[sliding]
    for _ in range(SLIDE_STEPS):
        target = 0.5 * points[sliding] + 0.25 * (along @ points)[sliding]
        new = line.nearest(target, vertices)
        points[sliding] = new @ vertices
    return Piece(piece.quads, replace_rows(piece.binding, sliding, new))


def even_out(piece: Piece, source: Piece, vertices: Float[np.ndarray, "M 3"]) -> Piece:
    """Spread the inner vertices of a piece evenly over the surface of `source`, which it was cut from; rims stay."""
    import igl

    mean = laplacian(piece.quads, piece.binding.shape[0])
    inner = np.flatnonzero(~boundary_mask(piece.quads, piece.binding.shape[0]))
    surface, faces = source.binding @ vertices, triangles(source.quads)
    points = piece.binding @ vertices
    for _ in range(EVEN_STEPS):
        target = 0.5 * points[inner] + 0.5 * (mean @ points)[inner]
        _, face, nearest = igl.point_mesh_squared_distance(target, surface, faces)[:3]
        points[inner] = nearest
    new = _on_faces(points[inner], surface, faces[face], source.binding)
    return Piece(piece.quads, replace_rows(piece.binding, inner, new))


def _on_faces(points: np.ndarray, surface: np.ndarray, corners: np.ndarray, binding: sp.csr_matrix) -> sp.csr_matrix:
    """Bindings of the points of the given triangles nearest to `points`, up to clamping at their edges."""
    a, b, c = (surface[corners[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.maximum((normal * normal).sum(1), 1e-20)
    share = np.stack([(np.cross(c - b, points - b) * normal).sum(1), (np.cross(a - c, points - c) * normal).sum(1)], 1)
    share = share / area[:, None]
    share = np.clip(np.concatenate([share, 1 - share.sum(1, keepdims=True)], 1), 0, 1)
    share /= share.sum(1, keepdims=True)
    return sp.csr_matrix(sum(sp.diags(share[:, k]) @ binding[corners[:, k]] for k in range(3)))
