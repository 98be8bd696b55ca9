"""Hair with volume: solids grown from the scalp, so that every style is closed and follows every head.

A style is a cap, the head's surface in directions from the middle of the skull plus a thickness that ends at a
hairline, with locks running from the whorl outward, and for longer hair solids swept beside it: a curtain, a tail, a
knot. All in the canonical pose; heights and lengths are metres on a head of mean size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdna.synthesize.accessories import Accessory
from gdna.synthesize.headform import HeadForm, head_form
from gdna.synthesize.mannequin import Mannequin, joint
from gdna.synthesize.solids import Mesh, ball, join, slab, tube

ROWS, COLUMNS = 84, 160
LOWEST = 2.55  # radians from the crown where the cap's rows end
FADE = 0.008  # metres inside the hairline over which hair reaches its thickness
# a hairline's height over the eyes at angles from the forehead (0) over the temples and ears to the nape (pi)
HAIRLINE_ANGLES = np.radians([0, 30, 55, 72, 84, 98, 112, 135, 180])
HAIRLINE = np.array([0.062, 0.058, 0.046, 0.02, -0.018, 0.002, -0.03, -0.065, -0.075])
BRIM_LINE = np.array([0.05, 0.046, 0.036, 0.022, 0.012, 0.004, -0.004, -0.02, -0.03])


@dataclass(frozen=True)
class HairStyle:
    """Thicknesses are metres over the scalp."""

    top: float
    sides: float
    locks: int = 40  # around the head
    lock_depth: float = 0.0015
    bumps: float = 0.0  # metres of lumps (curls)
    receding: float = 0.0  # metres that the forehead's hairline is higher
    curtain: float = 0.0  # metres that hair hangs below the eyes
    part: float = 0.0  # metres of a groove along the parting
    tail: float = 0.0  # metres of a ponytail
    knot: float = 0.0  # metres, radius of a bun
    lift: float = 0.0  # metres added over the forehead


STYLES: dict[str, HairStyle] = {
    "buzz": HairStyle(0.005, 0.003, 60, 0.0003),
    "crop": HairStyle(0.018, 0.008, 46, 0.0022, bumps=0.002),
    "quiff": HairStyle(0.022, 0.007, 38, 0.0022, lift=0.028),
    "side part": HairStyle(0.024, 0.016, 44, 0.0018, part=0.009),
    "receding": HairStyle(0.007, 0.01, 46, 0.0012, receding=0.06),
    "afro": HairStyle(0.058, 0.048, 0, 0.0, bumps=0.0035),
    "curls": HairStyle(0.034, 0.028, 0, 0.0, bumps=0.007),
    "chin bob": HairStyle(0.024, 0.024, 44, 0.002, curtain=0.105, part=0.005),
    "long": HairStyle(0.02, 0.018, 40, 0.0025, curtain=0.27, part=0.006),
    "ponytail": HairStyle(0.009, 0.008, 60, 0.0012, tail=0.26),
    "bun": HairStyle(0.009, 0.008, 60, 0.0012, knot=0.036),
}


def grow_hair(name: str, body: Mannequin, rng: np.random.Generator) -> Accessory:
    """A style on a head, with its own irregularities. Raises `KeyError` for a style that does not exist."""
    style, form = STYLES[name], head_form(body)
    size = form.size * rng.uniform(0.85, 1.2)
    parts = [_cap(style, form, size, rng)]
    if style.curtain > 0:
        parts.append(_curtain(style, form, size, rng))
    if style.tail > 0:
        parts += [_tail(style, form, size, rng)]
    if style.knot > 0:
        place = form.surface(np.array([[0.0, rng.uniform(0.1, 0.9), -1.0]]))[0]
        parts.append(ball(place, style.knot * size * np.array([1.05, 1.0, 0.8]), 40, 64, 0.002, 12))
    return _worn(name, join(parts), body, form)


def knit_cap(body: Mannequin, rng: np.random.Generator) -> Accessory:
    """A beanie: a cap of even thickness with ribs and a turned-up edge."""
    form = head_form(body)
    directions, angle, _ = _grid(form)
    inside = _over_line(form, directions, BRIM_LINE)
    edge = np.clip((0.055 - inside) / 0.006, 0, 1)
    crown = 0.02 * np.clip(directions[..., 1], 0, 1) ** 3
    ribs = 0.0009 * np.cos(64 * angle)
    thickness = 0.011 + 0.005 * edge * rng.uniform(0.8, 1.2) + crown + ribs
    mesh = _raised(form, directions, inside, thickness, 0.0015)
    return _worn("knit cap", mesh, body, form)


def _cap(style: HairStyle, form: HeadForm, size: float, rng: np.random.Generator) -> Mesh:
    directions, angle, polar = _grid(form)
    line = HAIRLINE + style.receding * np.clip(1 - HAIRLINE_ANGLES / np.radians(75), 0, 1)
    if style.bumps > 0.003:  # over the ears
        line = np.minimum(line, np.interp(HAIRLINE_ANGLES, np.radians([0, 60, 75, 180]), [0.1, 0.05, -0.03, -0.06]))
    inside = _over_line(form, directions, line)
    if style.receding > 0.03:  # a bald crown
        inside = np.minimum(inside, 0.05 * form.size * (polar - 0.75))
    upward = np.clip(0.5 + 1.3 * directions[..., 1], 0, 1)
    thickness = style.sides + (style.top - style.sides) * upward
    ahead = np.exp(-(((directions[..., 0]) / 0.55) ** 2) - ((directions[..., 2] - 0.6) / 0.4) ** 2) * upward
    thickness = thickness + style.lift * ahead
    waves = rng.uniform(0, 2 * np.pi, 3)
    flow = angle + 0.25 * np.sin(2 * polar + waves[0]) + 0.15 * np.sin(3 * angle + waves[1])
    fade = np.clip(np.sin(np.clip(polar, 0, np.pi)) * 1.5, 0, 1)
    if style.locks:
        thickness = thickness + style.lock_depth * fade * (
            np.cos(style.locks * flow) + 0.6 * np.cos(0.37 * style.locks * flow + 3 * polar + waves[2])
        )
    if style.bumps > 0:
        thickness = thickness + style.bumps * _lumps(directions, rng, 26.0 if style.locks == 0 else 14.0)
    if style.part > 0:
        away = (directions[..., 0] - 0.3) / 0.05
        thickness = thickness - style.part * np.exp(-(away**2)) * np.clip(3 * directions[..., 2] + 1.2, 0, 1)
    thickness = np.maximum(thickness, 0.002) * size
    return _raised(form, directions, inside, thickness, FADE * (1 + 20 * style.sides))


def _grid(form: HeadForm) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions from the skull's middle (R, C, 3), rows from the whorl outward; the angle around it and from it."""
    polar = np.linspace(0, LOWEST, ROWS + 1)[1:, None] * np.ones(COLUMNS)
    angle = np.ones((ROWS, 1)) * np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    local = np.stack([np.sin(polar) * np.sin(angle), np.cos(polar), np.sin(polar) * np.cos(angle)], -1)
    tilt = 0.45  # the whorl lies behind the crown
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    return local @ turn.T, angle, polar


