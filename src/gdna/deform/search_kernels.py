"""The CPU twin of `search_kernel` in `triton_kernels` and of `fold_kernels`, step for step, for float32 and float64."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from gdna.deform.folds import DIFFERENCE, SIDES, SQUARINGS


@njit(cache=True)
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


@njit(cache=True)
def _residual(matrix, point, target, value):
    for r in range(3):
        value[r] = (
            matrix[4 * r] * point[0] + matrix[4 * r + 1] * point[1] + matrix[4 * r + 2] * point[2] + matrix[4 * r + 3]
        ) - target[r]


@njit(cache=True)
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


@njit(cache=True)
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
def _search_one(grid, target, low, scale, steps, tolerance, divergence, best_point, best_inverse):
    """From the point in `best_point`; writes the best iterate and the last inverse Jacobian, returns the residual's
    norm, infinite outside the grid's box."""
    point, move = best_point.copy(), np.empty(3, target.dtype)
    value, change = np.empty(3, target.dtype), np.empty(3, target.dtype)
    matrix = np.empty(12, target.dtype)
    _read(grid, point, low, scale, matrix)
    _residual(matrix, point, target, value)
    _invert(matrix, best_inverse)
    best = value[0] * value[0] + value[1] * value[1] + value[2] * value[2]
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
    for r in range(3):
        if not 0 <= (best_point[r] - low[r]) * scale[r] <= grid.shape[2 - r] - 1:
            return np.inf
    return np.sqrt(best)


@njit(cache=True)
def _lost_direction(grid, point, low, scale, direction):
    """What `folds.lost_direction` says of the grid's map there; the stretch along it, squared."""
    matrix, none = np.empty(12, point.dtype), np.zeros(3, point.dtype)
    here, there, ahead = np.empty(3, point.dtype), np.empty(3, point.dtype), np.empty(3, point.dtype)
    slopes, inverse = np.zeros(12, point.dtype), np.empty((3, 3), point.dtype)
    _read(grid, point, low, scale, matrix)
    _residual(matrix, point, none, here)
    for axis in range(3):
        ahead[:] = point
        ahead[axis] += DIFFERENCE
        _read(grid, ahead, low, scale, matrix)
        _residual(matrix, ahead, none, there)
        for r in range(3):
            slopes[4 * r + axis] = (there[r] - here[r]) / DIFFERENCE
    _invert(slopes, inverse)
    power, squared = np.zeros((3, 3), point.dtype), np.zeros((3, 3), point.dtype)
    _product(inverse, inverse.T, power)
    for _ in range(SQUARINGS):
        power /= power[0, 0] + power[1, 1] + power[2, 2]
        _product(power, power, squared)
        power[:] = squared
    longest = 0
    for axis in range(1, 3):
        if power[axis, axis] > power[longest, longest]:
            longest = axis
    direction[:] = power[:, longest]
    direction /= np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    stretch = 0.0
    for c in range(3):
        part = inverse[0, c] * direction[0] + inverse[1, c] * direction[1] + inverse[2, c] * direction[2]
        stretch += part * part
    return stretch


@njit(cache=True)
def _product(one, other, result):
    for r in range(3):
        for c in range(3):
            result[r, c] = one[r, 0] * other[0, c] + one[r, 1] * other[1, c] + one[r, 2] * other[2, c]


@njit(cache=True)
def _mark(points, norms, limit, distance, candidate):
    """Residual below the limit, and no earlier such start within the distance."""
    for i in range(len(norms)):
        candidate[i] = norms[i] < limit
        for k in range(i):
            if candidate[i] and norms[k] < limit:
                square = 0.0
                for r in range(3):
                    square += (points[i, r] - points[k, r]) ** 2
                candidate[i] = square >= distance * distance


@njit(cache=True)
def _beyond_folds(
    grid, target, low, scale, steps, tolerance, divergence, limit, merge, fold, reach, points, norms, inverses
):
    """Search again from beyond the folds of one point's candidates, in its columns that hold none."""
    tries = len(norms)
    candidate, direction = np.empty(tries, np.bool_), np.empty(3, target.dtype)
    _mark(points, norms, limit, merge, candidate)
    rank = -1
    for i in range(tries):
        if not candidate[i]:
            continue
        rank += 1
        if not _lost_direction(grid, points[i], low, scale, direction) * fold * fold > 1:
            continue
        slot = -1
        for k in range(tries):
            if candidate[k]:
                continue
            slot += 1
            side = slot - SIDES * rank
            if 0 <= side < SIDES:
                step = reach[side // 2] * (1 - 2 * (side % 2))
                for r in range(3):
                    points[k, r] = points[i, r] + step * direction[r]
                norms[k] = _search_one(grid, target, low, scale, steps, tolerance, divergence, points[k], inverses[k])


@njit(cache=True, parallel=True)
def search(
    grid, posed, starts, low, scale, steps, tolerance, divergence, limit, merge, fold, reach, points, norms, inverses
):
    """grid (B, D, H, W, >= 12), posed (B, N, 3), starts (B, I, 12); fills points, norms, inverses (B, N, I, ...)."""
    batch, count, tries = norms.shape
    for row in prange(batch * count):
        b, n = row // count, row % count
        target = posed[b, n]
        for i in range(tries):
            start = starts[b, i]
            for r in range(3):
                points[b, n, i, r] = (
                    start[4 * r] * target[0] + start[4 * r + 1] * target[1] + start[4 * r + 2] * target[2]
                ) + start[4 * r + 3]
            norms[b, n, i] = _search_one(
                grid[b], target, low, scale, steps, tolerance, divergence, points[b, n, i], inverses[b, n, i]
            )
        if fold > 0:
            _beyond_folds(
                grid[b], target, low, scale, steps, tolerance, divergence, limit, merge, fold, reach,
                points[b, n], norms[b, n], inverses[b, n],
            )  # fmt: skip
