"""Walks over a tree of triangles: what is nearest to a point, and how often a surface winds around it.

Node i has the children 2 i + 1 and 2 i + 2; the last level are leaves of up to `leaf` triangles each, in order.
"""

from __future__ import annotations

import math

import numba
import numpy as np

STACK = 128  # more than two nodes a level of any tree


@numba.njit(cache=True, nogil=True)
def nearest(corners, low, high, leaf, points):
    """(F, 3, 3), (N, 3), (N, 3), int, (P, 3) f64 -> squared distance (P), triangle (P), point on it (P, 3)."""
    squared, found, closest = np.empty(len(points)), np.empty(len(points), np.int64), np.empty((len(points), 3))
    stack, reach = np.empty(STACK, np.int64), np.empty(STACK)
    leaves = (len(low) + 1) // 2
    for i in range(len(points)):
        p, best = points[i], np.inf
        top, stack[0], reach[0] = 0, 0, 0.0
        while top >= 0:
            node, away = stack[top], reach[top]
            top -= 1
            if away >= best:
                continue
            if node >= leaves - 1:
                first = (node - leaves + 1) * leaf
                for f in range(first, min(first + leaf, len(corners))):
                    away, x, y, z = _on_triangle(corners[f], p)
                    if away < best:
                        best, found[i] = away, f
                        closest[i, 0], closest[i, 1], closest[i, 2] = x, y, z
                continue
            left = 2 * node + 1
            to_left, to_right = _to_box(low[left], high[left], p), _to_box(low[left + 1], high[left + 1], p)
            nearer, further = (left, left + 1) if to_left <= to_right else (left + 1, left)
            stack[top + 1], reach[top + 1] = further, max(to_left, to_right)
            stack[top + 2], reach[top + 2] = nearer, min(to_left, to_right)
            top += 2
        squared[i] = best
    return squared, found, closest


@numba.njit(cache=True, nogil=True)
def winding(corners, centre, area, radius, leaf, beta, points):
    """(F, 3, 3), (N, 3), (N, 3), (N), int, float, (P, 3) f64 -> winding numbers (P). A node further than `beta` times
    its radius counts as its vector area in its centre."""
    result, stack = np.zeros(len(points)), np.empty(STACK, np.int64)
    leaves = (len(radius) + 1) // 2
    for i in range(len(points)):
        p, total = points[i], 0.0
        top, stack[0] = 0, 0
        while top >= 0:
            node = stack[top]
            top -= 1
            x, y, z = centre[node, 0] - p[0], centre[node, 1] - p[1], centre[node, 2] - p[2]
            squared = x * x + y * y + z * z
            if squared > (beta * radius[node]) ** 2:
                if squared > 0:  # an empty leaf has no area
                    along = x * area[node, 0] + y * area[node, 1] + z * area[node, 2]
                    total += along / (squared * math.sqrt(squared))
            elif node >= leaves - 1:
                first = (node - leaves + 1) * leaf
                for f in range(first, min(first + leaf, len(corners))):
                    total += _solid_angle(corners[f], p)
            else:
                stack[top + 1], stack[top + 2] = 2 * node + 1, 2 * node + 2
                top += 2
        result[i] = total / (4 * math.pi)
    return result


@numba.njit(cache=True, nogil=True)
def _to_box(low, high, p):
    """Squared distance; infinite for the box of nothing."""
    total = 0.0
    for axis in range(3):
        outside = max(low[axis] - p[axis], p[axis] - high[axis], 0.0)
        total += outside * outside
    return total


@numba.njit(cache=True, nogil=True)
def _solid_angle(t, p):
    """Of a triangle seen from a point (van Oosterom and Strackee 1983); positive from behind."""
    ax, ay, az = t[0, 0] - p[0], t[0, 1] - p[1], t[0, 2] - p[2]
    bx, by, bz = t[1, 0] - p[0], t[1, 1] - p[1], t[1, 2] - p[2]
    cx, cy, cz = t[2, 0] - p[0], t[2, 1] - p[1], t[2, 2] - p[2]
    a, b = math.sqrt(ax * ax + ay * ay + az * az), math.sqrt(bx * bx + by * by + bz * bz)
    c = math.sqrt(cx * cx + cy * cy + cz * cz)
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    below = a * b * c + (ax * bx + ay * by + az * bz) * c
    below += (bx * cx + by * cy + bz * cz) * a + (ax * cx + ay * cy + az * cz) * b
    return 2 * math.atan2(volume, below)


@numba.njit(cache=True, nogil=True)
def _on_triangle(t, p):
    """Squared distance to a triangle, and the nearest point, by the region of its plane that the point is above: a
    corner's, an edge's, or its own (after Ericson, Real-Time Collision Detection, 5.1.5)."""
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    px, py, pz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    d1, d2 = abx * px + aby * py + abz * pz, acx * px + acy * py + acz * pz
    qx, qy, qz = p[0] - t[1, 0], p[1] - t[1, 1], p[2] - t[1, 2]
    d3, d4 = abx * qx + aby * qy + abz * qz, acx * qx + acy * qy + acz * qz
    rx, ry, rz = p[0] - t[2, 0], p[1] - t[2, 1], p[2] - t[2, 2]
    d5, d6 = abx * rx + aby * ry + abz * rz, acx * rx + acy * ry + acz * rz
    to_c, to_b, to_a = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    if d1 <= 0 and d2 <= 0:
        v, w = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif to_c <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / max(d1 - d3, 1e-300), 0.0
    elif to_b <= 0 and d2 >= 0 and d6 <= 0:
        v, w = 0.0, d2 / max(d2 - d6, 1e-300)
    elif to_a <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / max((d4 - d3) + (d5 - d6), 1e-300)
        v = 1 - w
    else:
        all_parts = to_a + to_b + to_c
        v, w = to_b / all_parts, to_c / all_parts
    x, y, z = v * abx + w * acx, v * aby + w * acy, v * abz + w * acz
    away = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
    return away, t[0, 0] + x, t[0, 1] + y, t[0, 2] + z
