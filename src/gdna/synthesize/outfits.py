"""What a person wears: random outfits, innermost garment first, with hair, shoes and hat."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gdna.synthesize.garments import Pattern, skirt, top, trousers
from gdna.synthesize.hair import STYLES
from gdna.synthesize.mannequin import Mannequin
from gdna.synthesize.styles import Looseness, SkirtStyle, Style, TopStyle, TrouserStyle
from gdna.synthesize.wardrobe import GARMENTS

SHOES = ("shoes01", "shoes02", "shoes03", "boots")
MODELLED_HAIR = ("short02", "short03", "bob02")
HATS = ("fedora", "knit cap")
OUTER = ("jacket", "open jacket", "coat", "open coat")
TUCKED = {"t-shirt": 0.3, "shirt": 0.5, "tank top": 0.3, "long sleeve": 0.3}  # into trousers, chances
FLAT_HAIR = ("buzz", "crop", "ponytail")  # fits under a hat

MEN = {"short02": 2.0, "short03": 1.0, "buzz": 2.0, "crop": 3.0, "quiff": 2.0, "side part": 2.0, "receding": 1.0,
       "afro": 1.0, "curls": 1.0, "ponytail": 0.4, "bun": 0.4, "long": 0.4, "": 1.0}  # fmt: skip
WOMEN = {"short03": 1.0, "bob02": 1.5, "crop": 0.6, "side part": 0.6, "afro": 1.0, "curls": 1.5, "chin bob": 2.0,
         "long": 2.5, "ponytail": 2.5, "bun": 2.5, "buzz": 0.2}  # fmt: skip


@dataclass(frozen=True)
class Outfit:
    """Garments from the inside out, and accessories by name."""

    garments: tuple[Style, ...]
    shoes: str | None
    hair: str | None
    hat: str | None = None

    @property
    def layers(self) -> int:
        """Garments over each other on the trunk."""
        return sum(isinstance(style, TopStyle) for style in self.garments)


def cut_pattern(body: Mannequin, style: Style) -> Pattern:
    """Cut any garment to a body."""
    if isinstance(style, TopStyle):
        return top(body, style)
    if isinstance(style, TrouserStyle):
        return trousers(body, style)
    return skirt(body, style)


def random_outfit(rng: np.random.Generator, femininity: float, age: float = 30.0) -> Outfit:
    """An outfit for a person between 0 (male) and 1 (female), `age` in years."""
    female = bool(rng.random() < np.clip(1.5 * femininity - 0.25, 0.02, 0.98))
    loose = float(rng.beta(1.4, 1.2))
    kind = rng.choice(["plain", "layers", "dress"], p=[0.5, 0.3, 0.2] if female else [0.62, 0.38, 0.0])
    if kind == "dress":
        garments: tuple[Style, ...] = (GARMENTS["dress"](rng, loose),)
        if rng.random() < 0.2:
            garments = (GARMENTS["leggings"](rng, 0.0), *garments)
    else:
        lower = GARMENTS[_lower(rng, female)](rng, float(np.clip(loose + rng.normal(0, 0.25), 0, 1)))
        garments = _layered(rng, lower, loose) if kind == "layers" else _plain(rng, lower, loose)
    hair, hat = _headwear(rng, female, age)
    shoes = str(rng.choice(SHOES)) if rng.random() < 0.85 else None
    return Outfit(garments, shoes, hair, hat)


def _lower(rng: np.random.Generator, female: bool) -> str:
    chances = {"jeans": 3.0, "trousers": 2.5, "joggers": 1.5, "shorts": 2.0, "leggings": 0.3}
    if female:
        chances |= {"leggings": 1.5, "knee skirt": 2.5, "ankle skirt": 1.7}
    return _draw(rng, chances)


def _plain(rng: np.random.Generator, lower: Style, loose: float) -> tuple[Style, ...]:
    """One top: over the trousers or tucked in."""
    chances = {"t-shirt": 3.0, "long sleeve": 1.7, "shirt": 2.0, "tank top": 1.2, "jumper": 1.7, "hoodie": 1.7}
    if isinstance(lower, SkirtStyle):
        chances = {"t-shirt": 3.0, "long sleeve": 2.0, "shirt": 1.5, "tank top": 1.5, "jumper": 1.5}
    upper = GARMENTS[_draw(rng, chances)](rng, loose)
    assert isinstance(upper, TopStyle)
    if upper.name in TUCKED and isinstance(lower, TrouserStyle) and rng.random() < TUCKED[upper.name]:
        more = replace(upper.loose, along=rng.uniform(0.02, 0.05))
        return replace(upper, tucked=lower.waist, band=True, loose=more), lower
    if isinstance(lower, SkirtStyle):  # ends where the skirt is still narrow: it would bunch up on the flare
        upper = replace(upper, hem=rng.uniform(0.1, 0.16))
    return lower, upper


def _layered(rng: np.random.Generator, lower: Style, loose: float) -> tuple[Style, ...]:
    """A jacket or coat over a close-fitting top."""
    outer = GARMENTS[str(rng.choice(OUTER))](rng, loose)
    inner = GARMENTS[_draw(rng, {"t-shirt": 3.0, "long sleeve": 1.0, "tank top": 1.0})](rng, 0.15)
    assert isinstance(outer, TopStyle)
    assert isinstance(inner, TopStyle)
    flat = Looseness(0.0, 0.0, 0.02, inner.loose.grain)
    inner = replace(
        inner, ease=0.005, sleeve=min(inner.sleeve, 0.3), sleeve_straight=0.1, cuffs=False, loose=flat,
        hem=rng.uniform(0.0, 0.07),
    )  # fmt: skip
    if isinstance(lower, SkirtStyle):
        lower = replace(lower, flare=0.5 * lower.flare, gathers=0.5 * lower.gathers)
        inner = replace(inner, hem=rng.uniform(0.1, 0.16))
    return lower, inner, outer


def _headwear(rng: np.random.Generator, female: bool, age: float) -> tuple[str | None, str | None]:
    chances = dict(WOMEN if female else MEN)
    if not female and age > 45:
        chances |= {"receding": 4.0, "": 3.0}
    hair = _draw(rng, chances)
    if rng.random() < 0.1:
        return (hair if hair in FLAT_HAIR else "buzz"), str(rng.choice(HATS))
    return hair or None, None


def _draw(rng: np.random.Generator, chances: dict[str, float]) -> str:
    total = sum(chances.values())
    return str(rng.choice(list(chances), p=[c / total for c in chances.values()]))


HAIR = (*MODELLED_HAIR, *STYLES)
