"""The head without its ears, as a surface in directions from the middle of the skull: hair and hats are built on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from gdna.body.open_body import open_body
from gdna.synthesize.mannequin import Mannequin, joint

CENTRE = np.array([0.0, 0.072, 0.012])  # metres from the head joint on a head of mean size
MEAN_HEIGHT = 0.12  # metres from the eyes to the top of a head of mean size
EAR = 0.006  # metres that ears stick out of the smoothed head
SMOOTHING = 0.3  # radians over which the head is smoothed to find the ears
NEAREST = 12


@dataclass(frozen=True)
class HeadForm:
    """A head in the canonical pose."""

    centre: Float[np.ndarray, "3"]
    size: float  # 1: mean
    eye_height: float
    directions: Float[np.ndarray, "N 3"]
    radius: Float[np.ndarray, " N"]

    def surface(self, directions: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
        """Points of the head in directions of any length."""
        unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        gap, near = cKDTree(self.directions).query(unit, NEAREST)
        weight = 1 / (gap**2 + 0.05**2)
        radius = (weight * self.radius[near]).sum(1) / weight.sum(1)
        return self.centre + radius[:, None] * unit


def head_form(body: Mannequin) -> HeadForm:
    """Measured on a body."""
    back = np.linalg.inv(body.transforms)[joint("head")]
    head = back[:3, :3] @ body.joint("head") + back[:3, 3]
    model = open_body()
    eyes = np.unique(np.asarray(model.faces)[model.num_skin_faces :])
    eye_height = float(body.vertices_canonical[eyes, 1].mean())
    skin = np.unique(body.skin_quads)
    points = body.vertices_canonical[skin[body.skin_weights[skin, joint("head")] > 0.5]]
    size = float((points[:, 1].max() - eye_height) / MEAN_HEIGHT)
    centre = head + CENTRE * size
    offset = points - centre
    radius = np.linalg.norm(offset, axis=1)
    unit = offset / radius[:, None]
    tree = cKDTree(unit)
    smooth = np.array([np.percentile(radius[near], 40) for near in tree.query_ball_point(unit, SMOOTHING)])
    ears = (radius > smooth + EAR) & (np.abs(unit[:, 0]) > 0.6)
    return HeadForm(centre, size, eye_height, unit[~ears], radius[~ears])
