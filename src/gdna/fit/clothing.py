"""How far clothes, hair and shoes usually lie from the body, by bone.

Measured on dressed people whose body is known: median and spread of the distance from the skin outward to the nearest
visible surface.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import JOINT_NAMES, JOINTS_OF

THICKNESS = {  # millimetres: usual, spread
    "pelvis": (10, 14), "hip": (5, 12), "spine1": (15, 16), "knee": (4, 10), "spine2": (8, 12), "ankle": (3, 8),
    "spine3": (5, 8), "foot": (3, 8), "neck": (1, 7), "collar": (5, 8), "head": (1, 8), "shoulder": (5, 9),
    "elbow": (1, 7), "wrist": (0, 5), "hand": (0, 5),
}  # fmt: skip
DENSITY = {"hand": 5, "wrist": 3, "foot": 3, "ankle": 2, "head": 2, "neck": 2, "elbow": 2}  # of points, per area


def by_bone(parents: tuple[int, ...]) -> tuple[Float[Tensor, " J"], Float[Tensor, " J"], Float[Tensor, " J"]]:
    """Usual thickness and its spread (metres) over each bone, and how densely its skin is sampled."""
    names = JOINTS_OF.get(parents, JOINT_NAMES)
    parts = [name.rpartition("_")[2] for name in names]
    rows = [(*THICKNESS.get(part, THICKNESS["hand"]), DENSITY.get(part, 1)) for part in parts]
    usual, spread, density = torch.tensor(rows, dtype=torch.float32).unbind(1)
    return usual / 1000, spread / 1000, density
