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
    """(F, 3, 3), (N, 3), (N, 3), int, (P, 3) f64 -> squared distance (P), triangle (P), point on it (P, 3). The
    triangle that was nearest to the point before is asked first, so points shall be given in a good order."""
    squared, found, closest = np.empty(len(points)), np.empty(len(points), np.int64), np.empty((len(points), 3))
    stack, reach = np.empty(STACK, np.int64), np.empty(STACK)
    leaves = (len(low) + 1) // 2
    for i in range(len(points)):
        p, before = points[i], found[i - 1] if i > 0 else 0
        best, closest[i, 0], closest[i, 1], closest[i, 2] = _on_triangle(corners[before], p)
        found[i] = before
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
    """Squared distance to a triangle, and the nearest point: of its plane where the point is above the triangle, else
    of its nearest edge. A triangle without area has its edges."""
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    px, py, pz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    pu, pv = px * ux + py * uy + pz * uz, px * vx + py * vy + pz * vz
    area = uu * vv - uv * uv
    second, third = vv * pu - uv * pv, uu * pv - uv * pu
    if area > 0 and second >= 0 and third >= 0 and second + third <= area:
        v, w = second / area, third / area
        x, y, z = v * ux + w * vx, v * uy + w * vy, v * uz + w * vz
        away = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
        return away, t[0, 0] + x, t[0, 1] + y, t[0, 2] + z
    best = _on_edge(t[0], t[1], p)
    for other in (_on_edge(t[1], t[2], p), _on_edge(t[2], t[0], p)):
        if other[0] < best[0]:
            best = other
    return best


@numba.njit(cache=True, nogil=True)
def _on_edge(a, b, p):
    """As `_on_triangle`, of a segment."""
    x, y, z = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    along = x * (p[0] - a[0]) + y * (p[1] - a[1]) + z * (p[2] - a[2])
    share = min(max(along / max(x * x + y * y + z * z, 1e-300), 0.0), 1.0)
    x, y, z = a[0] + share * x, a[1] + share * y, a[2] + share * z
    return (p[0] - x) ** 2 + (p[1] - y) ** 2 + (p[2] - z) ** 2, x, y, z
