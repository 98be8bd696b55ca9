"""Canonical correspondences of a scan's samples, for one person whose body is known.

The body says where a posed point belongs, so Newton's method from the body's nearest point does what the search of
`gdna.deform` does from all bones; a point between two limbs is tried from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform.blend import blend_transforms, skin, skin_with_jacobian, transform
from gdna.fields.bound_weights import BoundWeights
from gdna.fit.wearer import Wearer
from gdna.geometry.arithmetic import full_precision
from gdna.geometry.cores import each
from gdna.geometry.linalg import inverse_3x3, matvec

NEWTON_STEPS, CHORD_STEPS = 2, 2
LONGEST_STEP = 0.1  # metres
FOUND_WITHIN = 1e-4  # metres between a posed point and its correspondence carried there
OTHER_WITHIN, OTHER_APART = 0.15, 0.12  # metres: of another limb, posed; of limbs that are others, canonical
AT_ONCE_CPU, AT_ONCE_GPU = 2048, 2**17


@dataclass(frozen=True)
class Matches:
    """N posed points with a canonical point each that skinning carries there, where `found`."""

    points_posed: Float[Tensor, "N 3"]
    points_canonical: Float[Tensor, "N 3"]
    weights: Float[Tensor, "N J"]  # skinning weights there
    inverse_jacobians: Float[Tensor, "N 3 3"]  # of canonical to posed
    found: Bool[Tensor, " N"]

    def __getitem__(self, index: Tensor) -> Matches:
        return Matches(**{name: value[index] for name, value in vars(self).items()})

    def carried_back(self, transforms: Float[Tensor, "J 4 4"]) -> Float[Tensor, "N 3"]:
        """The canonical points where the bones are a little elsewhere, by one Newton step with the weights as they
        were; gradients pass to the transforms (implicit function theorem)."""
        blended = blend_transforms(self.weights[None], transforms[None])[0]
        residual = transform(blended, self.points_canonical) - self.points_posed
        return self.points_canonical - matvec(self.inverse_jacobians, residual)


def match(points_posed: Float[Tensor, "N 3"], wearer: Wearer, weights_at: BoundWeights) -> Matches:
    """From where the body's nearest vertex would carry each point back."""
    nearest = nearest_vertex(points_posed.cpu().numpy(), wearer.vertices().detach().cpu().numpy())
    return match_from(points_posed, torch.from_numpy(nearest).to(points_posed.device), wearer, weights_at)


@torch.no_grad()
def match_from(
    points_posed: Float[Tensor, "N 3"], vertex: Int[Tensor, " N"], wearer: Wearer, weights_at: BoundWeights
) -> Matches:
    """From where the given vertices of the body would carry the points back."""
    transforms = wearer.transforms()
    blended = blend_transforms(wearer.skin_weights[None], transforms[None])[0][vertex]
    start = matvec(inverse_3x3(blended[..., :3]), points_posed - blended[..., 3])
    size = AT_ONCE_GPU if points_posed.is_cuda else AT_ONCE_CPU
    parts = list(zip(points_posed.split(size), start.split(size), strict=True))

    @torch.no_grad()  # a thread has a gradient mode of its own
    def part(some: tuple[Tensor, Tensor]) -> Matches:
        return _newton(*some, transforms, weights_at)

    with full_precision():
        found = [part(some) for some in parts] if points_posed.is_cuda else each(part, parts)
    return joined(found)


def joined(parts: Sequence[Matches]) -> Matches:
    """One after the other."""
    return Matches(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def nearest_vertex(points: Float[np.ndarray, "N 3"], vertices: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, " N"]:
    from scipy.spatial import cKDTree

    return cKDTree(vertices).query(points)[1]


def other_limb(
    points: Float[np.ndarray, "N 3"], first: Int[np.ndarray, " N"], wearer: Wearer
) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
    """Points that also lie near a part of the body which is far from `first`, their nearest vertex, in the canonical
    pose: their numbers, and the nearest such vertex."""
    from scipy.spatial import cKDTree

    vertices, canonical = wearer.vertices().detach().cpu().numpy(), wearer.vertices_canonical.cpu().numpy()
    bone = wearer.skin_weights.argmax(1).cpu().numpy()
    best, chosen = np.full(len(points), OTHER_WITHIN), np.full(len(points), -1)
    for part in np.unique(bone):
        members = np.flatnonzero(bone == part)
        low, high = vertices[members].min(0) - OTHER_WITHIN, vertices[members].max(0) + OTHER_WITHIN
        near = np.flatnonzero(((points > low) & (points < high)).all(1))
        distance, index = cKDTree(vertices[members]).query(points[near], distance_upper_bound=OTHER_WITHIN)
        hit = np.isfinite(distance)
        near, distance, vertex = near[hit], distance[hit], members[index[hit]]
        apart = np.linalg.norm(canonical[vertex] - canonical[first[near]], axis=1) > OTHER_APART
        better = apart & (distance < best[near])
        best[near[better]], chosen[near[better]] = distance[better], vertex[better]
    found = np.flatnonzero(chosen >= 0)
    return found, chosen[found]


def _newton(
    points_posed: Float[Tensor, "n 3"],
    start: Float[Tensor, "n 3"],
    transforms: Float[Tensor, "J 4 4"],
    weights_at: BoundWeights,
) -> Matches:
    """Steps with the Jacobian where a point is, then cheap ones with the last of them."""
    x = start
    for _ in range(NEWTON_STEPS):
        posed, jacobians = skin_with_jacobian(x[None], transforms[None], weights_at)
        inverse = inverse_3x3(jacobians.posed[0])
        x = x - _short(matvec(inverse, posed[0] - points_posed))
    for _ in range(CHORD_STEPS):
        x = x - _short(matvec(inverse, skin(x[None], transforms[None], weights_at)[0] - points_posed))
    posed, jacobians = skin_with_jacobian(x[None], transforms[None], weights_at)
    found = (posed[0] - points_posed).norm(dim=-1) < FOUND_WITHIN
    return Matches(points_posed, x, weights_at(x[None])[0], inverse_3x3(jacobians.posed[0]), found)


def _short(step: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    return step * (LONGEST_STEP / step.norm(dim=-1, keepdim=True).clamp_min(LONGEST_STEP))