def _over_line(form: HeadForm, directions: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Metres by which the head's surface in each direction lies over a hairline."""
    points = form.surface(directions.reshape(-1, 3)).reshape(directions.shape)
    around = np.abs(np.arctan2(points[..., 0] - form.centre[0], points[..., 2] - form.centre[2]))
    return points[..., 1] - form.eye_height - form.size * np.interp(around, HAIRLINE_ANGLES, line)


def _raised(form: HeadForm, directions: np.ndarray, inside: np.ndarray, thickness: np.ndarray, fade: float) -> Mesh:
    """The solid between the skull's middle and the surface raised by `thickness` where `inside` is positive; elsewhere
    it runs under the skin."""
    share = np.sqrt(np.clip(1 - (1 - np.clip(inside / fade, 0, 1)) ** 2, 0, 1))
    height = np.where(inside > 0, thickness * share, np.maximum(2.0 * inside, -0.03))
    flat = directions.reshape(-1, 3)
    surface = form.surface(flat)
    points = surface + height.reshape(-1, 1) * flat
    rows, columns = inside.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, 1)
    quads = np.stack([index[:-1], index[1:], right[1:], right[:-1]], -1).reshape(-1, 4)
    crown = points[:columns].mean(0)
    faces = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    faces.append(np.stack([np.full(columns, len(points)), index[0], right[0]], 1))
    faces.append(np.stack([np.full(columns, len(points) + 1), right[-1], index[-1]], 1))
    return Mesh(np.concatenate([points, crown[None], form.centre[None]]), np.concatenate(faces))


