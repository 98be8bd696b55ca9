"""Patterns: tops, trousers, skirts and dresses, cut from the body's own suit and skirt and made loose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gdna.synthesize.cutting import Piece, cut, even_out, whole
from gdna.synthesize.garment import Garment
from gdna.synthesize.mannequin import ARM_JOINTS, Mannequin, limb_weights
from gdna.synthesize.quads import boundary_loops
from gdna.synthesize.shaping import (
    Sheet,
    add_collar,
    clear_body,
    draw_in,
    front_path,
    highest_loop,
    inflate,
    lengthen,
    loosen_neck,
    lowest_loop,
    open_front,
    share_legs,
    smooth,
    smooth_weights,
    straighten,
)
from gdna.synthesize.slack import slack
from gdna.synthesize.styles import Neckline, SkirtStyle, Style, TopStyle, TrouserStyle

SPLIT_ROOM = 0.06  # metres above the crotch at which the trunk is cut before cloth is added below
ROUNDING = 0.008  # metres, of the corner between the neckline's front and its sides
NECK_SHARE = 0.5  # of the neck's movement that a neckline follows
SKIN_GAP = 0.005  # metres between skin and cloth before draping
TUCKED = 0.04  # metres that a tucked top runs on under a waistband
GRIP = 0.022  # metres of cuffs and bands that hold to the body
GRIP_GAP, DRAWN_IN = 0.0065, 0.05  # metres from the skin there; beyond, over which the cloth is drawn in


@dataclass(frozen=True)
class Pattern:
    """A garment ready to be draped. Where its front is open, `front` holds the lower and the upper ends of its two
    edges (left of the wearer first)."""

    garment: Garment
    style: Style
    front: Int[np.ndarray, "2 2"] | None = None


def arm_share(body: Mannequin) -> Float[np.ndarray, " V"]:
    """Position along the arm of each body vertex, 0 at the shoulder and 1 at the wrist; negative off the arms."""
    shoulder, wrist = body.joint("left_shoulder"), body.joint("left_wrist")
    along = wrist - shoulder
    mirrored = np.abs(body.vertices[:, :1]) * [1, 0, 0] + body.vertices * [0, 1, 1]
    share = (mirrored - shoulder) @ along / (along @ along)
    return np.where(limb_weights(body.skin_weights, ARM_JOINTS) > 0.3, share, -1.0)


def leg_share(body: Mannequin) -> Float[np.ndarray, " V"]:
    """Position along the legs, 0 at the hip and 1 at the ankle."""
    hip, ankle = body.joint("left_hip"), body.joint("left_ankle")
    along = ankle - hip
    mirrored = np.abs(body.vertices[:, :1]) * [1, 0, 0] + body.vertices * [0, 1, 1]
    return (mirrored - hip) @ along / (along @ along)


def neck_field(body: Mannequin, line: Neckline) -> Float[np.ndarray, " V"]:
    """Positive below the neckline: a plane through its points on the back and the front with the dip of its front, and
    everything further out than its width."""
    neck = body.joint("neck")
    ends = []
    for height, in_front in ((line.back, False), (line.front, True)):
        centre = body.centre_line(in_front)
        y = neck[1] + height * body.scale
        ends.append(np.array([0.0, y, np.interp(-y, -centre[:, 1], centre[:, 2])]))
    back, front = ends
    normal = np.array([0.0, front[2] - back[2], back[1] - front[1]])
    normal /= np.linalg.norm(normal)
    side = np.abs(body.vertices[:, 0]) - line.width * body.scale
    across = np.clip(1 + side / (line.width * body.scale), 0, 1)
    ahead = np.clip((body.vertices[:, 2] - neck[2]) / (front[2] - neck[2]), 0, 1)
    shape = 1 - across if line.pointed else 1 - across**2
    below = -(body.vertices - back) @ normal - 0.6 * body.scale * line.dip * shape * ahead
    return ROUNDING * np.logaddexp(below / ROUNDING, side / ROUNDING)  # the larger of the two, its corner rounded


def armhole_field(body: Mannequin) -> Float[np.ndarray, " V"]:
    """Positive on the trunk's side of a sleeveless top's armholes."""
    shoulder = body.joint("left_shoulder")
    drop = shoulder[1] - body.vertices[:, 1]
    return shoulder[0] - 0.01 * body.scale + 0.25 * drop - np.abs(body.vertices[:, 0])


def _trunk_piece(body: Mannequin, style: TopStyle) -> Piece:
    suit = whole(body.suit_quads, len(body.vertices))
    arm = np.linalg.norm(body.joint("left_wrist") - body.joint("left_shoulder"))
    share = arm_share(body)
    sleeve = np.where(share > -1, (style.sleeve - share) * arm, 0.3) if style.sleeve > 0 else armhole_field(body)
    hem = max(_hem(body, style), body.crotch + SPLIT_ROOM * body.scale)
    piece = cut(suit, body.vertices, neck_field(body, style.neckline))
    piece = cut(piece, body.vertices, sleeve)
    return even_out(cut(piece, body.vertices, body.vertices[:, 1] - hem), suit, body.vertices)


def _hem(body: Mannequin, style: TopStyle) -> float:
    """Height of a top's lower end."""
    if style.tucked is None:
        return body.crotch + style.hem * body.scale
    return float(body.joint("spine2")[1]) + (style.tucked - TUCKED) * body.scale


