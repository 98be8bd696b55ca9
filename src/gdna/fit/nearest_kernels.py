"""The fused twin of the plain search in `nearest`: no matrix of distances is kept, only a row at a time."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, fastmath=True)
def nearest_both(scan, body):  # (N, k), (B, k, V) f32 -> (B, N) i64, f32, (B, V) i64, f32
    bodies, _, count = body.shape
    forth = np.empty((bodies, len(scan)), np.int64)
    forth_squared = np.empty((bodies, len(scan)), np.float32)
    back = np.zeros((bodies, count), np.int64)
    back_squared = np.full((bodies, count), np.float32(3e38), np.float32)
    row = np.empty(count, np.float32)
    nearest = np.empty(count, np.int32)
    squared = np.empty(count, np.float32)
    for b in range(bodies):
        nearest[:] = 0
        squared[:] = np.float32(3e38)
        for i in range(len(scan)):
            _distances(scan[i], body[b], row)
            _keep(row, np.int32(i), nearest, squared)
            least = np.float32(3e38)
            for j in range(count):
                least = min(least, row[j])
            forth_squared[b, i] = least
            j = 0
            while j < count - 1 and row[j] != least:  # a body that is not a number has no nearest
                j += 1
            forth[b, i] = j
        back[b] = nearest
        back_squared[b] = squared
    return forth, forth_squared, back, back_squared


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _distances(point, body, row):
    for j in range(len(row)):
        offset = body[0, j] - point[0]
        row[j] = offset * offset
    for c in range(1, len(point)):
        for j in range(len(row)):
            offset = body[c, j] - point[c]
            row[j] += offset * offset


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _keep(row, i, nearest, squared):  # without branches, so that it is done several at once
    for j in range(len(row)):
        nearer = row[j] < squared[j]
        squared[j] = row[j] if nearer else squared[j]
        nearest[j] = i if nearer else nearest[j]
