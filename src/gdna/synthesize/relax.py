"""One level of a garment in motion: carried along by the body, relaxed by extended position-based dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gdna.synthesize import cloth_kernels
from gdna.synthesize.collider import ALL_BONES, Collider
from gdna.synthesize.contact import Contacts
from gdna.synthesize.garment import BodyPath, Fabric
from gdna.synthesize.sheet import Sheet

PAIR_ROOM = 400_000  # vertex-triangle pairs of one sheet
SELF_DISTANCE = 0.009  # metres at most between touching parts of one sheet; less where its mesh is fine
SELF_FRICTION = 0.2
STRAINED = 1.25  # cloth longer than this, in rest lengths, is let through itself
MOST_PUSHED = 0.01  # metres a substep


@dataclass(frozen=True)
class Dynamics:
    """How cloth is relaxed; the same at every level."""

    substeps: int = 16
    queries: int = 2  # searches for contacts a frame while the body moves
    frame_time: float = 1 / 30
    gravity: float = 9.81
    fastest: float = 1.5  # m/s relative to the carried cloth
    viscosity: float = 1.0  # resistance to changes of length, in units of the constraint itself
    longest: float = 1.08  # edges are never longer, in rest lengths, where contacts allow
    moving_damping: float = 0.02  # share of the velocity lost a substep
    settling_damping: float = 0.06


class MovingCloth:
    """Positions and velocities of one level, and what it touches."""

    def __init__(
        self,
        sheet: Sheet,
        fabric: Fabric,
        path: BodyPath,
        colliders: list[Collider],
        dynamics: Dynamics,
        sweeps: int,
    ) -> None:
        self.sheet, self.fabric, self.path, self.dynamics, self.sweeps = sheet, fabric, path, dynamics, sweeps
        self.x, self.velocity = sheet.start.copy(), np.zeros_like(sheet.start)
        self.own = Collider(sheet.start[None], sheet.faces, np.full(len(sheet.faces), ALL_BONES))
        self.contacts = Contacts(colliders, sheet.allowed, fabric.thickness)
        self._free = np.where(sheet.pinned, 1.0, sheet.inverse_mass)
        self._pairs, self._sides, self._distances = cloth_kernels.empty_pairs(PAIR_ROOM)
        self._num_pairs = 0
        self._self_distance = np.minimum(0.5 * sheet.local_spacing, SELF_DISTANCE)
        self._carried = np.empty_like(self.x)

    def advance(self, frame: int, following: int) -> None:
        """One frame along the path; at rest where both are the same."""
        dynamics, pinned = self.dynamics, self.sheet.pinned
        at_rest = frame == following
        h = dynamics.frame_time / dynamics.substeps
        every = dynamics.substeps if at_rest else max(dynamics.substeps // dynamics.queries, 1)
        damping = dynamics.settling_damping if at_rest else dynamics.moving_damping
        held = self._held(frame), self._held(following)
        step = self._carry(frame, following) / dynamics.substeps
        colliders = self.contacts.colliders
        old = [c.between(frame, following, 0.0) for c in colliders]
        for k in range(dynamics.substeps):
            if k % every == 0:
                self.search(frame, following, min((k + every / 2) / dynamics.substeps, 1.0), step * (every / 2))
            share = (k + 1) / dynamics.substeps
            new = old if at_rest else [c.between(frame, following, share) for c in colliders]
            origin = self.x.copy()
            self.x += step
            self.x[pinned] = (1 - share) * held[0][pinned] + share * held[1][pinned]
            self._substep(h, k % 2 == 1, origin, (old, new))
            cloth_kernels.settle_velocity(self.x, self.velocity, self._carried, h, 1 - damping)
            old = new

    def search(self, frame: int, following: int, share: float, ahead: Float[np.ndarray, "V 3"] | float = 0.0) -> None:
        """Bring colliders and all contacts up to date, for cloth that is about to move `ahead`."""
        self.search_others(frame, following, share, ahead)
        radius = self._self_distance + 0.3 * self.sheet.local_spacing
        self._num_pairs = self.own.near_pairs(radius, self.sheet.ring, self._pairs)
        cloth_kernels.pair_sides(
            self.x, self.sheet.start, self.sheet.faces, self._pairs, self._num_pairs, self._strained(),
            self._self_distance, self._sides, self._distances,
        )  # fmt: skip

    def search_others(
        self, frame: int, following: int, share: float, ahead: Float[np.ndarray, "V 3"] | float = 0.0
    ) -> None:
        """The same without the contacts of the sheet with itself."""
        for collider in self.contacts.colliders:
            collider.move_to(collider.between(frame, following, share))
        self.own.move_to(self.x)
        self.contacts.search(self.x + ahead, self.own.normals)

    def stretch(self) -> Float[np.ndarray, " E"]:
        """Length of every thread in rest lengths."""
        threads = self.sheet.threads
        return np.linalg.norm(self.x[threads.ends[:, 0]] - self.x[threads.ends[:, 1]], axis=1) / threads.rest

    def _strained(self) -> Bool[np.ndarray, " V"]:
        mask = np.zeros(len(self.x), bool)
        mask[self.sheet.threads.ends[self.stretch() > STRAINED]] = True
        return mask

    def _held(self, frame: int) -> Float[np.ndarray, "V 3"]:
        """Where linear blend skinning puts the start shape."""
        return self._blend(self.path.transforms[frame], self.sheet.start)

    def _carry(self, frame: int, following: int) -> Float[np.ndarray, "V 3"]:
        """Displacement by the blend of the bones' motions over one frame; small rotations blend without collapsing."""
        if frame == following:
            return np.zeros_like(self.x)
        motion = self.path.transforms[following] @ np.linalg.inv(self.path.transforms[frame])
        return self._blend(motion, self.x) - self.x

    def _blend(self, transforms: Float[np.ndarray, "J 4 4"], points: Float[np.ndarray, "V 3"]) -> np.ndarray:
        mixed = (self.sheet.weights @ transforms[:, :3].reshape(-1, 12)).reshape(-1, 3, 4)
        return np.einsum("vij,vj->vi", mixed[:, :, :3], points) + mixed[:, :, 3]

    def _substep(self, h: float, reverse: bool, origin: Float[np.ndarray, "V 3"], places: tuple[list, list]) -> None:
        """Free flight, constraints, contacts. Parts of the sheet are kept off each other last: they must never
        cross."""
        inverse_mass, dynamics = self.sheet.inverse_mass, self.dynamics
        cloth_kernels.advance(self.x, self.velocity, self._carried, inverse_mass, dynamics.gravity, h, dynamics.fastest)
        self._rein_in(reverse)
        for sweep in range(self.sweeps):
            self._constrain(h, reverse != (sweep % 2 == 1))
        self.contacts.push_out(self.x, (origin, self._carried), places, self.fabric.friction, MOST_PUSHED)
        cloth_kernels.part_self(
            self.x, origin, self._carried, self._free, self.sheet.faces, self._pairs, self._sides, self._distances,
            self._num_pairs, SELF_FRICTION,
        )  # fmt: skip

    def _rein_in(self, reverse: bool) -> None:
        for tethers in self.sheet.tethers:
            springs, spread = tethers.springs, tethers.spread
            coarse = self.x[: len(tethers.inverse_mass)].copy()
            cloth_kernels.rein_in(coarse, tethers.inverse_mass, springs.ends, springs.rest, reverse)
            coarse -= self.x[: len(coarse)]
            cloth_kernels.add_spread(self.x, spread.indptr, spread.indices, spread.data, coarse)

    def _constrain(self, h: float, reverse: bool) -> None:
        sheet, fabric, dynamics = self.sheet, self.fabric, self.dynamics
        cloth_kernels.bend(
            self.x, sheet.inverse_mass, sheet.triples, sheet.share, sheet.flatness, sheet.sharpest,
            sheet.bend_compliance / h**2, reverse,
        )  # fmt: skip
        for springs, stiffness in ((sheet.diagonals, fabric.shear), (sheet.threads, fabric.stretch)):
            cloth_kernels.stretch(
                self.x, self._carried, sheet.inverse_mass, springs.ends, springs.rest, 1 / stiffness / h**2,
                dynamics.longest, dynamics.viscosity, reverse,
            )  # fmt: skip
