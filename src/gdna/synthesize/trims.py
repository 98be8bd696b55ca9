"""What is sewn onto a draped garment: collars turned over, hoods lying on the back. Closed solids of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.synthesize.cloth import Draped
from gdna.synthesize.garments import Pattern
from gdna.synthesize.quads import boundary_loops, triangulate, vertex_normals
from gdna.synthesize.shaping import clear_layer
from gdna.synthesize.slack import crumple
from gdna.synthesize.solids import Mesh, ball, slab
from gdna.synthesize.styles import TopStyle

CLOTH = 0.0035  # metres, of a collar's two layers
OVER = 0.0045  # metres that trims keep from the garment
STRIP, STRIP_HEIGHT = 0.017, 0.0018  # metres: half the width of a strip of buttons, how far it is raised
BUTTON, BUTTONS_APART = 0.0055, 0.085  # metres
ROLL = 0.006  # metres that they rise before they turn over


def trims(pattern: Pattern, draped: Draped, upward: Float[np.ndarray, "3"]) -> list[Mesh]:
    """The trims of a garment in its pose. `upward`: unit vector along the neck."""
    style = pattern.style
    if not isinstance(style, TopStyle):
        return []
    found = []
    if style.buttons:
        found += _buttons(draped)
    if style.flap > 0:
        found.append(_collar(draped, style.flap, upward))
    if style.hood:
        found.append(_hood(draped, style.loose.grain, upward))
    return found


def front_strip(pattern: Pattern, draped: Draped) -> Draped:
    """The garment with the strip that carries its buttons raised by a layer of cloth."""
    style = pattern.style
    if not isinstance(style, TopStyle) or not style.buttons:
        return draped
    raised = STRIP_HEIGHT * np.clip((STRIP - np.abs(draped.start_vertices[:, 0])) / 0.003, 0, 1) * _in_front(draped)
    normals = vertex_normals(draped.vertices, triangulate(draped.quads))
    return replace(draped, vertices=draped.vertices + raised[:, None] * normals)


def _in_front(draped: Draped) -> Bool[np.ndarray, " V"]:
    """Vertices whose cloth faced ahead when it was cut."""
    return vertex_normals(draped.start_vertices, triangulate(draped.quads))[:, 2] > 0


def _buttons(draped: Draped) -> list[Mesh]:
    """Flat balls down the middle of the front."""
    middle = np.flatnonzero((np.abs(draped.start_vertices[:, 0]) < 0.004) & _in_front(draped))
    height = draped.start_vertices[middle, 1]
    wanted = np.arange(height.max() - 0.03, height.min() + 0.03, -BUTTONS_APART)
    chosen = middle[np.abs(height[None] - wanted[:, None]).argmin(1)]
    return [ball(draped.vertices[v], np.full(3, BUTTON), 10, 16, 0.0, 0) for v in chosen]


def _neckline(draped: Draped) -> tuple[Int[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """The neckline's vertices and their angles around the neck, from the front (0) once around."""
    start = draped.start_vertices
    loop = max(boundary_loops(draped.quads), key=lambda rim: start[rim, 1].mean())
    flat = start[loop] - start[loop].mean(0)
    angle = np.arctan2(flat[:, 0], flat[:, 2]) % (2 * np.pi)
    order = np.argsort(angle, kind="stable")
    return loop[order], angle[order]


def _turned_over(
    draped: Draped, rim: Int[np.ndarray, " L"], down: Float[np.ndarray, "R L"], slope: float, upward: np.ndarray
) -> Float[np.ndarray, "R L 3"]:
    """Rows that rise from the rim, turn outward and run `down` metres along the garment."""
    points = draped.vertices[rim]
    outward = points - points.mean(0)
    outward -= (outward @ upward)[:, None] * upward
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    rise = np.minimum(down, ROLL) - np.maximum(down - ROLL, 0)
    out = OVER * np.clip(down / (2 * ROLL), 0, 1) + slope * np.maximum(down - ROLL, 0)
    rows = points + rise[..., None] * upward + out[..., None] * outward
    cleared = clear_layer(rows[2:].reshape(-1, 3), draped.vertices, triangulate(draped.quads), OVER, steps=4)
    rows[2:] = cleared.reshape(rows[2:].shape)
    for _ in range(3):
        rows[2:-1, 1:-1] = 0.5 * rows[2:-1, 1:-1] + 0.125 * (
            rows[1:-2, 1:-1] + rows[3:, 1:-1] + rows[2:-1, :-2] + rows[2:-1, 2:]
        )
    return rows


def _normals(rows: Float[np.ndarray, "R L 3"], away: Float[np.ndarray, "3"]) -> Float[np.ndarray, "R L 3"]:
    """Unit normals of a grid that look away from a point."""
    index = np.arange(rows.shape[0] * rows.shape[1]).reshape(rows.shape[:2])
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    normals = vertex_normals(rows.reshape(-1, 3), quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)).reshape(rows.shape)
    sign = np.sign(((rows - away) * normals).sum())
    return sign * normals


def _collar(draped: Draped, length: float, upward: np.ndarray) -> Mesh:
    rim, angle = _neckline(draped)
    kept = (angle > 0.1) & (angle < 2 * np.pi - 0.1)
    rim, angle = rim[kept], angle[kept]
    ahead = np.exp(-((np.minimum(angle, 2 * np.pi - angle) / 0.6) ** 2))  # points towards the front
    down = np.linspace(0, 1, 14)[:, None] * (ROLL + length * (0.75 + 0.5 * ahead))
    rows = _turned_over(draped, rim, down, 0.7, upward)
    normals = _normals(rows, draped.vertices[rim].mean(0))
    return slab(rows + 0.5 * CLOTH * normals, rows - 0.5 * CLOTH * normals)


def _hood(draped: Draped, grain: int, upward: np.ndarray) -> Mesh:
    rim, angle = _neckline(draped)
    first = np.radians(48)
    kept = (angle > first) & (angle < 2 * np.pi - first)
    rim, angle = rim[kept], angle[kept]
    side = np.sin((angle - first) / (2 * np.pi - 2 * first) * np.pi)
    t = np.linspace(0, 1, 32)[:, None]
    down = t * (ROLL + 0.04 + 0.15 * side**1.5)
    rows = _turned_over(draped, rim, down, 0.35, upward)
    normals = _normals(rows, draped.vertices[rim].mean(0))
    full = np.sin(np.pi * np.clip(t, 0.02, 0.98)) ** 0.6 * (0.25 + 0.75 * side)
    flat = np.stack([angle + 0 * t, 4 * t + 0 * angle, 0 * t + 0 * angle], -1).reshape(-1, 3) * 0.07
    folds = 0.005 * crumple(flat, grain).reshape(full.shape) * full
    puffed = rows + (0.5 * CLOTH + 0.034 * full + folds)[..., None] * normals
    return slab(puffed, rows - 0.5 * CLOTH * normals)
