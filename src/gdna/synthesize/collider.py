"""Moving surfaces that cloth collides with, and which of their parts a cloth vertex may touch."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from gdna.body.skeleton import JOINT_NAMES, PARENTS
from gdna.synthesize import cloth_kernels, tree_kernels

ALL_BONES = (1 << len(PARENTS)) - 1
ANY_DIRECTION, AGAINST = 2.0, -0.3  # largest cosines


def triangle_masks(weights: Float[np.ndarray, "C J"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " F"]:
    """One bit a triangle: the bone it follows most."""
    return np.int64(1) << weights[faces].sum(1).argmax(1).astype(np.int64)


def allowed_masks(weights: Float[np.ndarray, "V J"]) -> Int[np.ndarray, " V"]:
    """The bones whose surface a cloth vertex rests on: those it follows and the neighbours of those it follows
    strongly, never of the other side of the body unless it follows both (a skirt does). So a sleeve between arm and
    chest stays outside the arm, and is not carried through it by the chest."""
    bones = len(PARENTS)
    adjacent = np.eye(bones, dtype=bool)
    for bone, parent in enumerate(PARENTS):
        if parent >= 0:
            adjacent[bone, parent] = adjacent[parent, bone] = True
    allowed = (weights > 0.03) | ((weights > 0.25) @ adjacent)
    head = JOINT_NAMES.index("head")
    allowed[:, head] = weights[:, head] > 0.3  # or a neckline is caught by the chin
    for side, other in (("left_", "right_"), ("right_", "left_")):
        ours, theirs = _bones(side), _bones(other)
        one_sided = weights[:, theirs].sum(1) < 0.3 * weights[:, ours].sum(1)
        allowed &= ~(one_sided[:, None] & theirs[None])
    return (allowed.astype(np.int64) << np.arange(bones)).sum(1)


def _bones(prefix: str) -> Bool[np.ndarray, " J"]:
    return np.array([name.startswith(prefix) for name in JOINT_NAMES])


class Collider:
    """A triangle surface whose vertices move from frame to frame, with a tree over it."""

    def __init__(
        self,
        path: Float[np.ndarray, "T C 3"],
        faces: Int[np.ndarray, "F 3"],
        masks: Int[np.ndarray, " F"],
        rim: Bool[np.ndarray, " C"] | None = None,
    ) -> None:
        self.path = path
        self.faces = np.ascontiguousarray(faces, np.int64)
        self.masks = np.array(masks, np.int64)
        self.rim = np.zeros(path.shape[1], bool) if rim is None else rim
        self.vertices = np.array(path[0], np.float64)
        self.normals = np.zeros_like(self.vertices)
        centroids = np.ascontiguousarray(self.vertices[self.faces].mean(1))
        self._order, self._child, self._span = tree_kernels.build_tree(centroids)
        self._boxes = np.zeros((len(self._child), 6))
        self._node_masks = np.zeros(len(self._child), np.int64)
        self.move_to(self.vertices)

    def between(self, frame: int, following: int, share: float) -> Float[np.ndarray, "C 3"]:
        """Vertices part of the way between two frames."""
        return np.asarray((1 - share) * self.path[frame] + share * self.path[following], np.float64)

    def move_to(self, vertices: Float[np.ndarray, "C 3"]) -> None:
        """Put the surface somewhere and bring the tree and the normals up to date."""
        self.vertices = np.ascontiguousarray(vertices, np.float64)
        tree_kernels.refit(
            self._order, self._child, self._span, self.vertices, self.faces, self.masks, self._boxes, self._node_masks
        )
        cloth_kernels.surface_normals(self.vertices, self.faces, self.normals)

    def nearest(
        self,
        points: Float[np.ndarray, "N 3"],
        allowed: Int[np.ndarray, " N"],
        limit: float,
        guess: Int[np.ndarray, " N"],
    ) -> None:
        """Fills `guess` with the closest allowed triangle within `limit` metres, -1 where there is none."""
        self._closest(points, allowed, limit, points, ANY_DIRECTION, guess)

    def nearest_facing(
        self, points: Float[np.ndarray, "N 3"], direction: Float[np.ndarray, "N 3"], limit: float,
        guess: Int[np.ndarray, " N"],
    ) -> None:  # fmt: skip
        """As `nearest`, of any bone, among triangles that look against a direction."""
        self._closest(points, np.full(len(points), ALL_BONES), limit, direction, AGAINST, guess)

    def _closest(self, points, allowed, limit, facing, turned, guess) -> None:
        tree_kernels.closest(
            points, allowed, limit, facing, turned, self._order, self._child, self._span, self._boxes, self._node_masks,
            self.vertices, self.faces, self.masks, guess,
        )  # fmt: skip

    def near_pairs(self, radius: Float[np.ndarray, " C"], ring: sp.csr_matrix, pairs: Int[np.ndarray, "P 2"]) -> int:
        """(vertex, triangle) pairs of the surface itself, triangles at a vertex's `ring` left out; how many fit into
        `pairs`."""
        count = tree_kernels.near_pairs(
            radius, self._order, self._child, self._span, self._boxes, self.vertices, self.faces, ring.indptr,
            ring.indices, pairs, len(pairs),
        )  # fmt: skip
        return min(int(count), len(pairs))

    def crossings(
        self, points: Float[np.ndarray, "N 3"], ends: Int[np.ndarray, "E 2"], same: bool = False
    ) -> tuple[Bool[np.ndarray, " E"], Bool[np.ndarray, " F"]]:
        """Which edges (pairs of `points`) pass through the surface, and which triangles they pass through. `same`: the
        edges are the surface's own."""
        by_edge, by_triangle = np.zeros(len(ends), bool), np.zeros(len(self.faces), bool)
        tree_kernels.crossings(
            points, ends, same, self._order, self._child, self._span, self._boxes, self.vertices, self.faces, by_edge,
            by_triangle,
        )  # fmt: skip
        return by_edge, by_triangle
