"""The CPU twin of `search_kernel` in `triton_kernels`, step for step, for float32 and float64."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, inline="always")
def _read(grid, point, low, scale, matrix):
    """Trilinear read of 12 numbers at a point; outside the box, at its nearest point."""
    depth, height, width = grid.shape[:3]
    fx = min(max((point[0] - low[0]) * scale[0], 0.0), width - 1.0)
    fy = min(max((point[1] - low[1]) * scale[1], 0.0), height - 1.0)
    fz = min(max((point[2] - low[2]) * scale[2], 0.0), depth - 1.0)
    ix, iy, iz = min(int(fx), width - 2), min(int(fy), height - 2), min(int(fz), depth - 2)
    tx, ty, tz = fx - ix, fy - iy, fz - iz
    for k in range(12):
        matrix[k] = 0.0
    for corner in range(4):
        dy, dz = corner & 1, corner >> 1
        share = (ty if dy else 1.0 - ty) * (tz if dz else 1.0 - tz)
        one, two = grid[iz + dz, iy + dy, ix], grid[iz + dz, iy + dy, ix + 1]
        for k in range(12):
            matrix[k] += share * ((1.0 - tx) * one[k] + tx * two[k])


@njit(cache=True, inline="always")
def _residual(matrix, point, target, value):
    for r in range(3):
        value[r] = (
            matrix[4 * r] * point[0] + matrix[4 * r + 1] * point[1] + matrix[4 * r + 2] * point[2] + matrix[4 * r + 3]
        ) - target[r]


@njit(cache=True, inline="always")
def _invert(matrix, inverse):
    """Of the linear part; a determinant closer to zero than 1e-6 counts as 1e-6 with its sign."""
    for r in range(3):
        one, two = 4 * ((r + 1) % 3), 4 * ((r + 2) % 3)
        for c in range(3):
            k, m = (c + 1) % 3, (c + 2) % 3
            inverse[c, r] = matrix[one + k] * matrix[two + m] - matrix[one + m] * matrix[two + k]
    determinant = matrix[0] * inverse[0, 0] + matrix[1] * inverse[1, 0] + matrix[2] * inverse[2, 0]
    if abs(determinant) < 1e-6:
        determinant = -1e-6 if determinant < 0 else 1e-6
    inverse /= determinant


@njit(cache=True, inline="always")
def _update(inverse, move, change):
    """Broyden's update of the inverse Jacobian; none where the quotient would blow up."""
    scale = 0.0
    for c in range(3):
        direction = move[0] * inverse[0, c] + move[1] * inverse[1, c] + move[2] * inverse[2, c]
        scale += direction * change[c]
    if not abs(scale) > 1e-2 * (move[0] * move[0] + move[1] * move[1] + move[2] * move[2]):
        return
    d0 = move[0] * inverse[0, 0] + move[1] * inverse[1, 0] + move[2] * inverse[2, 0]
    d1 = move[0] * inverse[0, 1] + move[1] * inverse[1, 1] + move[2] * inverse[2, 1]
    d2 = move[0] * inverse[0, 2] + move[1] * inverse[1, 2] + move[2] * inverse[2, 2]
    for r in range(3):
        moved = inverse[r, 0] * change[0] + inverse[r, 1] * change[1] + inverse[r, 2] * change[2]
        column = (move[r] - moved) / scale
        inverse[r, 0] += column * d0
        inverse[r, 1] += column * d1
        inverse[r, 2] += column * d2


@njit(cache=True)
def _search_one(grid, target, start, low, scale, steps, tolerance, divergence, best_point, best_inverse):
    """One start; writes the best iterate and the last inverse Jacobian, returns the residual's norm."""
    point, move = np.empty(3, target.dtype), np.empty(3, target.dtype)
    value, change = np.empty(3, target.dtype), np.empty(3, target.dtype)
    matrix = np.empty(12, target.dtype)
    for r in range(3):
        point[r] = (
            start[4 * r] * target[0] + start[4 * r + 1] * target[1] + start[4 * r + 2] * target[2] + start[4 * r + 3]
        )
    _read(grid, point, low, scale, matrix)
    _residual(matrix, point, target, value)
    _invert(matrix, best_inverse)
    best = value[0] * value[0] + value[1] * value[1] + value[2] * value[2]
    best_point[:] = point
    square = 0.0
    for _ in range(steps):
        if best <= tolerance * tolerance or not square < divergence * divergence:
            break
        for r in range(3):
            move[r] = -(best_inverse[r, 0] * value[0] + best_inverse[r, 1] * value[1] + best_inverse[r, 2] * value[2])
        for r in range(3):
            point[r] += move[r]
            change[r] = -value[r]
        _read(grid, point, low, scale, matrix)
        _residual(matrix, point, target, value)
        for r in range(3):
            change[r] += value[r]
        _update(best_inverse, move, change)
        square = value[0] * value[0] + value[1] * value[1] + value[2] * value[2]
        if square < best:
            best = square
            best_point[:] = point
    return np.sqrt(best)


@njit(cache=True, parallel=True)
def search(grid, posed, starts, low, scale, steps, tolerance, divergence, points, norms, inverses):
    """grid (B, D, H, W, >= 12), posed (B, N, 3), starts (B, I, 12); fills points, norms, inverses (B, N, I, ...)."""
    batch, count, tries = norms.shape
    for row in prange(batch * count):
        b, n = row // count, row % count
        for i in range(tries):
            norms[b, n, i] = _search_one(
                grid[b], posed[b, n], starts[b, i], low, scale, steps, tolerance, divergence,
                points[b, n, i], inverses[b, n, i],
            )  # fmt: skip