def top(body: Mannequin, style: TopStyle) -> Pattern:
    """A shirt, jacket or dress in the start pose."""
    piece = _trunk_piece(body, style)
    sheet = Sheet(piece.binding @ body.vertices, piece.quads, piece.binding @ body.skin_weights)
    arms = limb_weights(sheet.skin_weights, ARM_JOINTS)
    near_neck = np.clip((sheet.vertices[:, 1] - body.joint("neck")[1] + 0.14 * body.scale) / (0.1 * body.scale), 0, 1)
    sheet = inflate(smooth(sheet, 3), style.ease * (1 - 0.75 * near_neck * (arms < 0.5)))
    sheet = clear_body(sheet, body, SKIN_GAP)
    below = (arms < 0.4) & (sheet.vertices[:, 1] < body.joint("left_shoulder")[1] - 0.1 * body.scale)
    sheet = straighten(sheet, below, (body.joint("spine3"), body.joint("pelvis")), style.straight)
    for side in ("left", "right"):
        chosen = (arms > 0.6) & (np.sign(sheet.vertices[:, 0]) == (1 if side == "left" else -1))
        axis = (body.joint(f"{side}_shoulder"), body.joint(f"{side}_wrist"))
        sheet = straighten(sheet, chosen, axis, style.sleeve_straight)
    sheet = lengthen(smooth(sheet, 2), body, _hem(body, style), style.flare, style.ease)
    sheet = smooth(sheet, 2)
    length = 0.1 - (_hem(body, style) - body.crotch) / body.scale
    pelvis = float(
        np.interp(length, [0.1, 0.4], [0.65, 0.3])
    )  # a short hem stays with the trunk, a long one with the legs
    sheet = share_legs(smooth_weights(sheet, 6), body.joint("left_hip")[1] + 0.08, 0.25 * body.scale, pelvis)
    sheet = loosen_neck(sheet, NECK_SHARE)
    hung = _hung(sheet, body)
    if style.collar > 0:
        sheet = add_collar(sheet, body, style.collar * body.scale, 0.15)
    sheet = clear_body(smooth_weights(sheet, 2), body, SKIN_GAP)
    pairs = None
    if style.opening is not None:
        sheet, edges = open_front(sheet, front_path(sheet), style.opening * body.scale)
        sheet = clear_body(sheet, body, SKIN_GAP)
        pairs = edges[[0, -1]]
    pinned = np.zeros(len(sheet.vertices), bool)
    pinned[hung] = True
    sheet, held = _gripped(sheet, body, _gripped_rims(sheet, style))
    return Pattern(_garment(sheet, pinned | held, held, style), style, pairs)


def _gripped_rims(sheet: Sheet, style: TopStyle) -> list[np.ndarray]:
    """The rims of sleeves with cuffs and of a hem with a band."""
    loops = sorted(boundary_loops(sheet.quads), key=lambda loop: abs(sheet.vertices[loop, 0].mean()))
    rims = loops[-2:] if style.cuffs else []
    return [*rims, lowest_loop(sheet)] if style.band and style.opening is None else rims


