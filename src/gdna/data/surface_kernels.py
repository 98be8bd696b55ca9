"""Fused twins of the sums over a surface's triangles in `surface`: the same float64 operations in the same order."""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def area_vectors(vertices, faces):  # (V, 3) f64, (F, 3) i64 -> (F, 3) f64
    """Normals of the faces, as long as twice their areas."""
    vectors = np.empty((len(faces), 3))
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        x, y, z = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        u, v, w = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        vectors[f, 0], vectors[f, 1], vectors[f, 2] = y * w - z * v, z * u - x * w, x * v - y * u
    return vectors


@numba.njit(cache=True, nogil=True)
def drawn(vertices, faces, vectors, place, u, v):  # place (N) in [0, 1) of the area, u, v (N) -> points, unit normals
    double_area, total, area = np.empty(len(faces)), np.empty(len(faces)), 0.0
    for f in range(len(faces)):
        x, y, z = vectors[f]
        double_area[f] = math.sqrt(x * x + y * y + z * z)
        area += double_area[f]
        total[f] = area
    points, normals = np.empty((len(place), 3)), np.empty((len(place), 3))
    first = _first_faces(total, len(faces))
    for i in range(len(place)):
        at = place[i] * area
        f = first[min(int(place[i] * len(faces)), len(faces) - 1)]
        while f > 0 and total[f - 1] > at:  # where rounding put the beginning of the interval too far
            f -= 1
        while f < len(faces) - 1 and total[f] <= at:
            f += 1
        s, t = (1 - u[i], 1 - v[i]) if u[i] + v[i] > 1 else (u[i], v[i])
        length = max(double_area[f], 1e-30)
        for axis in range(3):
            a = vertices[faces[f, 0], axis]
            points[i, axis] = a + s * (vertices[faces[f, 1], axis] - a) + t * (vertices[faces[f, 2], axis] - a)
            normals[i, axis] = vectors[f, axis] / length
    return points, normals


@numba.njit(cache=True, nogil=True)
def _first_faces(total, count):
    """The face that lies at the beginning of each of `count` equal intervals of the area."""
    first, f = np.empty(count, np.int64), 0
    for k in range(count):
        while f < len(total) - 1 and total[f] <= k / count * total[-1]:
            f += 1
        first[k] = f
    return first


@numba.njit(cache=True, nogil=True)
def summed_at_vertices(vectors, faces, num_vertices):  # (F, 3) f64, (F, 3) i64 -> (V, 3) f64
    total = np.zeros((num_vertices, 3))
    for f in range(len(faces)):
        for corner in range(3):
            for axis in range(3):
                total[faces[f, corner], axis] += vectors[f, axis]
    return total


@numba.njit(cache=True, nogil=True)
def volumes_and_areas(vertices, faces, ends):  # (V, 3) f64, (F, 3) i64, (S) i64 -> (S) f64, (S) f64
    """Signed volumes about the mean corner, and areas. Part s has the faces up to `ends[s]`."""
    volumes, areas = np.zeros(len(ends)), np.zeros(len(ends))
    vectors, centre, start = area_vectors(vertices, faces), np.empty(3), 0
    for part, end in enumerate(ends):
        centre[:] = 0
        for f in range(start, end):
            for axis in range(3):
                total = vertices[faces[f, 0], axis] + vertices[faces[f, 1], axis] + vertices[faces[f, 2], axis]
                centre[axis] += total / (3 * (end - start))
        for f in range(start, end):
            x, y, z = vectors[f, 0], vectors[f, 1], vectors[f, 2]
            a = vertices[faces[f, 0]]
            volumes[part] += ((a[0] - centre[0]) * x + (a[1] - centre[1]) * y + (a[2] - centre[2]) * z) / 6
            areas[part] += 0.5 * math.sqrt(x * x + y * y + z * z)
        start = end
    return volumes, areas
