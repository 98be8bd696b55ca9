"""Bodies drawn near the shipped population, and a little beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from gdna.body.open_body import open_body
from gdna.synthesize.mannequin import mannequin

BETA_JITTER = 0.3
BETA_LIMIT = 3.0
WIDENED = {"age": 1.46, "muscle": 1.25, "weight": 1.25, "height": 1.3}  # about the middle of the population's range
YOUNGER = 0.057  # by which the middle of the ages is lower: from 16 to 80 years
YOUNGEST = 16.0  # years
HEIGHTS = (1.45, 2.05)  # metres
TRIES = 50


@dataclass(frozen=True)
class Shape:
    """A body and what it stands for."""

    betas: Float[np.ndarray, " S"]
    age: float  # years
    height: float  # metres
    gender: float  # 0: male, 1: female
    weight: float
    muscle: float
    proportions: float


def draw_shape(rng: np.random.Generator) -> Shape:
    """A believable person near one of the population's, carried along the traits' directions so that ages, heights and
    weights reach further than the population's."""
    body = open_body()
    columns = {name: k for k, name in enumerate(body.trait_names)}
    middle = 0.5 * (body.population_traits.min(0) + body.population_traits.max(0)).astype(np.float64)
    widened = np.array([WIDENED.get(name, 1.0) for name in body.trait_names])
    for _ in range(TRIES):
        row = int(rng.integers(len(body.population_betas)))
        traits = body.population_traits[row].astype(np.float64)
        wanted = middle + widened * (traits - middle)
        wanted[columns["age"]] -= YOUNGER
        betas = body.population_betas[row] + BETA_JITTER * rng.standard_normal(body.num_betas)
        betas = np.clip(betas + (wanted - traits) @ _directions(), -BETA_LIMIT, BETA_LIMIT).astype(np.float32)
        height = stature(betas)
        if age_in_years(wanted[columns["age"]]) >= YOUNGEST and HEIGHTS[0] <= height <= HEIGHTS[1]:
            break
    value = {name: float(np.clip(wanted[k], 0, 1)) for name, k in columns.items()}
    return Shape(
        betas, age_in_years(wanted[columns["age"]]), height, value["gender"], value["weight"], value["muscle"],
        value["proportions"],
    )  # fmt: skip


def stature(betas: Float[np.ndarray, " S"]) -> float:
    """Height in metres, standing barefoot with legs together."""
    body = mannequin(betas)
    skin = body.vertices[np.unique(body.skin_quads)]
    hip, ankle = body.joint("left_hip"), body.joint("left_ankle")
    spread = np.linalg.norm(ankle - hip) - (hip[1] - ankle[1])  # what the start pose's open legs take away
    return float(np.ptp(skin[:, 1]) + spread)


def age_in_years(value: float) -> float:
    """The body's scale of ages: 1/3 is 10 years, 2/3 is 25, 1 is 90."""
    return float(np.interp(value, [1 / 3, 2 / 3, 1.0], [10.0, 25.0, 90.0]))


@lru_cache(maxsize=1)
def _directions() -> Float[np.ndarray, "T S"]:
    """What the betas change by when one trait changes and the others stay (least squares over the population)."""
    body = open_body()
    traits = body.population_traits.astype(np.float64)
    design = np.concatenate([traits, np.ones((len(traits), 1))], 1)
    return np.linalg.lstsq(design, body.population_betas.astype(np.float64), rcond=None)[0][:-1]
