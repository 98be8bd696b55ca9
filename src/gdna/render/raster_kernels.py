"""Fused twins of the plain z-buffer in `rasterize` and of the colours in `shade`: the same float32 operations in the
same order."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _floor(x):  # in fewer instructions than math.floor
    whole = np.int64(x)
    return whole - (x < whole)


@numba.njit(cache=True, nogil=True)
def _ceil(x):
    whole = np.int64(x)
    return whole + (x > whole)


@numba.njit(cache=True, nogil=True)
def z_buffer(corners, faces, size):  # (V, 3) f32 column, row, depth; (F, 3) i64 -> (H, W) i64, (H, W, 3) f32
    zero = np.float32(0)
    nearest = np.full((size, size), np.float32(-np.inf), np.float32)
    face = np.full((size, size), -1, np.int64)
    barycentric = np.zeros((size, size, 3), np.float32)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, z0 = corners[i, 0], corners[i, 1], corners[i, 2]
        x1, y1, z1 = corners[j, 0], corners[j, 1], corners[j, 2]
        x2, y2, z2 = corners[k, 0], corners[k, 1], corners[k, 2]
        left, right = max(_ceil(min(x0, x1, x2)), 0), min(_floor(max(x0, x1, x2)), size - 1)
        if left > right:  # as soon as that: a scan's triangles are about a pixel large
            continue
        top, bottom = max(_ceil(min(y0, y1, y2)), 0), min(_floor(max(y0, y1, y2)), size - 1)
        if top > bottom:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not (area > zero or area < zero):
            continue
        # no weighted mean exceeds it, rounding included
        ceiling = max(z0, z1, z2) + np.float32(1e-6) * max(abs(z0), abs(z1), abs(z2))
        sign = np.float32(1) if area > zero else np.float32(-1)
        for row in range(top, bottom + 1):
            r = np.float32(row)
            v0, v1, v2 = y0 - r, y1 - r, y2 - r
            for column in range(left, right + 1):
                if ceiling <= nearest[row, column]:
                    continue
                c = np.float32(column)
                u0, u1, u2 = x0 - c, x1 - c, x2 - c
                a = (u1 * v2 - u2 * v1) * sign
                b = (u2 * v0 - u0 * v2) * sign
                d = (u0 * v1 - u1 * v0) * sign
                if a < zero or b < zero or d < zero:
                    continue
                total = a + b + d
                a, b, d = a / total, b / total, d / total
                depth = a * z0 + b * z1 + d * z2
                if depth > nearest[row, column]:
                    nearest[row, column] = depth
                    face[row, column] = f
                    barycentric[row, column, 0] = a
                    barycentric[row, column, 1] = b
                    barycentric[row, column, 2] = d
    return face, barycentric


@numba.njit(cache=True, nogil=True)
def normal_colours(face, barycentric, faces, normals):
    """(H, W) i64, (H, W, 3) f32, (F, 3) i64, (V, 3) f32 -> (H, W, 3) u8: n / 2 + 1/2, white where `face` is -1."""
    height, width = face.shape
    image = np.full((height, width, 3), 255, np.uint8)
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            f = face[row, column]
            if f < 0:
                continue
            a, b, c = barycentric[row, column, 0], barycentric[row, column, 1], barycentric[row, column, 2]
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            for axis in range(3):
                normal = normals[i, axis] * a + normals[j, axis] * b + normals[k, axis] * c
                colour = min(max(normal * half + half, np.float32(0)), np.float32(1))
                image[row, column, axis] = np.uint8(np.rint(colour * np.float32(255)))
    return image
