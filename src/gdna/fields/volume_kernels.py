"""Trilinear reads of a feature volume whose channels lie side by side, as Triton kernels: one row of memory a corner.

Imported on first use only.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _place(points, row, ok, axis: tl.constexpr, nodes):
    """The node below along an axis, and how far beyond it the point lies."""
    at = (tl.load(points + row * 3 + axis, mask=ok, other=0.0) + 1.0) * (0.5 * (nodes - 1))
    below = tl.floor(at)
    return below.to(tl.int32), at - below


@triton.jit
def _cells(points, count, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr):
    """This program's points: their rows in (B, count), which are there, and the node below and the way beyond it along
    x, y and z."""
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = lane < count
    row = tl.program_id(1).to(tl.int64) * count + lane
    ix, tx = _place(points, row, ok, 0, W)
    iy, ty = _place(points, row, ok, 1, H)
    iz, tz = _place(points, row, ok, 2, D)
    return row, ok, ix, iy, iz, tx, ty, tz


@triton.jit
def _corner(ix, iy, iz, ok, corner: tl.constexpr, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """Number of the node at a corner of the points' cells, and whether there is one."""
    x, y, z = ix + corner % 2, iy + corner // 2 % 2, iz + corner // 4
    there = ok & (x >= 0) & (x < W) & (y >= 0) & (y < H) & (z >= 0) & (z < D)
    return (z * H + y) * W + x, there


@triton.jit
def _share(t, upper: tl.constexpr):
    """Of the lower or the upper node along an axis."""
    return (1 - upper) + (2 * upper - 1) * t


@triton.jit(do_not_specialize=["count"])
def read_kernel(
    volume, points, out, count,
    D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out (B, count, C) of volume (B, D, H, W, C) at points (B, count, 3). Programs: (blocks of count, B)."""
    b, c = tl.program_id(1).to(tl.int64), tl.arange(0, C)
    row, ok, ix, iy, iz, tx, ty, tz = _cells(points, count, D, H, W, BLOCK)
    volume += b * (D * H * W * C)
    total = tl.zeros((BLOCK, C), tl.float32)
    for corner in tl.static_range(8):
        node, there = _corner(ix, iy, iz, ok, corner, D, H, W)
        share = _share(tx, corner % 2) * _share(ty, corner // 2 % 2) * _share(tz, corner // 4)
        values = tl.load(volume + node[:, None] * C + c[None, :], mask=there[:, None], other=0.0).to(tl.float32)
        total += share[:, None] * values
    tl.store(out + row[:, None] * C + c[None, :], total, mask=ok[:, None])


@triton.jit(do_not_specialize=["count"])
def read_back_kernel(
    volume, points, of_out, of_volume, of_points, count,
    D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, LEARNS: tl.constexpr,
):  # fmt: skip
    """Gradients of points and, if it `LEARNS`, of the volume (added to `of_volume`) from those of `read_kernel`'s
    result."""
    b, c = tl.program_id(1).to(tl.int64), tl.arange(0, C)
    row, ok, ix, iy, iz, tx, ty, tz = _cells(points, count, D, H, W, BLOCK)
    volume += b * (D * H * W * C)
    of_volume += b * (D * H * W * C)
    slope = tl.load(of_out + row[:, None] * C + c[None, :], mask=ok[:, None], other=0.0)
    gx, gy, gz = tx * 0.0, tx * 0.0, tx * 0.0
    for corner in tl.static_range(8):
        node, there = _corner(ix, iy, iz, ok, corner, D, H, W)
        wx, wy, wz = _share(tx, corner % 2), _share(ty, corner // 2 % 2), _share(tz, corner // 4)
        at = node[:, None] * C + c[None, :]
        if LEARNS:
            tl.atomic_add(of_volume + at, (wx * wy * wz)[:, None] * slope, mask=there[:, None], sem="relaxed")
        values = tl.load(volume + at, mask=there[:, None], other=0.0).to(tl.float32)
        along = tl.sum(values * slope, 1)
        gx += (2 * (corner % 2) - 1) * wy * wz * along
        gy += (2 * (corner // 2 % 2) - 1) * wx * wz * along
        gz += (2 * (corner // 4) - 1) * wx * wy * along
    tl.store(of_points + row * 3, gx * (0.5 * (W - 1)), mask=ok)
    tl.store(of_points + row * 3 + 1, gy * (0.5 * (H - 1)), mask=ok)
    tl.store(of_points + row * 3 + 2, gz * (0.5 * (D - 1)), mask=ok)
