"""Constraint and contact projections of the cloth engine; plain arrays, changed in place.

Extended position-based dynamics with one Gauss-Seidel sweep a substep (Macklin et al. 2016, 2019): a constraint C of
compliance a moves its points by -C / (sum w |grad C|^2 + a / h^2) w grad C. `compliance` here is a / h^2.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from gdna.synthesize.tree_kernels import barycentric, normal_of, squared_distance


@nb.njit(cache=True, fastmath=True)
def stretch(x, carried, inverse_mass, ends, rest, compliance, longest, viscosity, reverse):
    """Keeps distances at `rest`; beyond `longest` times that they are held rigidly. `viscosity` resists changes of
    length since `carried` (XPBD's damping): without it stiff cloth rings."""
    count = len(ends)
    for step in range(count):
        k = count - 1 - step if reverse else step
        i, j = ends[k, 0], ends[k, 1]
        wi, wj = inverse_mass[i], inverse_mass[j]
        if wi + wj == 0:
            continue
        dx, dy, dz = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        if length < 1e-9:
            continue
        change = dx * (x[i, 0] - carried[i, 0] - x[j, 0] + carried[j, 0])
        change += dy * (x[i, 1] - carried[i, 1] - x[j, 1] + carried[j, 1])
        change += dz * (x[i, 2] - carried[i, 2] - x[j, 2] + carried[j, 2])
        s = -(length - rest[k] + viscosity * change / length)
        s /= ((1 + viscosity) * (wi + wj) + compliance) * length
        if length > longest * rest[k]:
            s = min(s, -(length - longest * rest[k]) / ((wi + wj) * length))
        x[i, 0] += wi * s * dx
        x[i, 1] += wi * s * dy
        x[i, 2] += wi * s * dz
        x[j, 0] -= wj * s * dx
        x[j, 1] -= wj * s * dy
        x[j, 2] -= wj * s * dz


@nb.njit(cache=True, fastmath=True)
def bend(x, inverse_mass, triples, share, rest, sharpest, compliance, reverse):
    """Draws the middle of three points in line towards the chord of its neighbours once it is `rest` away from it;
    beyond `sharpest` it is drawn rigidly (a limit of the fold's angle)."""
    count = len(triples)
    for step in range(count):
        k = count - 1 - step if reverse else step
        i, m, j = triples[k, 0], triples[k, 1], triples[k, 2]
        a = share[k]
        b = 1 - a
        dx = a * x[i, 0] + b * x[j, 0] - x[m, 0]
        dy = a * x[i, 1] + b * x[j, 1] - x[m, 1]
        dz = a * x[i, 2] + b * x[j, 2] - x[m, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        if length <= rest[k] or length < 1e-9:
            continue
        weight = a * a * inverse_mass[i] + b * b * inverse_mass[j] + inverse_mass[m]
        if weight == 0:
            continue
        s = -(length - rest[k]) / ((weight + compliance[k]) * length)
        if length > sharpest[k]:
            s = min(s, -(length - sharpest[k]) / (weight * length))
        wi, wj, wm = a * inverse_mass[i] * s, b * inverse_mass[j] * s, inverse_mass[m] * s
        x[i, 0] += wi * dx
        x[i, 1] += wi * dy
        x[i, 2] += wi * dz
        x[j, 0] += wj * dx
        x[j, 1] += wj * dy
        x[j, 2] += wj * dz
        x[m, 0] -= wm * dx
        x[m, 1] -= wm * dy
        x[m, 2] -= wm * dz


@nb.njit(cache=True, fastmath=True)
def height_over(x, y, z, vertices, normals, a, b, c, rounding):
    """Signed height over a triangle's surface, rounded where it is convex (Phong tessellation, Boubekeur and Alexa
    2008; `rounding` 0 = flat), the unit normal there and the weights of the closest point."""
    wa, wb, wc = barycentric(vertices, a, b, c, x, y, z)
    nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
    ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
    nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
    size = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    nx, ny, nz = nx / size, ny / size, nz / size
    px = wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0]
    py = wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1]
    pz = wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2]
    bulge = 0.0
    for v, w in ((a, wa), (b, wb), (c, wc)):
        lift = (vertices[v, 0] - px) * normals[v, 0]
        lift += (vertices[v, 1] - py) * normals[v, 1]
        lift += (vertices[v, 2] - pz) * normals[v, 2]
        bulge += w * lift * (normals[v, 0] * nx + normals[v, 1] * ny + normals[v, 2] * nz)
    return (x - px) * nx + (y - py) * ny + (z - pz) * nz - rounding * max(bulge, 0.0), nx, ny, nz, wa, wb, wc


