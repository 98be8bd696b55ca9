"""Canonical correspondences of a scan's samples, for one person whose body is known.

The body says where a posed point belongs, so Newton's method from the body's nearest point does what the search of
`gdna.deform` does from all bones; of several correspondences it takes the one on the nearest limb.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.deform.blend import blend_transforms, skin, skin_with_jacobian, transform
from gdna.deform.search import full_precision
from gdna.fields.bound_weights import BoundWeights
from gdna.fit.wearer import Wearer
from gdna.geometry.cores import each
from gdna.geometry.linalg import inverse_3x3, matvec

NEWTON_STEPS, CHORD_STEPS = 2, 2
LONGEST_STEP = 0.1  # metres
FOUND_WITHIN = 1e-4  # metres between a posed point and its correspondence carried there
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


@torch.no_grad()
def match(points_posed: Float[Tensor, "N 3"], wearer: Wearer, weights_at: BoundWeights) -> Matches:
    """From where the body's nearest vertex would carry each point back."""
    transforms = wearer.transforms()
    nearest = nearest_vertex(points_posed, wearer.vertices())
    blended = blend_transforms(wearer.skin_weights[None], transforms[None])[0][nearest]
    start = matvec(inverse_3x3(blended[..., :3]), points_posed - blended[..., 3])
    size = AT_ONCE_GPU if points_posed.is_cuda else AT_ONCE_CPU
    parts = list(zip(points_posed.split(size), start.split(size), strict=True))

    @torch.no_grad()  # a thread has a gradient mode of its own
    def part(some: tuple[Tensor, Tensor]) -> Matches:
        return _newton(*some, transforms, weights_at)

    with full_precision():
        found = [part(some) for some in parts] if points_posed.is_cuda else each(part, parts)
    return Matches(**{name: torch.cat([getattr(part, name) for part in found]) for name in vars(found[0])})


def nearest_vertex(points: Float[Tensor, "N 3"], vertices: Float[Tensor, "V 3"]) -> Tensor:
    """Number of the nearest vertex of each point."""
    from scipy.spatial import cKDTree

    index = cKDTree(vertices.detach().cpu().numpy()).query(points.detach().cpu().numpy())[1]
    return torch.from_numpy(index).to(points.device)


def _newton(
    points_posed: Float[Tensor, "n 3"],
    start: Float[Tensor, "n 3"],
    transforms: Float[Tensor, "J 4 4"],
    weights_at: BoundWeights,
) -> Matches:
    """Steps with the Jacobian where a point is, then cheap ones with the last of them."""
    x, inverse = start, start.new_zeros(len(start), 3, 3)
    for _ in range(NEWTON_STEPS):
        posed, jacobian = skin_with_jacobian(x[None], transforms[None], weights_at)
        inverse = inverse_3x3(jacobian[0])
        x = x - _short(matvec(inverse, posed[0] - points_posed))
    for _ in range(CHORD_STEPS):
        x = x - _short(matvec(inverse, skin(x[None], transforms[None], weights_at)[0] - points_posed))
    weights = weights_at(x[None])
    residual = transform(blend_transforms(weights, transforms[None])[0], x) - points_posed
    return Matches(points_posed, x, weights[0], inverse, residual.norm(dim=-1) < FOUND_WITHIN)


def _short(step: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    return step * (LONGEST_STEP / step.norm(dim=-1, keepdim=True).clamp_min(LONGEST_STEP))
