"""Trilinear reads of a feature volume whose channels lie side by side, point by point, for asking fields on a CPU."""

from __future__ import annotations

import math

import numba
import numpy as np

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nodes(place, count):
    """Along an axis of `count` nodes whose ends lie at +-1: the nodes below and above, each with its share and the
    share's slope per node; both are zero where there is no such node, and some other stands for it."""
    at = (place + ONE) * (HALF * np.float32(count - 1))
    below = math.floor(at)
    beyond, low = at - np.float32(below), int(below)
    high = low + 1
    there_low, there_high = 0 <= low < count, 0 <= high < count
    return (
        (low if there_low else 0, ONE - beyond if there_low else ZERO, -ONE if there_low else ZERO),
        (high if there_high else 0, beyond if there_high else ZERO, ONE if there_high else ZERO),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def read(volume, points, out):  # (D, H, W, C), (N, 3), (N, C), all f32
    depth, height, width, channels = volume.shape
    for n in range(len(points)):
        xs, ys, zs = _nodes(points[n, 0], width), _nodes(points[n, 1], height), _nodes(points[n, 2], depth)
        out[n] = ZERO
        for z, of_z, _ in zs:
            for y, of_y, _ in ys:
                low, high, share = volume[z, y, xs[0][0]], volume[z, y, xs[1][0]], of_z * of_y
                of_low, of_high = share * xs[0][1], share * xs[1][1]
                for c in range(channels):
                    out[n, c] += of_low * low[c] + of_high * high[c]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def read_back(volume, points, of_out, of_points):  # (D, H, W, C), (N, 3), (N, C), (N, 3), all f32
    """`of_points` becomes the gradient with respect to the points, `of_out` being that with respect to what is read."""
    depth, height, width, channels = volume.shape
    for n in range(len(points)):
        xs, ys, zs = _nodes(points[n, 0], width), _nodes(points[n, 1], height), _nodes(points[n, 2], depth)
        along_x, along_y, along_z = ZERO, ZERO, ZERO
        for z, of_z, slope_z in zs:
            for y, of_y, slope_y in ys:
                low, high = volume[z, y, xs[0][0]], volume[z, y, xs[1][0]]
                at_low, at_high = ZERO, ZERO
                for c in range(channels):
                    at_low += low[c] * of_out[n, c]
                    at_high += high[c] * of_out[n, c]
                within = xs[0][1] * at_low + xs[1][1] * at_high
                along_x += of_z * of_y * (xs[0][2] * at_low + xs[1][2] * at_high)
                along_y += of_z * slope_y * within
                along_z += slope_z * of_y * within
        of_points[n, 0] = along_x * (HALF * np.float32(width - 1))
        of_points[n, 1] = along_y * (HALF * np.float32(height - 1))
        of_points[n, 2] = along_z * (HALF * np.float32(depth - 1))
