"""A bounding volume tree over triangles: built once, refitted as they move, asked for closest points and near pairs.

Triangles carry a bit mask (which bones they belong to) and queries an allowed mask; only triangles that share a bit
count. Bits from `OCTANT` on are set here: the octant that a triangle's normal lies in.
"""

from __future__ import annotations

import numba as nb
import numpy as np

LEAF = 4  # triangles a leaf
STACK = 96
OCTANT = 32  # first of the eight octant bits
ALL_OCTANTS = 255 << OCTANT


@nb.njit(cache=True)
def build_tree(centroids):
    """Median splits along the longest axis. Returns (order of triangles, first child per node or 0 for a leaf, span (N,
    2)); children are neighbours and come after their parent."""
    count = len(centroids)
    order = np.arange(count)
    room = 4 * (count // LEAF + 1) + 8
    child = np.zeros(room, np.int64)
    span = np.zeros((room, 2), np.int64)
    span[0, 1] = count
    nodes = 1
    node = 0
    while node < nodes:
        low, high = span[node]
        if high - low > LEAF:
            part = order[low:high]
            best, axis = -1.0, 0
            for c in range(3):
                least, most = np.inf, -np.inf
                for t in part:
                    least = min(least, centroids[t, c])
                    most = max(most, centroids[t, c])
                if most - least > best:
                    best, axis = most - least, c
            keys = np.empty(len(part))
            for k in range(len(part)):
                keys[k] = centroids[part[k], axis]
            order[low:high] = part[np.argsort(keys, kind="mergesort")]
            middle = (low + high) // 2
            child[node] = nodes
            span[nodes] = (low, middle)
            span[nodes + 1] = (middle, high)
            nodes += 2
        node += 1
    return order, child[:nodes].copy(), span[:nodes].copy()


@nb.njit(cache=True, fastmath=True, inline="always")
def normal_of(v, a, b, c):
    """Normal of a triangle, as long as twice its area."""
    ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
    wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
    return uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx


@nb.njit(cache=True, fastmath=True)
def refit(order, child, span, vertices, faces, masks, boxes, node_masks):
    """Boxes (N, 6) and the union of masks of every node, for the triangles where they are now."""
    for node in range(len(child) - 1, -1, -1):
        if child[node] > 0:
            a, b = child[node], child[node] + 1
            for c in range(3):
                boxes[node, c] = min(boxes[a, c], boxes[b, c])
                boxes[node, 3 + c] = max(boxes[a, 3 + c], boxes[b, 3 + c])
            node_masks[node] = node_masks[a] | node_masks[b]
        else:
            for c in range(3):
                boxes[node, c] = 1e30
                boxes[node, 3 + c] = -1e30
            union = np.int64(0)
            for k in range(span[node, 0], span[node, 1]):
                t = order[k]
                nx, ny, nz = normal_of(vertices, faces[t, 0], faces[t, 1], faces[t, 2])
                octant = np.int64(nx > 0) + 2 * np.int64(ny > 0) + 4 * np.int64(nz > 0)
                masks[t] = (masks[t] & ~ALL_OCTANTS) | (np.int64(1) << (OCTANT + octant))
                union |= masks[t]
                for corner in range(3):
                    v = faces[t, corner]
                    for c in range(3):
                        boxes[node, c] = min(boxes[node, c], vertices[v, c])
                        boxes[node, 3 + c] = max(boxes[node, 3 + c], vertices[v, c])
            node_masks[node] = union


@nb.njit(cache=True, fastmath=True)
def octants_against(x, y, z, turned):
    """Bits of the octants that hold a direction whose cosine with the unit vector (x, y, z) is at most `turned`
    (negative)."""
    bits = np.int64(0)
    for octant in range(8):
        against = 0.0
        if (x > 0) != (octant % 2 == 1):
            against += x * x
        if (y > 0) != (octant // 2 % 2 == 1):
            against += y * y
        if (z > 0) != (octant // 4 == 1):
            against += z * z
        if against >= turned * turned:
            bits |= np.int64(1) << (OCTANT + octant)
    return bits


@nb.njit(cache=True, fastmath=True, inline="always")
def box_distance(boxes, node, x, y, z):
    """Squared distance of a point to a node's box."""
    dx = max(boxes[node, 0] - x, 0.0, x - boxes[node, 3])
    dy = max(boxes[node, 1] - y, 0.0, y - boxes[node, 4])
    dz = max(boxes[node, 2] - z, 0.0, z - boxes[node, 5])
    return dx * dx + dy * dy + dz * dz


@nb.njit(cache=True, fastmath=True)
def barycentric(v, a, b, c, x, y, z):
    """Weights of the point of triangle (a, b, c) closest to (x, y, z) (Ericson, Real-Time Collision Detection,
    5.1.5)."""
    ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
    wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
    px, py, pz = x - v[a, 0], y - v[a, 1], z - v[a, 2]
    d1 = ux * px + uy * py + uz * pz
    d2 = wx * px + wy * py + wz * pz
    if d1 <= 0 and d2 <= 0:
        return 1.0, 0.0, 0.0
    uu = ux * ux + uy * uy + uz * uz
    uw = ux * wx + uy * wy + uz * wz
    ww = wx * wx + wy * wy + wz * wz
    d3, d4 = d1 - uu, d2 - uw
    if d3 >= 0 and d4 <= d3:
        return 0.0, 1.0, 0.0
    d5, d6 = d1 - uw, d2 - ww
    if d6 >= 0 and d5 <= d6:
        return 0.0, 0.0, 1.0
    vc = d1 * d4 - d3 * d2
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        t = d1 / (d1 - d3)
        return 1 - t, t, 0.0
    vb = d5 * d2 - d1 * d6
    if vb <= 0 and d2 >= 0 and d6 <= 0:
        t = d2 / (d2 - d6)
        return 1 - t, 0.0, t
    va = d3 * d6 - d5 * d4
    if va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        t = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 0.0, 1 - t, t
    total = va + vb + vc
    if total <= 1e-30:
        return 1.0, 0.0, 0.0
    return va / total, vb / total, vc / total


@nb.njit(cache=True, fastmath=True, inline="always")
def squared_distance(v, a, b, c, wa, wb, wc, x, y, z):
    """Squared distance between (x, y, z) and a point of a triangle given by its weights."""
    dx = wa * v[a, 0] + wb * v[b, 0] + wc * v[c, 0] - x
    dy = wa * v[a, 1] + wb * v[b, 1] + wc * v[c, 1] - y
    dz = wa * v[a, 2] + wb * v[b, 2] + wc * v[c, 2] - z
    return dx * dx + dy * dy + dz * dz


@nb.njit(cache=True, fastmath=True, inline="always")
def turns(v, face, facing, i, turned):
    """Whether the cosine between a triangle's normal and direction i is at most `turned`."""
    if turned > 1:
        return True
    nx, ny, nz = normal_of(v, face[0], face[1], face[2])
    along = nx * facing[i, 0] + ny * facing[i, 1] + nz * facing[i, 2]
    return along <= turned * (nx * nx + ny * ny + nz * nz) ** 0.5


@nb.njit(cache=True, fastmath=True, nogil=True)
def closest(
    points, allowed, limit, facing, turned, order, child, span, boxes, node_masks, vertices, faces, masks, found
):
    """Closest allowed triangle within `limit` of every point, or -1. `found` comes in as a guess and goes out as the
    answer. The cosine between a triangle's normal and the point's unit vector `facing` must not exceed `turned` (over 1
    = any)."""
    stack = np.empty(STACK, np.int64)
    gaps = np.empty(STACK)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        octants = ALL_OCTANTS
        if turned <= 1:
            octants = octants_against(facing[i, 0], facing[i, 1], facing[i, 2], turned)
        best = limit * limit
        answer = -1
        guess = found[i]
        if guess >= 0 and (masks[guess] & allowed[i]) != 0 and turns(vertices, faces[guess], facing, i, turned):
            a, b, c = faces[guess, 0], faces[guess, 1], faces[guess, 2]
            wa, wb, wc = barycentric(vertices, a, b, c, x, y, z)
            d = squared_distance(vertices, a, b, c, wa, wb, wc, x, y, z)
            if d < best:
                best, answer = d, guess
        stack[0], gaps[0] = 0, 0.0
        top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            if gaps[top] >= best:
                continue
            if child[node] > 0:
                first, second = child[node], child[node] + 1
                near, far = box_distance(boxes, first, x, y, z), box_distance(boxes, second, x, y, z)
                if near > far:
                    first, second, near, far = second, first, far, near
                if far < best and (node_masks[second] & allowed[i]) != 0 and (node_masks[second] & octants) != 0:
                    stack[top], gaps[top] = second, far
                    top += 1
                if near < best and (node_masks[first] & allowed[i]) != 0 and (node_masks[first] & octants) != 0:
                    stack[top], gaps[top] = first, near
                    top += 1
                continue
            for k in range(span[node, 0], span[node, 1]):
                t = order[k]
                if (masks[t] & allowed[i]) == 0 or (masks[t] & octants) == 0:
                    continue
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                wa, wb, wc = barycentric(vertices, a, b, c, x, y, z)
                d = squared_distance(vertices, a, b, c, wa, wb, wc, x, y, z)
                if d < best and turns(vertices, faces[t], facing, i, turned):
                    best, answer = d, t
        found[i] = answer


@nb.njit(cache=True, fastmath=True)
def near_pairs(radius, order, child, span, boxes, vertices, faces, ring_start, ring, pairs, room):
    """(vertex, triangle) pairs of one sheet closer than the vertex's `radius`, but for triangles that touch the
    vertex's ring (CSR). Fills `pairs` and returns how many there are (which may exceed the room)."""
    stack = np.empty(STACK, np.int64)
    count = 0
    for i in range(len(vertices)):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        reach = radius[i] * radius[i]
        stack[0] = 0
        top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            if box_distance(boxes, node, x, y, z) >= reach:
                continue
            if child[node] > 0:
                stack[top] = child[node] + 1
                stack[top + 1] = child[node]
                top += 2
                continue
            for k in range(span[node, 0], span[node, 1]):
                t = order[k]
                near = False
                for m in range(ring_start[i], ring_start[i + 1]):
                    v = ring[m]
                    near = near or v == faces[t, 0] or v == faces[t, 1] or v == faces[t, 2]
                if near:
                    continue
                a, b, c = faces[t]
                wa, wb, wc = barycentric(vertices, a, b, c, x, y, z)
                if squared_distance(vertices, a, b, c, wa, wb, wc, x, y, z) < reach:
                    if count < room:
                        pairs[count, 0] = i
                        pairs[count, 1] = t
                    count += 1
    return count


@nb.njit(cache=True, fastmath=True, inline="always")
def orientation(v, a, b, c, p, w):
    """Six times the signed volume of tetrahedron (a, b, c; p), a, b, c of `v`, p of `w`."""
    ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
    vx, vy, vz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return (w[p, 0] - v[a, 0]) * nx + (w[p, 1] - v[a, 1]) * ny + (w[p, 2] - v[a, 2]) * nz


@nb.njit(cache=True, fastmath=True)
def segment_hits(v, a, b, c, w, p, q):
    """Whether segment (p, q) of `w` passes through triangle (a, b, c) of `v`."""
    hp = orientation(v, a, b, c, p, w)
    hq = orientation(v, a, b, c, q, w)
    if hp * hq >= 0:
        return False
    s = hp / (hp - hq)
    x = w[p, 0] + s * (w[q, 0] - w[p, 0])
    y = w[p, 1] + s * (w[q, 1] - w[p, 1])
    z = w[p, 2] + s * (w[q, 2] - w[p, 2])
    wa, wb, wc = barycentric(v, a, b, c, x, y, z)
    return wa > 1e-6 and wb > 1e-6 and wc > 1e-6


@nb.njit(cache=True, fastmath=True)
def crossings(points, ends, same, order, child, span, boxes, vertices, faces, by_edge, by_triangle):
    """Marks edges of one mesh that pass through triangles of another (or, `same`, of itself, neighbours left out), and
    those triangles. Returns the number of such pairs."""
    stack = np.empty(STACK, np.int64)
    count = 0
    for k in range(len(ends)):
        p, q = ends[k, 0], ends[k, 1]
        low0, high0 = min(points[p, 0], points[q, 0]), max(points[p, 0], points[q, 0])
        low1, high1 = min(points[p, 1], points[q, 1]), max(points[p, 1], points[q, 1])
        low2, high2 = min(points[p, 2], points[q, 2]), max(points[p, 2], points[q, 2])
        stack[0] = 0
        top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            if (
                boxes[node, 0] > high0 or boxes[node, 3] < low0 or boxes[node, 1] > high1
                or boxes[node, 4] < low1 or boxes[node, 2] > high2 or boxes[node, 5] < low2
            ):  # fmt: skip
                continue
            if child[node] > 0:
                stack[top] = child[node] + 1
                stack[top + 1] = child[node]
                top += 2
                continue
            for m in range(span[node, 0], span[node, 1]):
                t = order[m]
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                if same and (p in (a, b, c) or q in (a, b, c)):
                    continue
                if segment_hits(vertices, a, b, c, points, p, q):
                    by_edge[k] = True
                    by_triangle[t] = True
                    count += 1
    return count
