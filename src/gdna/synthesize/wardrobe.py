"""Kinds of garments: each draws a style of its own fit, length and cloth. `loose` runs from 0 (tight) to 1 (loose)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gdna.synthesize.fabrics import FABRICS
from gdna.synthesize.garment import Fabric
from gdna.synthesize.styles import Looseness, Neckline, SkirtStyle, Style, TopStyle, TrouserStyle

Random = np.random.Generator
Maker = Callable[[Random, float], Style]


def _cloth(rng: Random, *names: str) -> Fabric:
    return FABRICS[str(rng.choice(names))]


def _loose(rng: Random, loose: float, along: float = 0.0, crumple: float = 0.05) -> Looseness:
    """Around up to 8 % more cloth; patches of up to `crumple`."""
    return Looseness(
        across=0.08 * loose,
        along=along * rng.uniform(0.5, 1.0),
        crumple=crumple * rng.uniform(0.5, 1.0) * (0.35 + 0.65 * loose),
        grain=int(rng.integers(1 << 30)),
    )


def _neckline(rng: Random) -> Neckline:
    kind = rng.choice(["crew", "scoop", "v", "high"], p=[0.5, 0.15, 0.2, 0.15])
    if kind == "crew":
        return Neckline(rng.uniform(-0.045, -0.03), rng.uniform(0.012, 0.022), rng.uniform(0.062, 0.074))
    if kind == "scoop":
        return Neckline(
            rng.uniform(-0.055, -0.04), rng.uniform(0.004, 0.014), rng.uniform(0.072, 0.088), rng.uniform(0.02, 0.05)
        )
    if kind == "v":
        return Neckline(-0.035, rng.uniform(0.012, 0.02), rng.uniform(0.064, 0.076), rng.uniform(0.04, 0.1), True)
    return Neckline(rng.uniform(-0.012, 0.0), rng.uniform(0.03, 0.04), 0.06)


def _wide_neckline(rng: Random) -> Neckline:
    """For sleeveless tops and dresses."""
    return Neckline(-0.045, rng.uniform(-0.005, 0.01), rng.uniform(0.078, 0.092), dip=rng.uniform(0.0, 0.04))


def _close_neckline(rng: Random) -> Neckline:
    """For collars and hoods."""
    return Neckline(rng.uniform(-0.03, -0.015), rng.uniform(0.018, 0.028), rng.uniform(0.06, 0.068))


def _t_shirt(rng: Random, loose: float) -> TopStyle:
    return TopStyle(
        name="t-shirt",
        sleeve=rng.uniform(0.2, 0.42),
        neckline=_neckline(rng),
        hem=rng.uniform(-0.05, 0.09),
        ease=0.005 + 0.022 * loose,
        straight=0.1 + 0.8 * loose,
        sleeve_straight=rng.uniform(0.3, 0.9) * (0.4 + 0.6 * loose),
        loose=_loose(rng, loose),
        fabric=_cloth(rng, "jersey", "cotton", "viscose"),
    )


def _long_sleeve(rng: Random, loose: float) -> TopStyle:
    cuffs = bool(rng.random() < 0.4)
    return replace(
        _t_shirt(rng, loose), name="long sleeve", sleeve=rng.uniform(0.93, 0.98), cuffs=cuffs,
        loose=_loose(rng, loose, 0.06 if cuffs else 0.03),
    )  # fmt: skip


def _shirt(rng: Random, loose: float) -> TopStyle:
    short = rng.random() < 0.3
    return TopStyle(
        name="shirt",
        sleeve=rng.uniform(0.3, 0.42) if short else rng.uniform(0.95, 0.98),
        neckline=_close_neckline(rng),
        hem=rng.uniform(-0.06, 0.03),
        ease=0.008 + 0.02 * loose,
        straight=0.3 + 0.6 * loose,
        sleeve_straight=rng.uniform(0.4, 0.9),
        collar=0.018,
        flap=rng.uniform(0.04, 0.055),
        buttons=True,
        cuffs=not short,
        loose=_loose(rng, loose, 0.05, 0.06),
        fabric=_cloth(rng, "cotton", "linen", "silk"),
    )


def _tank_top(rng: Random, loose: float) -> TopStyle:
    return TopStyle(
        name="tank top",
        sleeve=0.0,
        neckline=_wide_neckline(rng),
        hem=rng.uniform(-0.02, 0.1),
        ease=0.005 + 0.012 * loose,
        straight=0.1 + 0.8 * loose,
        loose=_loose(rng, loose),
        fabric=_cloth(rng, "jersey", "viscose", "elastane"),
    )


def _jumper(rng: Random, loose: float) -> TopStyle:
    return TopStyle(
        name="jumper",
        sleeve=rng.uniform(0.95, 0.99),
        neckline=Neckline(rng.uniform(-0.04, -0.02), rng.uniform(0.015, 0.025), rng.uniform(0.062, 0.072)),
        hem=rng.uniform(0.03, 0.09),
        ease=0.012 + 0.022 * loose,
        straight=0.4 + 0.5 * loose,
        sleeve_straight=rng.uniform(0.4, 0.9),
        collar=rng.uniform(0.03, 0.05) if rng.random() < 0.25 else 0.0,
        cuffs=True,
        band=bool(rng.random() < 0.7),
        loose=_loose(rng, loose, 0.08, 0.06),
        fabric=_cloth(rng, "wool", "fleece", "jersey"),
    )


def _hoodie(rng: Random, loose: float) -> TopStyle:
    return replace(
        _jumper(rng, 0.3 + 0.7 * loose), name="hoodie", neckline=_close_neckline(rng), collar=0.0, hood=True, band=True,
        fabric=FABRICS["fleece"],
    )  # fmt: skip


def _jacket(rng: Random, loose: float) -> TopStyle:
    return TopStyle(
        name="jacket",
        sleeve=rng.uniform(0.94, 0.98),
        neckline=_close_neckline(rng),
        hem=rng.uniform(-0.04, 0.09),
        ease=0.016 + 0.016 * loose,
        straight=rng.uniform(0.4, 0.9),
        sleeve_straight=rng.uniform(0.3, 0.8),
        collar=0.018,
        flap=rng.uniform(0.045, 0.07),
        buttons=True,
        cuffs=bool(rng.random() < 0.3),
        loose=_loose(rng, loose, 0.04, 0.05),
        fabric=_cloth(rng, "denim", "wool", "cotton", "canvas"),
    )


def _coat(rng: Random, loose: float) -> TopStyle:
    return replace(
        _jacket(rng, loose), name="coat", hem=-rng.uniform(0.15, 0.42), flare=rng.uniform(0.05, 0.2), cuffs=False,
        flap=rng.uniform(0.05, 0.075), fabric=_cloth(rng, "wool", "canvas", "cotton"),
    )  # fmt: skip


def _open(rng: Random, style: TopStyle) -> TopStyle:
    collar = rng.uniform(0.02, 0.045)
    return replace(
        style, collar=collar, name=f"open {style.name}", opening=rng.uniform(0.03, 0.1), flap=0.0, buttons=False
    )


def _dress(rng: Random, loose: float) -> TopStyle:
    bare = rng.random() < 0.4
    return TopStyle(
        name="dress",
        sleeve=0.0 if bare else float(rng.choice([rng.uniform(0.18, 0.35), rng.uniform(0.9, 0.98)], p=[0.7, 0.3])),
        neckline=_wide_neckline(rng) if bare else _neckline(rng),
        hem=-rng.uniform(0.2, 0.55),
        ease=0.005 + 0.012 * loose,
        straight=0.6 * loose,
        sleeve_straight=rng.uniform(0.1, 0.8),
        flare=rng.uniform(0.12, 0.45),
        loose=_loose(rng, loose, 0.0, 0.06),
        fabric=_cloth(rng, "viscose", "cotton", "jersey", "silk"),
    )


def _jeans(rng: Random, loose: float) -> TrouserStyle:
    return TrouserStyle(
        name="jeans",
        leg=rng.uniform(0.94, 0.985),
        waist=rng.uniform(-0.11, -0.06),
        ease=0.005 + 0.006 * loose,
        straight=0.1 + 0.45 * loose,
        loose=replace(_loose(rng, loose, 0.05, 0.05), across=0.02 * loose),
        fabric=FABRICS["denim"],
    )


def _trousers(rng: Random, loose: float) -> TrouserStyle:
    return TrouserStyle(
        name="trousers",
        leg=rng.uniform(0.93, 0.985),
        waist=rng.uniform(-0.1, -0.03),
        ease=0.008 + 0.014 * loose,
        straight=0.35 + 0.6 * loose,
        loose=_loose(rng, loose, 0.05, 0.06),
        fabric=_cloth(rng, "cotton", "linen", "wool", "viscose"),
    )


def _joggers(rng: Random, loose: float) -> TrouserStyle:
    return replace(
        _trousers(rng, loose), name="joggers", leg=rng.uniform(0.93, 0.96), cuffs=True, straight=rng.uniform(0.3, 0.8),
        loose=_loose(rng, loose, 0.08, 0.06), fabric=_cloth(rng, "fleece", "jersey"),
    )  # fmt: skip


def _leggings(rng: Random, loose: float) -> TrouserStyle:
    return TrouserStyle(
        name="leggings",
        leg=rng.uniform(0.88, 0.97),
        waist=rng.uniform(-0.08, -0.02),
        ease=0.004,
        straight=0.0,
        loose=Looseness(0.0, 0.015, 0.01, int(rng.integers(1 << 30))),
        fabric=FABRICS["elastane"],
    )


def _shorts(rng: Random, loose: float) -> TrouserStyle:
    return replace(
        _trousers(rng, loose), name="shorts", leg=rng.uniform(0.25, 0.47), straight=0.35 + 0.6 * loose,
        loose=_loose(rng, loose, 0.02, 0.06), fabric=_cloth(rng, "cotton", "linen", "denim", "jersey"),
    )  # fmt: skip


def _knee_skirt(rng: Random, loose: float) -> SkirtStyle:
    return SkirtStyle(
        name="knee skirt",
        leg=rng.uniform(0.32, 0.52),
        ease=rng.uniform(0.004, 0.008),
        flare=0.4 * loose,
        gathers=0.12 * loose,
        loose=_loose(rng, 0.5 * loose),
        fabric=_cloth(rng, "viscose", "cotton", "wool", "denim", "silk"),
    )


def _ankle_skirt(rng: Random, loose: float) -> SkirtStyle:
    return replace(_knee_skirt(rng, 0.3 + 0.7 * loose), name="ankle skirt", leg=rng.uniform(0.72, 0.92))


GARMENTS: dict[str, Maker] = {
    "t-shirt": _t_shirt,
    "long sleeve": _long_sleeve,
    "shirt": _shirt,
    "tank top": _tank_top,
    "jumper": _jumper,
    "hoodie": _hoodie,
    "jacket": _jacket,
    "open jacket": lambda rng, loose: _open(rng, _jacket(rng, loose)),
    "coat": _coat,
    "open coat": lambda rng, loose: _open(rng, _coat(rng, loose)),
    "dress": _dress,
    "jeans": _jeans,
    "trousers": _trousers,
    "joggers": _joggers,
    "leggings": _leggings,
    "shorts": _shorts,
    "knee skirt": _knee_skirt,
    "ankle skirt": _ankle_skirt,
}
