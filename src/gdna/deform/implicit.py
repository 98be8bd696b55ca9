"""Gradients through roots without gradients through the search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt, skin, skin_with_jacobian
from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.linalg import inverse_3x3, matvec


def attach_gradient(
    roots_canonical: Float[Tensor, "B M 3"],
    points_posed: Float[Tensor, "B M 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
) -> Float[Tensor, "B M 3"]:
    """The same roots, now functions of the weights' parameters, of `bone_transforms` and of `points_posed`.

    Implicit function theorem (Chen et al., SNARF, ICCV 2021): with r(x) = skin(x) - points_posed, zero at the root,
    dx = -J^-1 dr where J = d skin / dx. Without gradient mode the roots come back as they are.
    """
    roots = roots_canonical.detach()
    if not torch.is_grad_enabled():
        return roots
    if isinstance(weights_at, BoundWeights):
        posed = skin(roots, bone_transforms, weights_at)
        with torch.no_grad():
            # on a GPU in half precision: a gradient's direction may be a percent off, for half of the traffic
            dtype = torch.bfloat16 if roots.is_cuda else None
            jacobian = skin_with_jacobian(roots, bone_transforms, weights_at, dtype)[1]
    else:
        posed, jacobian = _by_autograd(roots, bone_transforms, weights_at)
    residual = posed - points_posed
    return roots - matvec(inverse_3x3(jacobian), residual - residual.detach())


def _by_autograd(
    roots_canonical: Float[Tensor, "B M 3"], bone_transforms: Float[Tensor, "B J 4 4"], weights_at: WeightsAt
) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M 3 3"]]:
    """Posed points and their detached Jacobian, for weights of which nothing but their values is known."""
    variable = roots_canonical.clone().requires_grad_()
    posed = skin(variable, bone_transforms, weights_at)
    rows = []
    for axis in range(3):
        direction = torch.zeros_like(posed)
        direction[..., axis] = 1
        rows.append(torch.autograd.grad(posed, variable, direction, retain_graph=True)[0])
    return posed, torch.stack(rows, -2).detach()
