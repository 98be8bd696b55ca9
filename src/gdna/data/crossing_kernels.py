"""Which points closed surfaces enclose, by counting where the ray from a point along +z meets them.

A point belongs to a triangle, looked at along z, if the triangle's outline winds around it. Each edge is asked from its
lower to its upper end, whichever triangle asks, so that two triangles that share it agree to the last bit and every
ray through an edge or a corner is counted once.
"""

from __future__ import annotations

import math

import numba
import numpy as np

MAX_CELLS = 2**22  # a mesh of another size than a person's gets larger ones


@numba.njit(cache=True, nogil=True)
def enclosed(vertices, faces, ends, points, cell):  # (V, 3) f64, (F, 3) i64, (S) i64, (N, 3) f64, metres -> (N) bool
    """Whether any solid's triangles are crossed more often one way than the other. Solid s has the faces up to
    `ends[s]`."""
    low, high = vertices[faces[0, 0], :2].copy(), vertices[faces[0, 0], :2].copy()
    for f in range(len(faces)):
        for corner in range(3):
            for axis in range(2):
                value = vertices[faces[f, corner], axis]
                low[axis], high[axis] = min(low[axis], value), max(high[axis], value)
    width, height = high[0] - low[0], high[1] - low[1]
    cell = max(cell, math.sqrt(width * height / MAX_CELLS), (width + height) / MAX_CELLS)
    columns, rows = int(width / cell) + 1, int(height / cell) + 1
    order, begin = _sorted_into_cells(points, low, high, cell, columns, rows)
    sorted_points = points[order]
    crossings = np.zeros(len(order), np.int32)
    found = np.zeros(len(points), np.bool_)
    start = 0
    for end in ends:
        left, right, bottom, top = columns, -1, rows, -1
        for f in range(start, end):
            a, b, c, way = _by_height(vertices, faces[f])
            x_least, x_most, z_most = min(a[0], b[0], c[0]), max(a[0], b[0], c[0]), max(a[2], b[2], c[2])
            first, last = int((x_least - low[0]) / cell), int((x_most - low[0]) / cell)
            lowest, highest = int((a[1] - low[1]) / cell), int((c[1] - low[1]) / cell)
            left, right, bottom, top = min(left, first), max(right, last), min(bottom, lowest), max(top, highest)
            for row in range(lowest, highest + 1):
                for i in range(begin[row * columns + first], begin[row * columns + last + 1]):
                    x, y, z = sorted_points[i, 0], sorted_points[i, 1], sorted_points[i, 2]
                    if z < z_most and x_least <= x <= x_most:  # most others leave here
                        crossings[i] += way * _crossing(a, b, c, x, y, z)
        for row in range(bottom, top + 1):  # those that this solid has touched
            for i in range(begin[row * columns + left], begin[row * columns + right + 1]):
                if crossings[i] != 0:
                    found[order[i]] = True
                    crossings[i] = 0
        start = end
    return found


@numba.njit(cache=True, nogil=True)
def _sorted_into_cells(points, low, high, cell, columns, rows):
    """Numbers of the points within [low, high], cell by cell and row by row, and where in them each cell begins."""
    place = np.full(len(points), -1, np.int64)
    begin = np.zeros(rows * columns + 1, np.int64)
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if low[0] <= x <= high[0] and low[1] <= y <= high[1]:
            place[i] = int((y - low[1]) / cell) * columns + int((x - low[0]) / cell)
            begin[place[i] + 1] += 1
    for k in range(rows * columns):
        begin[k + 1] += begin[k]
    order = np.empty(begin[-1], np.int64)
    free = begin.copy()
    for i in range(len(points)):
        if place[i] >= 0:
            order[free[place[i]]] = i
            free[place[i]] += 1
    return order, begin


@numba.njit(cache=True, nogil=True)
def _by_height(vertices, face):
    """Coordinates of a triangle's corners from the lowest y to the highest, and +1, or -1 where that turns it round."""
    a, b, c, way = face[0], face[1], face[2], 1
    if vertices[b, 1] < vertices[a, 1]:
        a, b, way = b, a, -way
    if vertices[c, 1] < vertices[b, 1]:
        b, c, way = c, b, -way
        if vertices[b, 1] < vertices[a, 1]:
            a, b, way = b, a, -way
    lowest = (vertices[a, 0], vertices[a, 1], vertices[a, 2])
    middle = (vertices[b, 0], vertices[b, 1], vertices[b, 2])
    return lowest, middle, (vertices[c, 0], vertices[c, 1], vertices[c, 2]), way


@numba.njit(cache=True, nogil=True)
def _crossing(lowest, middle, highest, x, y, z):
    """+1 or -1 where the ray from the point along +z crosses the triangle, by its way round, else 0."""
    if y < lowest[1] or y >= highest[1]:
        return 0
    lower, upper = (lowest, middle) if y < middle[1] else (middle, highest)
    before = _is_left(lowest, highest, x, y)
    if before == _is_left(lower, upper, x, y) or not _is_above(lowest, highest, lower, upper, x, y, z):
        return 0
    return 1 if before else -1


@numba.njit(cache=True, nogil=True)
def _is_left(lower, upper, x, y):
    """Whether x is less than the edge's at y; lower y <= y < upper y."""
    if x < lower[0] and x < upper[0]:
        return True
    if x >= lower[0] and x >= upper[0]:
        return False
    return (upper[0] - lower[0]) * (y - lower[1]) > (upper[1] - lower[1]) * (x - lower[0])


@numba.njit(cache=True, nogil=True)
def _is_above(lowest, highest, lower, upper, x, y, z):
    """Whether the triangle lies at a larger z than the point: between the two edges that cross y."""
    s = (y - lowest[1]) / (highest[1] - lowest[1])
    t = (y - lower[1]) / (upper[1] - lower[1])
    z_long, z_short = lowest[2] + s * (highest[2] - lowest[2]), lower[2] + t * (upper[2] - lower[2])
    if z < z_long and z < z_short:
        return True
    if z >= z_long and z >= z_short:
        return False
    x_long, x_short = lowest[0] + s * (highest[0] - lowest[0]), lower[0] + t * (upper[0] - lower[0])
    if x_long == x_short:  # a triangle seen from its edge: the point lies on it
        return False
    return z_long + (x - x_long) / (x_short - x_long) * (z_short - z_long) > z