def _lumps(directions: np.ndarray, rng: np.random.Generator, frequency: float) -> np.ndarray:
    """Smooth noise on the sphere, about -1 to 1."""
    total = np.zeros(directions.shape[:-1])
    for _ in range(14):
        wave = rng.standard_normal(3)
        wave *= frequency * rng.uniform(0.6, 1.3) / np.linalg.norm(wave)
        total += np.cos(directions @ wave + rng.uniform(0, 2 * np.pi))
    return total / np.sqrt(14)


def _curtain(style: HairStyle, form: HeadForm, size: float, rng: np.random.Generator) -> Mesh:
    """Hair that hangs from the sides and the back: a thick sheet, outer and inner side, in columns of locks."""
    columns, rows = 132, 60
    opening = np.radians(rng.uniform(56, 68))
    around = np.linspace(opening, 2 * np.pi - opening, columns)
    level = np.stack([np.sin(around), np.full(columns, 0.45), np.cos(around)], 1)
    unit = level / np.linalg.norm(level, axis=1, keepdims=True)
    base = form.surface(level) + style.sides * size * unit
    outward = level * [1, 0, 1] / np.linalg.norm(level * [1, 0, 1], axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, 3)
    length = style.curtain * size * rng.uniform(0.85, 1.15) * (1 + 0.04 * np.cos(19 * around + phase[0]))
    fall = np.linspace(0, 1, rows)[:, None]
    y = base[:, 1] + fall * (form.eye_height - length - base[:, 1])
    drop = (base[:, 1] - y) / form.size
    behind = np.clip(-outward[:, 2], 0, 1)
    start = np.clip(drop / 0.09, 0, 1)
    start = start * start * (3 - 2 * start)
    inward = np.clip((drop - 0.1) / 0.09, 0, 1)
    hugs = 0.03 if style.curtain < 0.2 else 0.008  # a bob turns in at the nape, long hair falls over the shoulders
    spread = 0.006 * start - (hugs * behind + 0.014) * inward**2 + (0.03 + 0.22 * behind) * np.clip(drop - 0.2, 0, 1)
    locks = 0.0035 * start * np.cos(30 * around + phase[1] + 2 * np.sin(9 * drop) + np.sin(5 * around + phase[2]))
    ends = np.clip(np.sin(np.linspace(0, np.pi, columns)) * 5, 0.25, 1)
    thick = 0.014 * size * np.clip((1 - fall) / 0.15, 0.1, 1) * ends
    centre = np.stack([base[:, 0] + 0 * y, y, base[:, 2] + 0 * y], -1) + (form.size * spread)[..., None] * outward
    outer = centre + (0.7 * start * thick + locks - 0.004 * (1 - start))[..., None] * outward
    inner = centre - (1.1 * thick + 0.004)[..., None] * outward
    return slab(outer, inner)


def _tail(style: HairStyle, form: HeadForm, size: float, rng: np.random.Generator) -> Mesh:
    """A ponytail: a tube from the back of the head, first outward, then down."""
    root = form.surface(np.array([[0.0, rng.uniform(0.15, 0.8), -1.0]]))[0]
    t = np.linspace(0, 1, 48)[:, None]
    length = style.tail * size * rng.uniform(0.7, 1.15)
    sway = rng.uniform(-0.03, 0.03)
    path = root + np.concatenate([sway * t**2, -length * t**1.4 + 0.03 * t, -0.075 * np.sqrt(t) + 0.03 * t**2], 1)
    radius = size * np.interp(t[:, 0], [0, 0.04, 0.12, 0.4, 0.8, 1], [0.012, 0.013, 0.024, 0.03, 0.022, 0.004])
    return tube(path, radius, 48, 0.0015, 10)


def _worn(name: str, mesh: Mesh, body: Mannequin, form: HeadForm) -> Accessory:
    """Follows the head; hair below it follows the neck and the chest more and more."""
    below = np.clip((form.eye_height - 0.11 * form.size - mesh.vertices[:, 1]) / (0.14 * form.size), 0, 1)
    weights = np.zeros((len(mesh.vertices), body.skin_weights.shape[1]))
    weights[:, joint("head")] = 1 - below
    weights[:, joint("neck")] = below * (1 - below)
    weights[:, joint("spine3")] = below * below
    return Accessory(name, mesh.vertices, mesh.faces, weights, np.zeros(len(body.vertices), bool))
