"""Who the people of a pack are: measures of their bodies, what they wear, how they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from gdna.body.open_body import OpenBody, open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS
from gdna.scans.pack import Entry, ScanPack
from gdna.types import BodyParams

DENSITY = 1000.0  # kg/m^3 of a living body, about
QUALITY = ("redraws", "stretch", "outside", "deepest")  # traits of the making, not of the person
POSE = "pose"
BENT_JOINTS = ("shoulder", "elbow", "hip", "knee", "spine1", "head")


@dataclass(frozen=True)
class Statistics:
    """One row a person (N) or a scan (M); traits as the generator tells them."""

    height: Float[np.ndarray, " N"]  # metres, standing straight
    weight: Float[np.ndarray, " N"]  # kilograms
    numbers: dict[str, Float[np.ndarray, " _"]]  # numeric traits of people
    quality: dict[str, Float[np.ndarray, " _"]]  # numeric traits that tell how exact each scan is
    words: dict[str, Counter[str]]  # worded traits, counted over people
    poses: Counter[str]  # kinds of poses, counted over scans
    garments: Counter[str]  # people who wear each
    joint_angles: dict[str, Float[np.ndarray, " _"]]  # degrees that a kind of joint is bent, both sides, of each scan
    faces: Float[np.ndarray, " M"]
    sizes: Float[np.ndarray, " M"]  # bytes


def statistics(pack: ScanPack, track: Callable[[Iterable[Entry]], Iterable[Entry]] = iter) -> Statistics:
    """Read the parameters of every scan. Raises `GdnaError` where one is damaged."""
    model, measures, rotations = open_body(), [], []
    for entry in track(pack.entries):
        body = pack.read_parameters(entry)
        rotations.append(body.joint_rotations)
        if entry.about.pose_index == 0:
            measures.append(measure(model, body.betas))
    people = pack.people()
    height, weight = np.array(measures).T
    angles = np.degrees(np.linalg.norm(np.stack(rotations), axis=-1))
    traits = [dict(e.about.traits) for e in people]
    numbers, every = _numbers(traits), _numbers([dict(e.about.traits) for e in pack.entries])
    words = _words(traits)
    words.pop(POSE, None)
    return Statistics(
        height=height,
        weight=weight,
        numbers={key: values for key, values in numbers.items() if key not in (*QUALITY, "height")},
        quality={key: every[key] for key in QUALITY if key in every},
        words=words,
        poses=Counter(str(e.about.traits[POSE]) for e in pack.entries if POSE in e.about.traits),
        garments=Counter(garment for e in people for garment in sorted(set(e.about.garments))),
        joint_angles={
            kind: angles[:, [i for i, name in enumerate(JOINT_NAMES) if name.endswith(kind)]].ravel()
            for kind in BENT_JOINTS
        },
        faces=np.array([e.num_faces for e in pack.entries], np.float64),
        sizes=np.array([e.size for e in pack.entries], np.float64),
    )


def measure(model: OpenBody, betas: Float[np.ndarray, " S"]) -> tuple[float, float]:
    """Height (metres) and weight (kilograms) of a body standing straight."""
    straight = BodyParams(torch.from_numpy(betas)[None], torch.zeros(1, len(PARENTS), 3), torch.zeros(1, 3))
    vertices = model(straight).vertices[0].double().numpy()
    skin = model.faces[: model.num_skin_faces].numpy()
    corners = vertices[skin]
    corners = corners - corners.mean((0, 1))
    volume = float((corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6)
    return float(np.ptp(vertices[np.unique(skin), 1])), DENSITY * volume


def _numbers(traits: list[dict[str, Any]]) -> dict[str, Float[np.ndarray, " _"]]:
    found: dict[str, list[float]] = {}
    for one in traits:
        for key, value in one.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(key, []).append(float(value))
    return {key: np.array(found[key]) for key in sorted(found)}


def _words(traits: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """A trait is a word, or a list or a mapping of words."""
    found: dict[str, Counter[str]] = {}
    for one in traits:
        for key, value in one.items():
            values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            words = {str(v) for v in values if isinstance(v, (str, bool))}
            if words:
                found.setdefault(key, Counter()).update(words)
    return {key: found[key] for key in sorted(found)}