@nb.njit(cache=True, fastmath=True)
def contact_normals(points, triangle, faces, vertices, normals, found):
    """The surface's unit normal at the point closest to each point; untouched where there is no triangle."""
    for i in range(len(points)):
        t = triangle[i]
        if t >= 0:
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            _, nx, ny, nz, _, _, _ = height_over(
                points[i, 0], points[i, 1], points[i, 2], vertices, normals, a, b, c, 0.0
            )
            found[i, 0], found[i, 1], found[i, 2] = nx, ny, nz


@nb.njit(cache=True, fastmath=True)
def share_gaps(
    points, own, facing, faces, vertices, normals, thickness, apart, deepest, rounding, own_clearance, facing_clearance
):
    """Clearances that each vertex keeps from the two surfaces it lies between: `thickness`, or what is left of half the
    room there is (negative where the body passes through itself), such that the sheets on either surface stay `apart`.
    Drops facing surfaces that lie behind."""
    for i in range(len(points)):
        own_clearance[i] = thickness
        facing_clearance[i] = thickness + 0.5 * apart
        t, u = own[i], facing[i]
        if u < 0:
            continue
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        other = height_over(x, y, z, vertices, normals, faces[u, 0], faces[u, 1], faces[u, 2], rounding)[0]
        if other < -deepest:
            facing[i] = -1
            continue
        if t >= 0:
            here = height_over(x, y, z, vertices, normals, faces[t, 0], faces[t, 1], faces[t, 2], rounding)[0]
            half = 0.5 * (here + other)
            own_clearance[i] = min(thickness, half - 0.5 * apart)
            facing_clearance[i] = min(thickness, half) + 0.5 * apart


@nb.njit(cache=True, fastmath=True)
def push_out(x, before, carried, triangle, faces, old, new, normals, rim, clearance, friction, deepest, most, rounding):
    """Contact against a moving surface: vertices nearer than `clearance` to their triangle's rounded surface are moved
    along its normal, at most `most` at a time, then held back by friction relative to the surface's own motion `old` ->
    `new`. Ignored deeper than `deepest` and beyond the surface's rim. No velocity comes of it: `carried`, from which
    velocities are taken, moves along."""
    for i in range(len(x)):
        t = triangle[i]
        if t < 0:
            continue
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        height, nx, ny, nz, wa, wb, wc = height_over(x[i, 0], x[i, 1], x[i, 2], new, normals, a, b, c, rounding)
        if height >= clearance[i] or height < -deepest:
            continue
        if (wa * (not rim[a]) + wb * (not rim[b]) + wc * (not rim[c])) < 1e-3:
            continue
        push = min(clearance[i] - height, most)
        x[i, 0] += push * nx
        x[i, 1] += push * ny
        x[i, 2] += push * nz
        leaving = (x[i, 0] - carried[i, 0]) * nx + (x[i, 1] - carried[i, 1]) * ny + (x[i, 2] - carried[i, 2]) * nz
        leaving = min(max(leaving, 0.0), push)
        carried[i, 0] += leaving * nx
        carried[i, 1] += leaving * ny
        carried[i, 2] += leaving * nz
        tx = x[i, 0] - before[i, 0] - wa * (new[a, 0] - old[a, 0]) - wb * (new[b, 0] - old[b, 0])
        ty = x[i, 1] - before[i, 1] - wa * (new[a, 1] - old[a, 1]) - wb * (new[b, 1] - old[b, 1])
        tz = x[i, 2] - before[i, 2] - wa * (new[a, 2] - old[a, 2]) - wb * (new[b, 2] - old[b, 2])
        tx -= wc * (new[c, 0] - old[c, 0])
        ty -= wc * (new[c, 1] - old[c, 1])
        tz -= wc * (new[c, 2] - old[c, 2])
        along = tx * nx + ty * ny + tz * nz
        tx, ty, tz = tx - along * nx, ty - along * ny, tz - along * nz
        slip = math.sqrt(tx * tx + ty * ty + tz * tz)
        if slip > 1e-12:
            hold = min(1.0, friction * push / slip)
            x[i, 0] -= hold * tx
            x[i, 1] -= hold * ty
            x[i, 2] -= hold * tz


