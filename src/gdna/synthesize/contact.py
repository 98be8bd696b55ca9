"""Contact of a cloth level with the body and with inner garments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.synthesize import cloth_kernels
from gdna.synthesize.collider import Collider

ROUNDING = 0.5  # of colliders, see `cloth_kernels.height_over`
SHEETS_APART = 0.003  # metres between two sheets squeezed between parts of the body
FACING_LIMIT, FACING_DEEPEST = 0.03, 0.025  # metres to a part of the body that lies over the cloth, and into it
BODY_LIMIT, LAYER_LIMIT, LAYER_DEEPEST = 0.06, 0.04, 0.03  # metres: how far contacts are sought; how far under a layer


@dataclass(frozen=True)
class Touch:
    """One kind of contact: the triangle each cloth vertex may touch (-1: none), what it keeps away, where it gives
    up."""

    collider: int
    triangle: Int[np.ndarray, " V"]
    clearance: Float[np.ndarray, " V"]
    deepest: float
    grips: bool  # rubs; only what the cloth lies on does, or bent limbs drag it along


class Contacts:
    """What each of a cloth's V vertices may touch. The first collider is the body, the others are inner garments,
    innermost first."""

    def __init__(self, colliders: list[Collider], allowed: Int[np.ndarray, " V"], thickness: float) -> None:
        self.colliders, self.allowed, self.thickness = colliders, allowed, thickness
        count = len(allowed)
        self.own = [np.full(count, -1, np.int64) for _ in colliders]
        self.facing = np.full(count, -1, np.int64)
        self.clearance = np.full(count, thickness)
        self.facing_clearance = self.clearance.copy()
        full = self.clearance.copy()
        layers = [Touch(k, self.own[k], full, LAYER_DEEPEST, True) for k in range(1, len(colliders))]
        own = Touch(0, self.own[0], self.clearance, np.inf, True)
        self._touches = (*layers, own, Touch(0, self.facing, self.facing_clearance, FACING_DEEPEST, False))

    @property
    def squeezed(self) -> Bool[np.ndarray, " V"]:
        """Cloth between parts of the body that leave it no room."""
        return self.clearance < self.thickness - 1e-9

    def search(self, points: Float[np.ndarray, "V 3"], outward: Float[np.ndarray, "V 3"]) -> None:
        """Find the nearest surface of every collider, and the part of the body that lies over the cloth (the chest for
        a sleeve, the thigh for the cloth in a bent knee) with the room that it leaves. `outward` are the cloth's
        normals."""
        for k, collider in enumerate(self.colliders):
            collider.nearest(points, self.allowed, LAYER_LIMIT if k else BODY_LIMIT, self.own[k])
        body, outward = self.colliders[0], outward.copy()
        cloth_kernels.contact_normals(points, self.own[0], body.faces, body.vertices, body.normals, outward)
        body.nearest_facing(points, outward, FACING_LIMIT, self.facing)
        cloth_kernels.share_gaps(
            points, self.own[0], self.facing, body.faces, body.vertices, body.normals, self.thickness, SHEETS_APART,
            FACING_DEEPEST, ROUNDING, self.clearance, self.facing_clearance,
        )  # fmt: skip

    def push_out(
        self,
        x: Float[np.ndarray, "V 3"],
        moving: tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V 3"]],
        places: tuple[list[Float[np.ndarray, "_ 3"]], list[Float[np.ndarray, "_ 3"]]],
        friction: float,
        most: float,
    ) -> None:
        """Move `x` out of everything in place, by at most `most` metres. `moving`: the positions from which friction
        and from which velocities are measured; `places`: the colliders' vertices before and after."""
        for touch in self._touches:
            surface = self.colliders[touch.collider]
            old, new = places[0][touch.collider], places[1][touch.collider]
            cloth_kernels.push_out(
                x, moving[0], moving[1], touch.triangle, surface.faces, old, new, surface.normals, surface.rim,
                touch.clearance, friction * touch.grips, touch.deepest, most, ROUNDING,
            )  # fmt: skip
