"""Gradients through roots without gradients through the search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import Jacobians, WeightsAt, blend_transforms, skin, skin_with_jacobian, transform
from gdna.deform.fused import why_not_here
from gdna.deform.fused_networks import fused_networks
from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.arithmetic import full_precision
from gdna.geometry.linalg import inverse_3x3, matvec


def attach_gradient(
    roots_canonical: Float[Tensor, "B M 3"],
    points_posed: Float[Tensor, "B M 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: WeightsAt,
) -> Float[Tensor, "B M 3"]:
    """The same roots, now functions of the weights' parameters, of `bone_transforms` and of `points_posed`.

    Implicit function theorem (Chen et al., SNARF, ICCV 2021): with r(x) = skin(x) - points_posed, zero at the root,
    dx = -J^-1 dr where J = d skin / dx. Without gradient mode the roots come back as they are. By automatic
    differentiation, for weights of which nothing but their values is known; see `attach_gradients`.
    """
    roots = roots_canonical.detach()
    if not torch.is_grad_enabled():
        return roots
    variable = roots.clone().requires_grad_()
    posed = skin(variable, bone_transforms, weights_at)
    rows = []
    for axis in range(3):
        direction = torch.zeros_like(posed)
        direction[..., axis] = 1
        rows.append(torch.autograd.grad(posed, variable, direction, retain_graph=True)[0])
    return roots + _moves(posed - points_posed, torch.stack(rows, -2).detach())


def attach_gradients(
    roots_canonical: Float[Tensor, "B M 3"],
    points_posed: Float[Tensor, "B M 3"],
    bone_transforms: Float[Tensor, "B J 4 4"],
    weights_at: BoundWeights,
) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M 3"]]:
    """`attach_gradient`, and the neutral points of the roots, for which the warp is asked only once: a root's move
    carries its neutral point along by the warp's Jacobian.

    Without gradient mode neutral points are exact; with it, as exact as 32-bit products are allowed to be (in TF32
    within 0.1 mm). On a GPU the Jacobians are those of networks in half precision, and under autocast so is the
    skinning field, of which only the gradient counts: its direction may be a percent off, for half of the traffic.
    """
    roots, learns = roots_canonical.detach(), torch.is_grad_enabled()
    with full_precision(torch.get_float32_matmul_precision() if learns else "highest"):
        neutral = weights_at.neutral(roots)
    if not learns:
        return roots, neutral
    posed = transform(blend_transforms(weights_at.at_neutral(neutral), bone_transforms), roots)
    jacobians = _jacobians(roots, bone_transforms.detach(), weights_at)
    moves = _moves(posed - points_posed, jacobians.posed)
    return roots + moves, neutral + matvec(jacobians.neutral, moves)


def _moves(residual: Float[Tensor, "B M 3"], jacobian: Float[Tensor, "B M 3 3"]) -> Float[Tensor, "B M 3"]:
    """Zero; as a function of what the residual depends on, how the roots move with it."""
    return -matvec(inverse_3x3(jacobian), residual - residual.detach())


@torch.no_grad()
def _jacobians(
    roots: Float[Tensor, "B M 3"], bone_transforms: Float[Tensor, "B J 4 4"], weights_at: BoundWeights
) -> Jacobians:
    if roots.is_cuda and why_not_here(roots, weights_at) is None:
        from gdna.deform import fused_triton

        return fused_triton.jacobians(roots, fused_networks(weights_at, len(roots)), bone_transforms)
    return skin_with_jacobian(roots, bone_transforms, weights_at, torch.bfloat16 if roots.is_cuda else None)[1]
