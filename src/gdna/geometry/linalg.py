"""3x3 algebra in closed form: `torch.inverse` on a million small matrices is slow on a GPU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST_DETERMINANT = 1e-6  # of matrices close to rotations; below it an inverse is noise


def inverse_3x3(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """Inverse by cross products of the columns.

    A determinant closer to zero than 1e-6 counts as 1e-6 with its sign, so the result is always finite.
    """
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    determinant = (a * rows[..., 0, :]).sum(-1)[..., None, None]
    floor = torch.where(determinant < 0, -SMALLEST_DETERMINANT, SMALLEST_DETERMINANT).to(determinant)
    return rows / torch.where(determinant.abs() < SMALLEST_DETERMINANT, floor, determinant)


def matvec(matrix: Float[Tensor, "*#b I J"], vector: Float[Tensor, "*#b J"]) -> Float[Tensor, "*_ I"]:
    """Many small products; elementwise, since batched GEMM of 3x3 matrices wastes most of its time."""
    return (matrix * vector[..., None, :]).sum(-1)
