"""Recognising the joints of foreign skeletons by name: CMU, Biovision, Mixamo, MakeHuman, SMPL and their like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gdna.errors import GdnaError

SIDES = ("left", "right")
# what a limb's joint may be called once side, prefix, punctuation and trailing digits are gone
ALIASES = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "tibia", "knee"),
    "ankle": ("ankle", "foot"),
    "foot": ("toebase", "toes", "toe", "ball", "foot"),
    "collar": ("collar", "clavicle", "shoulder"),
    "shoulder": ("arm", "upperarm", "uparm", "humerus", "shoulder"),
    "elbow": ("forearm", "lowerarm", "lowarm", "radius", "elbow"),
    "wrist": ("wrist", "hand"),
    "hand": ("hand",),
}
REQUIRED = ("hip", "knee", "ankle", "shoulder", "elbow")


@dataclass(frozen=True)
class JointMap:
    """Which joints of a foreign skeleton are which."""

    limbs: dict[str, int]  # by our names, left_hip to right_hand; only those that were found
    spine: tuple[int, ...]  # from the pelvis to the chest, which carries arms and neck
    neck: tuple[int, ...]  # from the chest to the head


def name_joints(names: Sequence[str], parents: Sequence[int], where: str) -> JointMap:
    """Raises `GdnaError` where a limb is not recognised."""
    limbs: dict[str, int] = {}
    for side in SIDES:
        parts = _side_parts(names, side)
        taken: set[int] = set()
        for part, aliases in ALIASES.items():
            alias = next((a for a in aliases if a in parts and parts[a] not in taken), None)
            if alias is not None and not _belongs_below(part, alias, parts):
                limbs[f"{side}_{part}"] = parts[alias]
                taken.add(parts[alias])
    missing = [f"{side}_{part}" for side in SIDES for part in REQUIRED if f"{side}_{part}" not in limbs]
    if missing:
        raise GdnaError(f"{where}: no joint recognised as {', '.join(missing)}; found {', '.join(names)}")
    pelvis = _common_ancestor(limbs["left_hip"], limbs["right_hip"], parents)
    chest = _common_ancestor(limbs["left_shoulder"], limbs["right_shoulder"], parents)
    head = next((i for i, name in enumerate(names) if _plain(name) == "head"), chest)
    return JointMap(limbs, _path(pelvis, chest, parents), _path(chest, head, parents))


def _belongs_below(part: str, alias: str, parts: dict[str, int]) -> bool:
    """A "shoulder" is the clavicle only where there is also an upper arm."""
    return part == "collar" and alias == "shoulder" and not any(a in parts for a in ALIASES["shoulder"][:-1])


def _side_parts(names: Sequence[str], side: str) -> dict[str, int]:
    """Part of the body -> joint, for one side; the first joint of a name counts (upper halves come before lower)."""
    parts: dict[str, int] = {}
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    letter = side[0]
    for i, name in enumerate(names):
        plain = _plain(name)
        stems = (
            plain.removeprefix(side) if plain.startswith(side) else "",
            plain.removesuffix(side) if plain.endswith(side) else "",
            plain.removeprefix(letter) if plain.startswith(letter) else "",
            plain.removesuffix(letter) if plain.endswith(letter) else "",
        )
        part = next((stem for stem in (s.rstrip("0123456789") for s in stems) if stem in known), None)
        if part is not None:
            parts.setdefault(part, i)
    return parts


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.split(":")[-1].lower())


def _ancestors(joint: int, parents: Sequence[int]) -> list[int]:
    chain = [joint]
    while parents[chain[-1]] >= 0:
        chain.append(parents[chain[-1]])
    return chain


def _common_ancestor(a: int, b: int, parents: Sequence[int]) -> int:
    above = set(_ancestors(b, parents))
    return next(joint for joint in _ancestors(a, parents) if joint in above)


def _path(top: int, bottom: int, parents: Sequence[int]) -> tuple[int, ...]:
    """From `top` down to `bottom`; only `top` where it is not above `bottom`."""
    chain = _ancestors(bottom, parents)
    return tuple(reversed(chain[: chain.index(top) + 1])) if top in chain else (top,)
