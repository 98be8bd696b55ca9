"""After the search on the grid, as Triton kernels: candidates are listed, polished where they lie, and counted.

Lists hold the numbers of entries of one subject, in any order: programs take places in them by adding to a counter.
Nothing depends on the order but which entries go without when a list is full.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gdna.deform.triton_kernels import NOWHERE, _blended, _listed, _moved, _point, _updated

WAITING = tl.constexpr(2e6)  # residual of what is listed to be polished, metres


@triton.jit
def _append(entries, wanted, where, counter, room):
    """Put the wanted entries into the list at `where`; the counter also counts those beyond its room."""
    take = wanted.to(tl.int32)
    column = tl.atomic_add(counter, tl.sum(take, 0)) + tl.cumsum(take, 0) - take
    tl.store(where + column, entries, mask=wanted & (column < room))


@triton.jit(do_not_specialize=["count", "room"])
def keep_kernel(
    points, norms, kept, fresh, where, counts, count, room, limit, distance,
    TRIES: tl.constexpr, LIST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """kept (B, count): residual below `limit` and no earlier such start of the same point within `distance`.

    With LIST, not `kept` but the list at `where` (B, room), its counts (B,) and `fresh` norms: WAITING for those kept,
    NOWHERE for the others.
    Programs: (blocks of count, B).
    """
    b = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = lane < count
    points += b * count * 3
    norms += b * count
    x, y, z = _point(points, lane, ok)
    keep = ok & (tl.load(norms + lane, mask=ok, other=1e9) < limit)
    start = lane % TRIES
    for other in range(TRIES):
        row = lane - start + other
        asked = keep & (other < start)
        small = tl.load(norms + row, mask=asked, other=1e9) < limit
        dx = x - tl.load(points + row * 3, mask=asked, other=0.0)
        dy = y - tl.load(points + row * 3 + 1, mask=asked, other=0.0)
        dz = z - tl.load(points + row * 3 + 2, mask=asked, other=0.0)
        near = asked & small & (dx * dx + dy * dy + dz * dz < distance * distance)
        keep = keep & (near == 0)
    if LIST:
        tl.store(fresh + b * count + lane, tl.where(keep, WAITING, NOWHERE), mask=ok)
        _append(lane, keep, where + b * room, counts + b, room)
    else:
        tl.store(kept + b * count + lane, keep.to(tl.int8), mask=ok)


@triton.jit(do_not_specialize=["count", "room", "more_room", "evaluations"])
def polish_kernel(
    points, norms, inverses, posed, where, counts, more, more_counts,
    first, offset, high, low, biases, last_high, last_low, last_bias, bones,
    count, room, more_room, evaluations, sharpness, tolerance, divergence,
    TRIES: tl.constexpr, WIDTH: tl.constexpr, WARP: tl.constexpr, SKIN: tl.constexpr, BONES: tl.constexpr,
    SPLIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Broyden's method on the networks for the listed ones of `count` = N * TRIES entries of every subject.

    In place: points (B, count, 3), norms (B, count) of the best iterates, the last inverse Jacobians (B, count, 9).
    Targets are posed (B, N, 3). Entries that do not converge are appended to `more` (B, more_room). Programs:
    (blocks of columns, B).
    In bounds: a column beyond what its list holds is masked in every load and store of entries.
    """
    b = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lane, filled = _listed(where, counts, b, room, column)
    row = b * count + lane
    px, py, pz = _point(posed, b * (count // TRIES) + lane // TRIES, filled)
    at = inverses + row * 9
    x, y, z = _point(points, row, filled)
    j00 = tl.load(at, mask=filled, other=0.0)
    j01 = tl.load(at + 1, mask=filled, other=0.0)
    j02 = tl.load(at + 2, mask=filled, other=0.0)
    j10 = tl.load(at + 3, mask=filled, other=0.0)
    j11 = tl.load(at + 4, mask=filled, other=0.0)
    j12 = tl.load(at + 5, mask=filled, other=0.0)
    j20 = tl.load(at + 6, mask=filled, other=0.0)
    j21 = tl.load(at + 7, mask=filled, other=0.0)
    j22 = tl.load(at + 8, mask=filled, other=0.0)
    bx, by, bz = x, y, z
    best = tl.where(filled, 1e12, 0.0)
    ux, uy, uz = x * 0.0, x * 0.0, x * 0.0
    gx, gy, gz = ux, ux, ux
    going = filled
    step = 0
    while (step < evaluations) & (tl.max(going.to(tl.int32), 0) > 0):
        matrix = _blended(
            x, y, z, first, offset, high, low, biases, last_high, last_low, last_bias, bones, b, sharpness,
            WIDTH, WARP, SKIN, BONES, SPLIT,
        )  # fmt: skip
        hx, hy, hz = _moved(matrix, x, y, z, 16)
        hx, hy, hz = tl.where(going, hx - px, gx), tl.where(going, hy - py, gy), tl.where(going, hz - pz, gz)
        j00, j01, j02, j10, j11, j12, j20, j21, j22 = _updated(
            j00, j01, j02, j10, j11, j12, j20, j21, j22, ux, uy, uz, hx - gx, hy - gy, hz - gz
        )
        gx, gy, gz = hx, hy, hz
        square = gx * gx + gy * gy + gz * gz
        better = going & (square < best)
        bx, by, bz = tl.where(better, x, bx), tl.where(better, y, by), tl.where(better, z, bz)
        best = tl.where(better, square, best)
        going = going & (best > tolerance * tolerance) & (square < divergence * divergence)
        ux = tl.where(going, -(j00 * gx + j01 * gy + j02 * gz), 0.0)
        uy = tl.where(going, -(j10 * gx + j11 * gy + j12 * gz), 0.0)
        uz = tl.where(going, -(j20 * gx + j21 * gy + j22 * gz), 0.0)
        x, y, z = x + ux, y + uy, z + uz
        step += 1
    norm = tl.sqrt(best)
    tl.store(points + row * 3, bx, mask=filled)
    tl.store(points + row * 3 + 1, by, mask=filled)
    tl.store(points + row * 3 + 2, bz, mask=filled)
    tl.store(norms + row, norm, mask=filled)
    tl.store(at, j00, mask=filled)
    tl.store(at + 1, j01, mask=filled)
    tl.store(at + 2, j02, mask=filled)
    tl.store(at + 3, j10, mask=filled)
    tl.store(at + 4, j11, mask=filled)
    tl.store(at + 5, j12, mask=filled)
    tl.store(at + 6, j20, mask=filled)
    tl.store(at + 7, j21, mask=filled)
    tl.store(at + 8, j22, mask=filled)
    _append(lane, filled & (norm >= tolerance), more + b * more_room, more_counts + b, more_room)
