"""Boots: modelled shoes with a shaft grown from the leg."""

from __future__ import annotations

import numpy as np

from gdna.synthesize.accessories import Accessory, fit_accessory
from gdna.synthesize.cutting import Piece, cut, even_out, triangles, whole
from gdna.synthesize.garments import leg_share
from gdna.synthesize.mannequin import Mannequin
from gdna.synthesize.quads import catmull_clark, vertex_normals
from gdna.synthesize.shaping import Sheet, inflate, smooth

SHOE = "shoes01"
HEIGHT = 0.7  # where the shaft ends, as a share of the leg from hip to ankle
INTO_SHOE = 1.03  # where it begins
EASE = 0.011  # metres
MIDDLE = 0.004  # metres that each leg's piece keeps from the mirror plane


def fit_shoes(name: str, body: Mannequin) -> Accessory:
    """Any shoes or boots on a body, canonical. Raises `GdnaError` for a name that is not shipped."""
    if name != "boots":
        return fit_accessory(name, body.vertices_canonical, body.skin_weights)
    shoes = fit_accessory(SHOE, body.vertices_canonical, body.skin_weights)
    vertices, faces, weights = [shoes.vertices], [shoes.faces], [shoes.skin_weights]
    count = len(shoes.vertices)
    for sign in (1, -1):
        sheet = _shaft(body, sign)
        vertices.append(sheet.vertices)
        faces.append(triangles(sheet.quads) + count)
        weights.append(sheet.skin_weights)
        count += len(sheet.vertices)
    return Accessory(name, np.concatenate(vertices), np.concatenate(faces), np.concatenate(weights), shoes.hides)


def _shaft(body: Mannequin, sign: int) -> Sheet:
    suit, share = whole(body.suit_quads, len(body.vertices)), leg_share(body)
    piece = cut(suit, body.vertices, sign * body.vertices[:, 0] - MIDDLE)
    piece = cut(piece, body.vertices, share - HEIGHT)
    piece = even_out(cut(piece, body.vertices, INTO_SHOE - share), suit, body.vertices)
    binding, quads = piece.binding, piece.quads
    for _ in range(2):
        step = catmull_clark(quads, binding.shape[0])
        binding, quads = step.linear @ binding, step.quads
    fine = Piece(quads, binding)
    sheet = Sheet(fine.binding @ body.vertices_canonical, fine.quads, fine.binding @ body.skin_weights)
    sheet = inflate(smooth(sheet, 12), np.full(len(sheet.vertices), EASE))
    return _creased(sheet, sign)


def _creased(sheet: Sheet, sign: int) -> Sheet:
    """Shallow rings above the ankle, where leather bends."""
    along = sheet.vertices[:, 1] - sheet.vertices[:, 1].min()
    fade = np.exp(-(((along - 0.05) / 0.04) ** 2))
    normals = vertex_normals(sheet.vertices, triangles(sheet.quads))
    turn = 2.0 * np.arctan2(*(sheet.vertices[:, [0, 2]] - sheet.vertices[:, [0, 2]].mean(0)).T)
    rings = 0.0018 * np.cos(2 * np.pi * along / 0.022 + sign * np.sin(turn))
    return Sheet(sheet.vertices + (fade * rings)[:, None] * normals, sheet.quads, sheet.skin_weights)
