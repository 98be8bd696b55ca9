"""Which triangles cross a cube, for each of the 256 ways in which its corners can lie inside or outside.

Made, not tabulated. On every face of the cube, each run of neighbouring inside corners is cut off by one segment, so
two inside corners that face each other across a face are never joined. What a face shows depends on its four corners
alone, so the two cubes at a face agree, and the surface is closed. The segments of a cube form loops, which are cut
into triangles without a diagonal that lies in a face: the cube behind it could have the same one, and four
triangles would meet there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from jaxtyping import Int
from torch import Tensor

Loop = tuple[int, ...]
Triangle = tuple[int, int, int]

CORNERS = tuple(product((0, 1), repeat=3))  # corner 4 x + 2 y + z
EDGES = tuple((corner, corner | axis) for axis in (4, 2, 1) for corner in range(8) if not corner & axis)
EDGE_AXES = tuple({4: 0, 2: 1, 1: 2}[end - start] for start, end in EDGES)
FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
"""Corners of each face, counter-clockwise seen from outside the cube."""


@dataclass(frozen=True)
class CubeCases:
    """Row c: the triangles where corner k is inside if bit k of c is set, as edges of the cube, padded with -1."""

    triangles: Int[Tensor, "256 T 3"]


@lru_cache(maxsize=1)
def cube_cases() -> CubeCases:
    cases = [[t for loop in _loops(case) for t in _triangulated(loop)] for case in range(256)]
    most = max(map(len, cases))
    return CubeCases(torch.tensor([case + [(-1, -1, -1)] * (most - len(case)) for case in cases]))


def _loops(case: int) -> list[Loop]:
    """Closed paths of cut edges, counter-clockwise seen from outside the surface."""
    follows: dict[int, int] = {}
    for face in FACES:
        inside = [bool(case >> corner & 1) for corner in face]
        entering = [k for k in range(4) if not inside[k - 1] and inside[k]]
        for k in entering:
            last = next(j for j in range(k, k + 4) if not inside[(j + 1) % 4])
            follows[_edge(face[k - 1], face[k])] = _edge(face[last % 4], face[(last + 1) % 4])
    loops = []
    while follows:
        start = at = min(follows)
        loop = [start]
        while (at := follows.pop(at)) != start:
            loop.append(at)
        loops.append(tuple(loop))
    return loops


def _edge(one: int, other: int) -> int:
    return EDGES.index((min(one, other), max(one, other)))


def _triangulated(loop: Loop) -> list[Triangle]:
    """The loop as triangles none of whose diagonals lies in a face of the cube."""
    found = _without_face_diagonals(loop)
    assert found is not None, f"loop {loop} has no such triangles"
    return found


def _without_face_diagonals(loop: Loop) -> list[Triangle] | None:
    if len(loop) == 3:
        return [(loop[0], loop[1], loop[2])]
    first, last = loop[0], loop[-1]
    for middle in range(1, len(loop) - 1):
        sides = [(first, loop[middle])] * (middle > 1) + [(loop[middle], last)] * (middle < len(loop) - 2)
        if any(_share_face(*side) for side in sides):
            continue
        before = _without_face_diagonals(loop[: middle + 1]) if middle > 1 else []
        after = _without_face_diagonals(loop[middle:]) if middle < len(loop) - 2 else []
        if before is not None and after is not None:
            return [(first, loop[middle], last), *before, *after]
    return None


def _share_face(one: int, other: int) -> bool:
    return any({*EDGES[one], *EDGES[other]} <= set(face) for face in FACES)
