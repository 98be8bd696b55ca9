"""The last touch to a draped garment: nothing sticks out of it, it does not pass through itself."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from gdna.synthesize import cloth_kernels
from gdna.synthesize.collider import ALL_BONES, Collider
from gdna.synthesize.relax import MovingCloth
from gdna.synthesize.tangle import iron, tangled, widen

ROUNDS = 6
TORN = 1.6  # rest lengths; longer threads are ironed as well
LIFT_LIMIT = 0.025  # metres that a covered surface may stick out at most; further out it is another part's


def finish(cloth: MovingCloth, frame: int) -> None:
    """Alternates, in place: ironing where the cloth passes through itself or is torn, pushing cloth out of what it
    covers, and lifting it over vertices of what it covers that stick out. Cloth squeezed between parts of the body is
    left where it is."""
    sheet = cloth.sheet
    free = ~sheet.pinned
    cover = Collider(cloth.x[None], sheet.faces, _cover_masks(cloth), sheet.rim)
    for attempt in range(ROUNDS):
        cloth.search_others(frame, frame, 1.0)
        mask = tangled(cloth.own, sheet.threads.ends)
        mask[sheet.threads.ends[cloth.stretch() > TORN]] = True
        if mask.any():
            wide = widen(mask, sheet.average, 1 + attempt // 2) & free
            cloth.x = iron(cloth.x, wide, sheet.average, 3)
        before = cloth.x.copy()
        _clear(cloth, cover)
        moved = np.linalg.norm(cloth.x - before, axis=1) > 5e-4
        if attempt < ROUNDS - 2 and moved.any():
            cloth.x = iron(cloth.x, widen(moved, sheet.average, 1) & free, sheet.average, 1)
            _clear(cloth, cover)
        elif not mask.any():
            break


def _clear(cloth: MovingCloth, cover: Collider) -> None:
    """Push out, lift over, push out. `cover` is the cloth again, as a collider that knows which bones it lies over."""
    contacts = cloth.contacts
    places = [c.vertices for c in contacts.colliders]
    cover.masks[:] = _cover_masks(cloth)
    for k, collider in enumerate(contacts.colliders):
        contacts.push_out(cloth.x, (cloth.x.copy(), cloth.x.copy()), (places, places), 0.0, np.inf)
        cover.move_to(cloth.x)
        _lift(cloth, cover, collider, k > 0)
    contacts.push_out(cloth.x, (cloth.x.copy(), cloth.x.copy()), (places, places), 0.0, np.inf)


def _lift(cloth: MovingCloth, cover: Collider, collider: Collider, is_layer: bool) -> None:
    bones = np.zeros(len(collider.vertices), np.int64)
    for corner in range(3):
        bones[collider.faces[:, corner]] |= collider.masks & ALL_BONES
    found = np.full(len(bones), -1, np.int64)
    cover.nearest(collider.vertices, bones, LIFT_LIMIT, found)
    found[collider.rim] = -1
    margin = (0.7 if is_layer else 0.5) * cloth.fabric.thickness
    cloth_kernels.lift_over(
        cloth.x, cover.faces, cover.rim, collider.vertices, collider.normals, found, margin, LIFT_LIMIT
    )


def _cover_masks(cloth: MovingCloth) -> Int[np.ndarray, " F"]:
    """Bones that each of the cloth's triangles may cover, none where it is squeezed."""
    allowed = np.where(cloth.contacts.squeezed, 0, cloth.sheet.allowed)
    corners = allowed[cloth.sheet.faces]
    return corners[:, 0] & corners[:, 1] & corners[:, 2]