@nb.njit(cache=True, fastmath=True)
def lift_over(x, faces, rim, points, normals, triangle, margin, highest):
    """Moves triangles of a sheet outward until `points` under it (with outward `normals`) lie `margin` below it; points
    more than `highest` above it, past its rim or looking elsewhere are not covered by it."""
    for p in range(len(points)):
        t = triangle[p]
        if t < 0:
            continue
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        wa, wb, wc = barycentric(x, a, b, c, points[p, 0], points[p, 1], points[p, 2])
        if (wa * (not rim[a]) + wb * (not rim[b]) + wc * (not rim[c])) < 1e-3:
            continue
        nx, ny, nz = normal_of(x, a, b, c)
        size = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-20
        nx, ny, nz = nx / size, ny / size, nz / size
        if nx * normals[p, 0] + ny * normals[p, 1] + nz * normals[p, 2] < 0.2:
            continue
        height = (points[p, 0] - x[a, 0]) * nx + (points[p, 1] - x[a, 1]) * ny + (points[p, 2] - x[a, 2]) * nz
        if height < -margin or height > highest:
            continue
        lift = (height + margin) / (wa * wa + wb * wb + wc * wc)
        for v, w in ((a, wa), (b, wb), (c, wc)):
            x[v, 0] += w * lift * nx
            x[v, 1] += w * lift * ny
            x[v, 2] += w * lift * nz


@nb.njit(cache=True, fastmath=True)
def rein_in(x, inverse_mass, ends, rest, reverse):
    """Distances may not exceed `rest`."""
    count = len(ends)
    for step in range(count):
        k = count - 1 - step if reverse else step
        i, j = ends[k, 0], ends[k, 1]
        dx, dy, dz = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
        square = dx * dx + dy * dy + dz * dz
        weight = inverse_mass[i] + inverse_mass[j]
        if square <= rest[k] * rest[k] or weight == 0:
            continue
        length = math.sqrt(square)
        s = -(length - rest[k]) / (weight * length)
        x[i, 0] += inverse_mass[i] * s * dx
        x[i, 1] += inverse_mass[i] * s * dy
        x[i, 2] += inverse_mass[i] * s * dz
        x[j, 0] -= inverse_mass[j] * s * dx
        x[j, 1] -= inverse_mass[j] * s * dy
        x[j, 2] -= inverse_mass[j] * s * dz


@nb.njit(cache=True, fastmath=True)
def add_spread(x, starts, columns, values, correction):
    """x += P correction, P a sparse matrix in rows (CSR)."""
    for i in range(len(x)):
        for k in range(starts[i], starts[i + 1]):
            v = values[k]
            j = columns[k]
            x[i, 0] += v * correction[j, 0]
            x[i, 1] += v * correction[j, 1]
            x[i, 2] += v * correction[j, 2]


@nb.njit(cache=True, fastmath=True)
def pair_sides(x, start, faces, pairs, count, strained, distances, side, distance):
    """+1 where a pair's vertex lies on the outer side of its triangle, else -1; and the distance to keep: the smaller
    of the vertex's and the triangle's `distances`, and of 0.7 times what it was in the start pose. Strained cloth is
    let through (side 0): it has been caught on the wrong side."""
    for k in range(count):
        i, t = pairs[k, 0], pairs[k, 1]
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
        vx, vy, vz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        height = (x[i, 0] - x[a, 0]) * nx + (x[i, 1] - x[a, 1]) * ny + (x[i, 2] - x[a, 2]) * nz
        side[k] = 1.0 if height >= 0 else -1.0
        if strained[i] or strained[a] or strained[b] or strained[c]:
            side[k] = 0.0
        px, py, pz = start[i, 0], start[i, 1], start[i, 2]
        wa, wb, wc = barycentric(start, a, b, c, px, py, pz)
        at_start = squared_distance(start, a, b, c, wa, wb, wc, px, py, pz) ** 0.5
        distance[k] = min(distances[i], distances[a], 0.7 * at_start)


