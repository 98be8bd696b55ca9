"""What a tailor is asked for. Lengths are metres on the mean body and grow with the wearer."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdna.synthesize.garment import Fabric


@dataclass(frozen=True)
class Looseness:
    """How much cloth there is beyond the modelled shape; 0: none."""

    across: float = 0.0  # share, around the limbs
    along: float = 0.0  # share, along them: piles up over cuffs, bands and shoes
    crumple: float = 0.0  # share, in patches a hand wide: cloth that was worn before
    grain: int = 0  # decides where the patches are


@dataclass(frozen=True)
class Neckline:
    """Where the neck opening runs: heights of its back and front over the neck joint, half its width over the
    shoulders, and how far its front dips further."""

    front: float = -0.045
    back: float = 0.015
    width: float = 0.078
    dip: float = 0.0
    pointed: bool = False  # a V instead of a bow


@dataclass(frozen=True)
class TopStyle:
    """Shirts, jackets and dresses."""

    name: str = "t-shirt"
    sleeve: float = 0.3  # share of the arm from shoulder to wrist; 0: none, an armhole
    neckline: Neckline = Neckline()
    hem: float = -0.03  # metres over the crotch
    tucked: float | None = None  # instead: the height of the waist it is tucked into, as `TrouserStyle.waist` is given
    ease: float = 0.012  # metres between body and cloth before draping
    straight: float = 0.6  # 0: follows the waist, 1: hangs straight from the chest
    sleeve_straight: float = 0.5
    flare: float = 0.0  # metres a metre, below the hips
    collar: float = 0.0  # metres, standing
    flap: float = 0.0  # metres of a collar turned over, sewn to the neckline
    hood: bool = False  # lying on the back
    buttons: bool = False  # a strip down the front
    cuffs: bool = False  # sleeves held at their ends
    band: bool = False  # the hem is held to the hips
    opening: float | None = None  # metres between the front edges; None: closed
    loose: Looseness = Looseness()
    fabric: Fabric = field(default_factory=Fabric)


@dataclass(frozen=True)
class TrouserStyle:
    """Trousers and shorts."""

    name: str = "trousers"
    leg: float = 0.96  # share of the leg from hip to ankle
    waist: float = -0.09  # metres over the middle of the trunk (spine2)
    ease: float = 0.008
    straight: float = 0.3
    cuffs: bool = False  # legs held at their ends
    loose: Looseness = Looseness()
    fabric: Fabric = field(default_factory=Fabric)


@dataclass(frozen=True)
class SkirtStyle:
    """Skirts, held at the waist."""

    name: str = "skirt"
    leg: float = 0.5  # share of the leg from hip to ankle
    ease: float = 0.006
    flare: float = 0.15  # metres a metre
    gathers: float = 0.0  # share of cloth that the waistband gathers: hanging folds
    loose: Looseness = Looseness()
    fabric: Fabric = field(default_factory=Fabric)


Style = TopStyle | TrouserStyle | SkirtStyle
