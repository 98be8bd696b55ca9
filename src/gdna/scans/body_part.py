"""The body's part of a scan, coded against the body that its parameters give.

Bare skin is where the body model puts it, so that only what was moved under cloth costs anything. Which vertex is
which is found from the mesh itself: faces that lie exactly on the model's are the seeds, and the matching spreads from
face to face.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gdna.data.inside import components
from gdna.scans.chunks import join_chunks, split_chunks

SEED_REACH = 2e-4  # metres from the model's vertex within which a vertex can be a seed
MIN_MATCHED = 0.5  # share of a component's faces that are the model's, or it is no body


@dataclass(frozen=True)
class Reference:
    """The posed body model."""

    vertices: Float[np.ndarray, "R 3"]
    faces: Int[np.ndarray, "G 3"]


@dataclass(frozen=True)
class Match:
    """The part of a mesh that is the body."""

    faces: Int[np.ndarray, " M"]  # numbers of the mesh's faces, in the order in which they are decoded
    payload: bytes


def encode_body(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], reference: Reference, quantum: float
) -> Match | None:
    """The components of a mesh that are the body, or None where there is none. Vertices are rounded to `quantum`."""
    mapped, known = _spread(vertices, faces, reference)
    chosen = _body_components(faces, known, len(vertices))
    if len(chosen) == 0:
        return None
    same, other = chosen[known[chosen] >= 0], chosen[known[chosen] < 0]
    same = same[np.argsort(known[same])]
    used = np.unique(mapped[faces[same]])
    own = np.unique(faces[same])  # mesh vertices that are the model's
    if len(own) != len(used):  # two bodies in one mesh
        return None
    own = own[np.argsort(mapped[own])]
    extra = np.setdiff1d(np.unique(faces[other]), own)
    local = np.full(len(vertices), -1)
    local[own] = np.arange(len(own))
    local[extra] = len(own) + np.arange(len(extra))
    mask = np.zeros(len(reference.faces), bool)
    mask[known[same]] = True
    residual = np.round((vertices[own] - reference.vertices[used]) / quantum)
    placed = np.round(vertices[extra] / quantum)
    return Match(
        np.concatenate([same, other]),
        join_chunks(
            [
                zlib.compress(np.packbits(mask).tobytes(), 9),
                _pack_integers(np.concatenate([residual, placed])),
                _pack_integers(local[faces[other]]),
            ]
        ),
    )


def decode_body(
    payload: bytes, reference: Reference, quantum: float
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices and faces of what `encode_body` coded. Raises `ValueError` where the bytes do not fit."""
    bits, moved, faces = split_chunks(payload, 3)
    mask = np.unpackbits(np.frombuffer(zlib.decompress(bits), np.uint8), count=len(reference.faces)).astype(bool)
    used, local = np.unique(reference.faces[mask], return_inverse=True)
    steps = _unpack_integers(moved) * quantum
    if len(steps) < len(used):
        raise ValueError(f"{len(steps)} body vertices, {len(used)} are used")
    steps[: len(used)] += reference.vertices[used]
    return steps, np.concatenate([local.reshape(-1, 3), _unpack_integers(faces)])


def _spread(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], reference: Reference
) -> tuple[Int[np.ndarray, " V"], Int[np.ndarray, " F"]]:
    """The model's vertex of each vertex and the model's face of each face, -1 where there is none."""
    from scipy.spatial import cKDTree

    skin = np.unique(reference.faces)
    near, index = cKDTree(reference.vertices[skin]).query(vertices, distance_upper_bound=SEED_REACH)
    close = np.full(len(vertices), -1)
    close[np.isfinite(near)] = skin[index[np.isfinite(near)]]
    edges = _Edges.of(reference.faces)
    mapped = np.full(len(vertices), -1)
    seeds = faces[edges.same(close[faces]) >= 0].ravel()
    mapped[seeds] = close[seeds]
    count = -1
    while count != (count := int((mapped >= 0).sum())):
        for turn in range(3):
            a, b, c = np.roll(faces, turn, axis=1).T
            waiting = (mapped[a] >= 0) & (mapped[b] >= 0) & (mapped[c] < 0)
            _, opposite = edges.across(mapped[a[waiting]], mapped[b[waiting]])
            mapped[c[waiting]] = opposite
    return mapped, edges.same(mapped[faces])


def _body_components(
    faces: Int[np.ndarray, "F 3"], known: Int[np.ndarray, " F"], num_vertices: int
) -> Int[np.ndarray, " n"]:
    mine = [c for c in components(faces, num_vertices) if (known[c] >= 0).mean() > MIN_MATCHED]
    return np.sort(np.concatenate(mine)) if mine else np.zeros(0, np.int64)


@dataclass(frozen=True)
class _Edges:
    """Directed edges of the model, sorted by `start * stride + end`."""

    keys: Int[np.ndarray, " E"]
    face: Int[np.ndarray, " E"]
    opposite: Int[np.ndarray, " E"]
    stride: int

    @classmethod
    def of(cls, faces: Int[np.ndarray, "G 3"]) -> _Edges:
        stride = int(faces.max()) + 1
        keys = (faces.astype(np.int64) * stride + np.roll(faces, -1, axis=1)).ravel()
        order = np.argsort(keys)
        return cls(keys[order], order // 3, np.roll(faces, -2, axis=1).ravel()[order], stride)

    def across(
        self, start: Int[np.ndarray, " n"], end: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """The face beside each directed edge and its third vertex, -1 where there is none."""
        wanted = start * self.stride + end
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        there = (self.keys[place] == wanted) & (start >= 0) & (end >= 0)
        return np.where(there, self.face[place], -1), np.where(there, self.opposite[place], -1)

    def same(self, corners: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " F"]:
        """The model's face with these corners, running the same way; -1 where there is none."""
        face, opposite = self.across(corners[:, 0], corners[:, 1])
        return np.where(opposite == corners[:, 2], face, -1)


def _pack_integers(rows: Float[np.ndarray, "n 3"] | Int[np.ndarray, "n 3"]) -> bytes:
    """Rows of three 16-bit integers, low bytes and high bytes apart, compressed."""
    limits = np.iinfo(np.int16)
    if rows.size and (rows.min() < limits.min or rows.max() > limits.max):
        raise ValueError(f"numbers from {rows.min():.0f} to {rows.max():.0f} do not fit 16 bits")
    planes = np.ascontiguousarray(rows.T, "<i2").view(np.uint8).reshape(-1, 2)
    return zlib.compress(np.ascontiguousarray(planes.T).tobytes(), 9)


def _unpack_integers(payload: bytes) -> Int[np.ndarray, "n 3"]:
    planes = np.frombuffer(zlib.decompress(payload), np.uint8).reshape(2, -1).T
    return np.ascontiguousarray(planes).view("<i2").reshape(3, -1).T.astype(np.int64)
