"""What a person wears: random outfits, innermost garment first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gdna.synthesize.garment import Fabric
from gdna.synthesize.garments import Neckline, Pattern, SkirtStyle, TopStyle, TrouserStyle, skirt, top, trousers
from gdna.synthesize.mannequin import Mannequin

Style = TopStyle | TrouserStyle | SkirtStyle

SHOES = ("shoes01", "shoes02", "shoes03")
HAIR = ("short02", "short03", "short04", "bob02")
HATS = ("fedora",)

JERSEY = Fabric(stretch=1500.0, shear=100.0, bend=1.5e-5, density=0.18)
COTTON = Fabric(stretch=2500.0, shear=250.0, bend=3e-5, density=0.2)
DENIM = Fabric(stretch=4000.0, shear=600.0, bend=1e-4, density=0.4, thickness=0.004)
WOOL = Fabric(stretch=2500.0, shear=300.0, bend=8e-5, density=0.35, thickness=0.0045)
VISCOSE = Fabric(stretch=2000.0, shear=80.0, bend=8e-6, density=0.15)


@dataclass(frozen=True)
class Outfit:
    """Garments from the inside out, and modelled accessories by name."""

    garments: tuple[Style, ...]
    shoes: str | None
    hair: str | None
    hat: str | None = None


def cut_pattern(body: Mannequin, style: Style) -> Pattern:
    """Cut any garment to a body."""
    if isinstance(style, TopStyle):
        return top(body, style)
    if isinstance(style, TrouserStyle):
        return trousers(body, style)
    return skirt(body, style)


def random_outfit(rng: np.random.Generator, femininity: float) -> Outfit:
    """An outfit for a person between 0 (male) and 1 (female)."""
    female = rng.random() < np.clip(1.5 * femininity - 0.25, 0.02, 0.98)
    kind = rng.choice(["shirt", "jacket", "skirt", "dress"], p=[0.36, 0.2, 0.24, 0.2] if female else [0.68, 0.32, 0, 0])
    if kind == "dress":
        garments: tuple[Style, ...] = (_dress(rng),)
    else:
        lower: Style = _skirt(rng) if kind == "skirt" else _trousers(rng)
        upper = _shirt(rng)
        if kind == "skirt":  # ends where the skirt is still narrow: it would bunch up on the flare
            upper = replace(upper, hem=rng.uniform(0.1, 0.16))
        if kind == "jacket":
            inner, jacket = _under_jacket(rng), _jacket(rng)
            garments = (lower, inner, jacket)
        else:
            garments = (lower, upper)
    hair = rng.choice(["bob02", "short03", "short02", "short04", ""], p=_hair_chances(bool(female)))
    hat = str(rng.choice(HATS)) if rng.random() < 0.05 else None
    if hat is not None:
        hair = "short04"
    shoes = str(rng.choice(SHOES)) if rng.random() < 0.88 else None
    return Outfit(garments, shoes, str(hair) or None, hat)


def _hair_chances(female: bool) -> list[float]:
    return [0.45, 0.3, 0.1, 0.15, 0.0] if female else [0.0, 0.15, 0.4, 0.25, 0.2]


def _neckline(rng: np.random.Generator) -> Neckline:
    kind = rng.choice(["crew", "scoop", "v", "high"], p=[0.45, 0.2, 0.2, 0.15])
    if kind == "crew":
        return Neckline(rng.uniform(-0.055, -0.035), rng.uniform(0.008, 0.02), rng.uniform(0.068, 0.085))
    if kind == "scoop":
        return Neckline(
            rng.uniform(-0.06, -0.045), rng.uniform(0.0, 0.012), rng.uniform(0.08, 0.1), dip=rng.uniform(0.02, 0.06)
        )
    if kind == "v":
        return Neckline(-0.04, rng.uniform(0.01, 0.02), rng.uniform(0.07, 0.085), rng.uniform(0.05, 0.12), pointed=True)
    return Neckline(rng.uniform(-0.012, 0.0), rng.uniform(0.03, 0.04), 0.06)


def _wide_neckline(rng: np.random.Generator) -> Neckline:
    """For sleeveless tops and dresses."""
    return Neckline(-0.05, rng.uniform(-0.01, 0.008), rng.uniform(0.082, 0.1), dip=rng.uniform(0.0, 0.04))


def _shirt(rng: np.random.Generator) -> TopStyle:
    sleeves = str(rng.choice(["none", "short", "half", "long"], p=[0.15, 0.4, 0.1, 0.35]))
    sleeve_range = {"none": (0.0, 0.0), "short": (0.2, 0.38), "half": (0.42, 0.6), "long": (0.93, 0.98)}[sleeves]
    loose = rng.uniform(0, 1)
    style = TopStyle(
        name="shirt",
        sleeve=rng.uniform(*sleeve_range),
        neckline=_neckline(rng),
        hem=rng.uniform(-0.04, 0.1),
        ease=0.006 + 0.016 * loose,
        straight=0.15 + 0.85 * loose,
        sleeve_straight=rng.uniform(0.2, 0.9) * (0.4 + 0.6 * loose),
        rest_scale=1 + 0.03 * loose,
        fabric=(JERSEY, COTTON, VISCOSE)[rng.integers(3)],
    )
    if sleeves == "none":
        return replace(style, name="tank top", neckline=_wide_neckline(rng), ease=0.006 + 0.008 * loose)
    return replace(style, name="t-shirt") if sleeves == "short" else replace(style, name="long sleeve")


def _under_jacket(rng: np.random.Generator) -> TopStyle:
    """A close-fitting shirt."""
    return TopStyle(
        name="t-shirt",
        sleeve=rng.uniform(0.2, 0.3),
        neckline=Neckline(rng.uniform(-0.05, -0.035), rng.uniform(0.01, 0.02), 0.072),
        hem=rng.uniform(-0.01, 0.05),
        ease=0.005,
        straight=rng.uniform(0.1, 0.4),
        sleeve_straight=0.1,
        fabric=JERSEY,
    )


def _jacket(rng: np.random.Generator) -> TopStyle:
    is_open = rng.random() < 0.6
    return TopStyle(
        name="open jacket" if is_open else "closed jacket",
        sleeve=rng.uniform(0.94, 0.98),
        neckline=Neckline(rng.uniform(-0.045, -0.03), rng.uniform(0.015, 0.025), 0.075),
        hem=rng.uniform(-0.06, 0.1),
        ease=rng.uniform(0.018, 0.03),
        straight=rng.uniform(0.4, 1.0),
        sleeve_straight=rng.uniform(0.2, 0.7),
        collar=rng.uniform(0.02, 0.045) if rng.random() < 0.7 else 0.0,
        opening=rng.uniform(0.03, 0.1) if is_open else None,
        rest_scale=rng.uniform(1.0, 1.02),
        fabric=(DENIM, WOOL, COTTON)[rng.integers(3)],
    )


def _dress(rng: np.random.Generator) -> TopStyle:
    bare = rng.random() < 0.4
    return TopStyle(
        name="dress",
        sleeve=0.0 if bare else float(rng.choice([rng.uniform(0.18, 0.35), rng.uniform(0.9, 0.98)], p=[0.7, 0.3])),
        neckline=_wide_neckline(rng) if bare else _neckline(rng),
        hem=-rng.uniform(0.2, 0.5),
        ease=rng.uniform(0.006, 0.014),
        straight=rng.uniform(0.0, 0.5),
        sleeve_straight=rng.uniform(0.1, 0.8),
        flare=rng.uniform(0.1, 0.45),
        fabric=(VISCOSE, COTTON, JERSEY)[rng.integers(3)],
    )


def _trousers(rng: np.random.Generator) -> TrouserStyle:
    loose = rng.uniform(0, 1)
    short = rng.random() < 0.28
    return TrouserStyle(
        name="shorts" if short else "trousers",
        leg=rng.uniform(0.25, 0.46) if short else rng.uniform(0.9, 0.98),
        waist=rng.uniform(-0.11, -0.05),
        ease=0.005 + 0.01 * loose,
        straight=(0.3 if short else 0.1) + 0.65 * loose,
        rest_scale=1 + 0.015 * loose,
        fabric=(DENIM, COTTON, WOOL)[rng.integers(3)],
    )


def _skirt(rng: np.random.Generator) -> SkirtStyle:
    return SkirtStyle(
        leg=rng.uniform(0.28, 0.75),
        ease=rng.uniform(0.004, 0.008),
        flare=rng.uniform(0.0, 0.35),
        fabric=(VISCOSE, COTTON, WOOL, DENIM)[rng.integers(4)],
    )
