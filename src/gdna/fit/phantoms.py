"""Where the model must be empty because skinning would carry what is there out of the scan.

A posed sample asks of the canonical points that were found for it; what grows anywhere else in canonical space, between
the legs of somebody in a skirt say, no sample sees. Forward skinning sees it: it needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.deform.blend import blend_transforms, transform
from gdna.extract.avatar_mesh import body_box
from gdna.fit.evidence import Evidence
from gdna.fit.showing import Showing
from gdna.fit.wearer import Wearer
from gdna.model.avatar_model import AvatarModel
from gdna.objectives import outside_loss
from gdna.types import Subject

CANDIDATES = 60_000  # canonical points
WORST = 0.5  # of the points that are kept are those where the model is most wrong, the others any
KNOWN = 0.05  # metres above an open scan's surface: higher up there may be something that it does not show
WEIGHT = 0.2  # of a step's loss
AT_ONCE = 2**14


@dataclass(frozen=True)
class Phantoms:
    """Neutral points that shall be outside."""

    neutral: Float[Tensor, "N 3"]

    def draw(self, count: int, rng: np.random.Generator) -> Float[Tensor, "n 3"]:
        """`count` of them, or none where there are none."""
        some = rng.integers(0, len(self.neutral), count) if len(self.neutral) else np.zeros(0, np.int64)
        return self.neutral[torch.from_numpy(some).to(self.neutral.device)]


def emptiness(logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The loss of points that shall be outside; nothing where there are none."""
    return WEIGHT * outside_loss(logits[None]) if len(logits) else logits.sum()


@torch.no_grad()
def find_phantoms(
    network: AvatarModel, subject: Subject, wearer: Wearer, evidence: Evidence, count: int, rng: np.random.Generator
) -> Phantoms:
    """About `count` points, at the features of the subject."""
    low, high = body_box(wearer.vertices_canonical)
    canonical = low + torch.from_numpy(rng.random((CANDIDATES, 3))).to(low) * (high - low)
    weights_at, transforms = network.weights_at(subject), wearer.transforms()
    posed = torch.cat(
        [
            transform(blend_transforms(weights_at(part[None]), transforms[None])[0], part)
            for part in canonical.split(AT_ONCE)
        ]
    )
    outside = torch.from_numpy(_outside(posed.cpu().double().numpy(), evidence)).to(canonical.device)
    if not outside.any():
        return Phantoms(canonical[outside])
    neutral = network.to_neutral(canonical[outside][None], subject.betas)
    logits = torch.cat([network.occupancy_neutral(part, subject)[0][0] for part in neutral.split(AT_ONCE, 1)])
    order = logits.argsort(descending=True)
    worst = order[: int(WORST * count)]
    others = torch.from_numpy(rng.permutation(len(order))[: count - len(worst)]).to(order.device)
    return Phantoms(neutral[0, torch.cat([worst, others])])


def _outside(points: Float[np.ndarray, "N 3"], evidence: Evidence) -> Bool[np.ndarray, " N"]:
    """What the scan says is outside."""
    if evidence.solids is not None:
        return ~evidence.solids.contain(points)
    showing = Showing.of(points, evidence)
    above = showing.shown & (showing.above > 0) & (showing.above < KNOWN)
    if evidence.dipoles is None:
        return above
    side = evidence.dipoles.side(points)
    return (side < 0) | (above & (side == 0))
