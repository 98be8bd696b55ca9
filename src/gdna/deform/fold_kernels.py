"""`folds` as a Triton kernel."""

from __future__ import annotations

import triton
import triton.language as tl

from gdna.deform import folds
from gdna.deform.polish_kernels import WAITING, _append
from gdna.deform.triton_kernels import _inverse, _listed, _moved, _point, _read, _search

DIFFERENCE, SQUARINGS, SIDES = (tl.constexpr(n) for n in (folds.DIFFERENCE, folds.SQUARINGS, folds.SIDES))


@triton.jit
def _carried(grid, x, y, z, mask, low_x, low_y, low_z, scale_x, scale_y, scale_z, D: tl.constexpr, H: tl.constexpr,
             W: tl.constexpr):  # fmt: skip
    """Where the grid carries the points."""
    matrix = _read(grid, x, y, z, mask, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    return _moved(matrix, x, y, z, 32)


@triton.jit
def _lost_direction(j00, j01, j02, j10, j11, j12, j20, j21, j22, fold):
    """Unit direction that the Jacobian J nearly loses, and whether its singular value is below `fold`."""
    k00, k01, k02, k10, k11, k12, k20, k21, k22 = _inverse(j00, j01, j02, j10, j11, j12, j20, j21, j22)
    a, b, c = k00 * k00 + k01 * k01 + k02 * k02, k10 * k10 + k11 * k11 + k12 * k12, k20 * k20 + k21 * k21 + k22 * k22
    d, e, f = k00 * k10 + k01 * k11 + k02 * k12, k00 * k20 + k01 * k21 + k02 * k22, k10 * k20 + k11 * k21 + k12 * k22
    for _ in tl.static_range(SQUARINGS):  # symmetric: diagonal a, b, c; beside it d (xy), e (xz), f (yz)
        s = 1.0 / (a + b + c)
        a, b, c, d, e, f = a * s, b * s, c * s, d * s, e * s, f * s
        aa, bb, cc = a * a + d * d + e * e, d * d + b * b + f * f, e * e + f * f + c * c
        dd, ee, ff = a * d + d * b + e * f, a * e + d * f + e * c, d * e + b * f + f * c
        a, b, c, d, e, f = aa, bb, cc, dd, ee, ff
    first, second = (a >= b) & (a >= c), (b > a) & (b >= c)
    nx = tl.where(first, a, tl.where(second, d, e))
    ny = tl.where(first, d, tl.where(second, b, f))
    nz = tl.where(first, e, tl.where(second, f, c))
    s = 1.0 / tl.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx * s, ny * s, nz * s
    tx, ty, tz = k00 * nx + k10 * ny + k20 * nz, k01 * nx + k11 * ny + k21 * nz, k02 * nx + k12 * ny + k22 * nz
    return nx, ny, nz, (tx * tx + ty * ty + tz * tz) * fold * fold > 1.0


@triton.jit(do_not_specialize=["count", "nodes", "room", "more_room"])
def fold_kernel(
    grid, points, norms, where, counts, more, more_counts, count, nodes, room, more_room, fold, near, far,
    low_x, low_y, low_z, scale_x, scale_y, scale_z,
    TRIES: tl.constexpr, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the listed candidates at which the map folds: four starts each, written over points (B, count, 3) of columns
    that hold no candidate (whose norm is not WAITING) and listed in `more`. Programs: (blocks of columns, B)."""
    b = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lane, filled = _listed(where, counts, b, room, column)
    if tl.max(filled.to(tl.int32), 0) == 0:
        return
    grid += b * nodes * 16
    x, y, z = _point(points, b * count + lane, filled)
    h = DIFFERENCE
    ox, oy, oz = _carried(grid, x, y, z, filled, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    ax, ay, az = _carried(grid, x + h, y, z, filled, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    bx, by, bz = _carried(grid, x, y + h, z, filled, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    cx, cy, cz = _carried(grid, x, y, z + h, filled, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    nx, ny, nz, folded = _lost_direction(
        (ax - ox) / h, (bx - ox) / h, (cx - ox) / h,
        (ay - oy) / h, (by - oy) / h, (cy - oy) / h,
        (az - oz) / h, (bz - oz) / h, (cz - oz) / h, fold,
    )  # fmt: skip
    folded = folded & filled
    own, first = lane % TRIES, b * count + lane - lane % TRIES
    rank = own * 0
    for other in range(TRIES):
        earlier = folded & (other < own)
        rank += (tl.load(norms + first + other, mask=earlier, other=0.0) == WAITING).to(tl.int32)
    for side in tl.static_range(SIDES):
        step = (near if side < 2 else far) * (1.0 - 2.0 * (side % 2))
        slot = own * 0 - 1
        place = slot
        for other in range(TRIES):
            free = folded & (tl.load(norms + first + other, mask=folded, other=0.0) != WAITING)
            slot += free.to(tl.int32)
            place = tl.where(free & (slot == SIDES * rank + side), other, place)
        found = place >= 0
        to = points + (first + place) * 3
        tl.store(to, x + step * nx, mask=found)
        tl.store(to + 1, y + step * ny, mask=found)
        tl.store(to + 2, z + step * nz, mask=found)
        _append(lane - own + place, found, more + b * more_room, more_counts + b, more_room)


@triton.jit(do_not_specialize=["count", "nodes", "steps", "room"])
def search_again_kernel(
    grid, posed, origins, points, norms, inverses, where, counts, count, nodes, room, steps, tolerance, divergence,
    low_x, low_y, low_z, scale_x, scale_y, scale_z,
    TRIES: tl.constexpr, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`search_kernel` for the listed ones of `count` = N * TRIES entries, from their points (B, count, 3)."""
    b = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lane, filled = _listed(where, counts, b, room, column)
    if tl.max(filled.to(tl.int32), 0) == 0:
        return
    row = b * count + lane
    x, y, z = _point(points, row, filled)
    px, py, pz = _point(posed, b * (count // TRIES) + lane // TRIES, filled)
    px, py, pz = px - tl.load(origins + b * 3), py - tl.load(origins + b * 3 + 1), pz - tl.load(origins + b * 3 + 2)
    _search(
        grid + b * nodes * 16, x, y, z, px, py, pz, filled, points, norms, inverses, row,
        steps, tolerance, divergence, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W,
    )  # fmt: skip