def _gripped(sheet: Sheet, body: Mannequin, rims: list[np.ndarray]) -> tuple[Sheet, np.ndarray]:
    """The cloth drawn in to the skin at some rims, and which of its vertices are held there."""
    if not rims:
        return sheet, np.zeros(len(sheet.vertices), bool)
    gap = _rim_distance(sheet, rims)
    share = np.clip((GRIP + DRAWN_IN - gap) / DRAWN_IN, 0, 1)
    return draw_in(sheet, body, GRIP_GAP, share * share * (3 - 2 * share)), gap < GRIP


def _rim_distance(sheet: Sheet, rims: list[np.ndarray]) -> np.ndarray:
    """Metres from each vertex to the nearest vertex of some rims."""
    from scipy.spatial import cKDTree

    return cKDTree(sheet.vertices[np.concatenate(rims)]).query(sheet.vertices)[0]


def _hung(sheet: Sheet, body: Mannequin) -> np.ndarray:
    """The neckline's back and sides, from which a top hangs: it keeps its place there."""
    rim = highest_loop(sheet)
    return rim[sheet.vertices[rim, 2] < body.joint("neck")[2] + 0.015 * body.scale]


def trousers(body: Mannequin, style: TrouserStyle) -> Pattern:
    """Trousers or shorts in the start pose, held at the waistband."""
    suit = whole(body.suit_quads, len(body.vertices))
    leg = np.linalg.norm(body.joint("left_ankle") - body.joint("left_hip"))
    waist = body.joint("spine2")[1] + style.waist * body.scale
    tilt = 0.12 * (body.vertices[:, 2] - body.joint("spine2")[2])  # lower in front
    piece = cut(suit, body.vertices, waist - tilt - body.vertices[:, 1])
    piece = even_out(cut(piece, body.vertices, (style.leg - leg_share(body)) * leg), suit, body.vertices)
    sheet = Sheet(piece.binding @ body.vertices, piece.quads, piece.binding @ body.skin_weights)
    band = np.clip((sheet.vertices[:, 1] - waist + tilt[0] + 0.12) / 0.1, 0, 1)
    sheet = inflate(smooth(sheet, 5), style.ease * (1 - 0.7 * band))
    sheet = clear_body(sheet, body, SKIN_GAP)
    for side, sign in (("left", 1), ("right", -1)):
        chosen = (sheet.vertices[:, 1] < body.crotch + 0.02) & (sign * sheet.vertices[:, 0] > 0)
        axis = (body.joint(f"{side}_hip"), body.joint(f"{side}_ankle"))
        sheet = straighten(sheet, chosen, axis, style.straight)
    sheet = clear_body(smooth_weights(smooth(sheet, 2), 4), body, SKIN_GAP)
    ends = [loop for loop in boundary_loops(sheet.quads) if sheet.vertices[loop, 1].mean() < body.crotch]
    sheet, held = _gripped(sheet, body, ends if style.cuffs else [])
    return Pattern(_garment(sheet, _held(sheet, 0.02) | held, held, style), style)


def skirt(body: Mannequin, style: SkirtStyle) -> Pattern:
    """A skirt in the start pose, held at the waistband."""
    piece = whole(body.skirt_quads, len(body.vertices))
    hip, ankle = body.joint("left_hip")[1], body.joint("left_ankle")[1]
    piece = even_out(
        cut(piece, body.vertices, body.vertices[:, 1] - (hip + style.leg * (ankle - hip))), piece, body.vertices
    )
    sheet = Sheet(piece.binding @ body.vertices, piece.quads, piece.binding @ body.skin_weights)
    sheet = smooth(sheet, 4)
    drop = np.clip(sheet.vertices[:, 1].max() - 0.05 - sheet.vertices[:, 1], 0, None)
    sheet = inflate(sheet, style.ease + style.flare * drop)
    sheet = share_legs(sheet, hip + 0.08, 0.3 * body.scale, 0.3)
    sheet = clear_body(smooth_weights(sheet, 6), body, SKIN_GAP)
    held = _held(sheet, 0.02)
    return Pattern(_garment(sheet, held, held, style), style)


def _held(sheet: Sheet, band: float) -> np.ndarray:
    """Vertices within `band` metres of the upper rim."""
    return _rim_distance(sheet, [highest_loop(sheet)]) < band


def _garment(sheet: Sheet, pinned: np.ndarray, gripped: np.ndarray, style: Style) -> Garment:
    across, along = slack(sheet, gripped, style).T
    return Garment(style.name, sheet.vertices, sheet.quads, sheet.skin_weights, pinned, style.fabric, across, along)