@nb.njit(cache=True, fastmath=True)
def part_self(x, before, carried, inverse_mass, faces, pairs, side, distance, count, friction):
    """Keeps each pair's vertex at the pair's distance from its triangle, on the pair's side, if it lies over the
    triangle rather than beside it. Relative motion of touching pairs is damped by the share `friction`; no velocity
    comes of parting."""
    for k in range(count):
        if side[k] == 0:
            continue
        i, t = pairs[k, 0], pairs[k, 1]
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        wa, wb, wc = barycentric(x, a, b, c, x[i, 0], x[i, 1], x[i, 2])
        dx = x[i, 0] - wa * x[a, 0] - wb * x[b, 0] - wc * x[c, 0]
        dy = x[i, 1] - wa * x[a, 1] - wb * x[b, 1] - wc * x[c, 1]
        dz = x[i, 2] - wa * x[a, 2] - wb * x[b, 2] - wc * x[c, 2]
        ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
        vx, vy, vz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        size = math.sqrt(nx * nx + ny * ny + nz * nz)
        if size < 1e-14:
            continue
        s = side[k] / size
        nx, ny, nz = nx * s, ny * s, nz * s
        height = dx * nx + dy * ny + dz * nz
        if height >= distance[k]:
            continue
        if dx * dx + dy * dy + dz * dz > 2 * height * height + 1e-8:
            continue
        weight = inverse_mass[i] + wa * wa * inverse_mass[a] + wb * wb * inverse_mass[b] + wc * wc * inverse_mass[c]
        if weight == 0:
            continue
        push = min(distance[k] - height, 0.5 * distance[k]) / weight
        for c3 in range(3):
            n = nx if c3 == 0 else (ny if c3 == 1 else nz)
            for y in (x, carried):
                y[i, c3] += inverse_mass[i] * push * n
                y[a, c3] -= inverse_mass[a] * wa * push * n
                y[b, c3] -= inverse_mass[b] * wb * push * n
                y[c, c3] -= inverse_mass[c] * wc * push * n
            slip = x[i, c3] - before[i, c3]
            slip -= wa * (x[a, c3] - before[a, c3]) + wb * (x[b, c3] - before[b, c3]) + wc * (x[c, c3] - before[c, c3])
            slip *= friction / weight
            x[i, c3] -= inverse_mass[i] * slip
            x[a, c3] += inverse_mass[a] * wa * slip
            x[b, c3] += inverse_mass[b] * wb * slip
            x[c, c3] += inverse_mass[c] * wc * slip


@nb.njit(cache=True, fastmath=True)
def surface_normals(vertices, faces, normals):
    """Area-weighted unit vertex normals."""
    normals[:] = 0
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(len(normals)):
        size = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2) + 1e-20
        for c3 in range(3):
            normals[v, c3] /= size


@nb.njit(cache=True, fastmath=True)
def advance(x, velocity, before, inverse_mass, gravity, h, fastest):
    """Free flight over one substep: x += h v, with gravity and a speed limit; `before` keeps where it started."""
    for i in range(len(x)):
        for c in range(3):
            before[i, c] = x[i, c]
        if inverse_mass[i] == 0:
            continue
        velocity[i, 1] -= gravity * h
        speed = math.sqrt(velocity[i, 0] ** 2 + velocity[i, 1] ** 2 + velocity[i, 2] ** 2)
        scale = min(1.0, fastest / max(speed, 1e-12))
        for c in range(3):
            velocity[i, c] *= scale
            x[i, c] += h * velocity[i, c]


@nb.njit(cache=True, fastmath=True)
def settle_velocity(x, velocity, before, h, keep):
    """Velocities from the positions reached, damped."""
    for i in range(len(x)):
        for c in range(3):
            velocity[i, c] = keep * (x[i, c] - before[i, c]) / h


@nb.njit(cache=True)
def empty_pairs(room):
    """Storage for vertex-triangle pairs."""
    return np.empty((room, 2), np.int64), np.empty(room), np.empty(room)
