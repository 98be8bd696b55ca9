"""How posed and neutral points move with the canonical one, as a Triton kernel: value and three slopes of both networks
go through a layer side by side and never leave the registers."""

from __future__ import annotations

import triton
import triton.language as tl

from gdna.deform.triton_kernels import _column, _moved, _softplus


@triton.jit
def _through(v, s, t, u, high, biases, sharpness, WIDTH: tl.constexpr, LAYERS: tl.constexpr):
    """Last hidden activation and its slopes along x, y and z, from what the first layer says of them (BLOCK, WIDTH)."""
    c = tl.arange(0, WIDTH)
    square = c[:, None] * WIDTH + c[None, :]
    for layer in range(LAYERS):
        v, s, t, u = _activated(v, s, t, u, sharpness)
        matrix = tl.load(high + layer * WIDTH * WIDTH + square)
        v = tl.dot(v.to(tl.float16), matrix) + tl.load(biases + layer * WIDTH + c)[None, :]
        s, t, u = tl.dot(s.to(tl.float16), matrix), tl.dot(t.to(tl.float16), matrix), tl.dot(u.to(tl.float16), matrix)
    return _activated(v, s, t, u, sharpness)


@triton.jit
def _activated(v, s, t, u, sharpness):
    slope = 1.0 / (1.0 + tl.exp2(tl.minimum(v * (-1.4426950408889634 * sharpness), 100.0)))
    return _softplus(v, sharpness, False), s * slope, t * slope, u * slope


@triton.jit
def _into(x, y, z, first, WIDTH: tl.constexpr):
    """The first layer's product with vectors (BLOCK,) x 3."""
    c = tl.arange(0, WIDTH)
    wx, wy, wz = tl.load(first + c), tl.load(first + WIDTH + c), tl.load(first + 2 * WIDTH + c)
    return x[:, None] * wx[None, :] + y[:, None] * wy[None, :] + z[:, None] * wz[None, :]


@triton.jit
def _offset(slopes, k):
    return _column(slopes, k, 0), _column(slopes, k, 1), _column(slopes, k, 2)


@triton.jit
def _slope_of_softmax(weights, slope):
    return weights * (slope - tl.sum(weights * slope, 1)[:, None])


@triton.jit
def _store_3x3(out, mask, a, b, c, d, e, f, g, h, i):
    tl.store(out, a, mask=mask)
    tl.store(out + 1, b, mask=mask)
    tl.store(out + 2, c, mask=mask)
    tl.store(out + 3, d, mask=mask)
    tl.store(out + 4, e, mask=mask)
    tl.store(out + 5, f, mask=mask)
    tl.store(out + 6, g, mask=mask)
    tl.store(out + 7, h, mask=mask)
    tl.store(out + 8, i, mask=mask)


@triton.jit(do_not_specialize=["count"])
def slopes_kernel(
    points, posed, neutral, first, offset, high, biases, last_high, last_bias, bones, count, sharpness,
    WIDTH: tl.constexpr, WARP: tl.constexpr, SKIN: tl.constexpr, BONES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Jacobians (B, count, 9) of posed and of neutral points at canonical points (B, count, 3), rows the moved axes.

    Networks as in `triton_kernels._blended`, in half precision. Programs: (blocks of count, B).
    """
    b = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = lane < count
    row = b * count + lane
    x = tl.load(points + row * 3, mask=ok, other=0.0)
    y = tl.load(points + row * 3 + 1, mask=ok, other=0.0)
    z = tl.load(points + row * 3 + 2, mask=ok, other=0.0)
    zero, one = x * 0.0, x * 0.0 + 1.0
    c, k, j = tl.arange(0, WIDTH), tl.arange(0, 16), tl.arange(0, BONES)

    v = _into(x, y, z, first, WIDTH) + tl.load(offset + b * 2 * WIDTH + c)[None, :]
    s, t, u = (
        _into(one, zero, zero, first, WIDTH),
        _into(zero, one, zero, first, WIDTH),
        _into(zero, zero, one, first, WIDTH),
    )
    v, s, t, u = _through(v, s, t, u, high, biases, sharpness, WIDTH, WARP)
    matrix = tl.load(last_high + c[:, None] * 16 + k[None, :])
    moved = tl.dot(v.to(tl.float16), matrix) + tl.load(last_bias + k)[None, :]
    dx, dy, dz = _offset(moved, k)
    sx, sy, sz = _offset(tl.dot(s.to(tl.float16), matrix), k)
    tx, ty, tz = _offset(tl.dot(t.to(tl.float16), matrix), k)
    ux, uy, uz = _offset(tl.dot(u.to(tl.float16), matrix), k)
    sx, ty, uz = sx + 1.0, ty + 1.0, uz + 1.0
    _store_3x3(neutral + row * 9, ok, sx, tx, ux, sy, ty, uy, sz, tz, uz)

    first += 3 * WIDTH
    v = _into(x + dx, y + dy, z + dz, first, WIDTH) + tl.load(offset + b * 2 * WIDTH + WIDTH + c)[None, :]
    s, t, u = _into(sx, sy, sz, first, WIDTH), _into(tx, ty, tz, first, WIDTH), _into(ux, uy, uz, first, WIDTH)
    v, s, t, u = _through(v, s, t, u, high + WARP * WIDTH * WIDTH, biases + WARP * WIDTH, sharpness, WIDTH, SKIN)
    matrix = tl.load(last_high + WIDTH * 16 + c[:, None] * BONES + j[None, :])
    logits = tl.dot(v.to(tl.float16), matrix) + tl.load(last_bias + 16 + j)[None, :]
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    s = _slope_of_softmax(weights, tl.dot(s.to(tl.float16), matrix))
    t = _slope_of_softmax(weights, tl.dot(t.to(tl.float16), matrix))
    u = _slope_of_softmax(weights, tl.dot(u.to(tl.float16), matrix))

    transforms = tl.load(bones + b * 2 * BONES * 16 + j[:, None] * 16 + k[None, :])
    blended = tl.dot(weights.to(tl.float16), transforms)
    # a weight's slope carries the point about by transforms that nearly cancel: their low halves count
    low = tl.load(bones + b * 2 * BONES * 16 + BONES * 16 + j[:, None] * 16 + k[None, :])
    sx, sy, sz = _moved(tl.dot(s.to(tl.float16), transforms) + tl.dot(s.to(tl.float16), low), x, y, z, 16)
    tx, ty, tz = _moved(tl.dot(t.to(tl.float16), transforms) + tl.dot(t.to(tl.float16), low), x, y, z, 16)
    ux, uy, uz = _moved(tl.dot(u.to(tl.float16), transforms) + tl.dot(u.to(tl.float16), low), x, y, z, 16)
    _store_3x3(
        posed + row * 9, ok,
        sx + _column(blended, k, 0), tx + _column(blended, k, 1), ux + _column(blended, k, 2),
        sy + _column(blended, k, 4), ty + _column(blended, k, 5), uy + _column(blended, k, 6),
        sz + _column(blended, k, 8), tz + _column(blended, k, 9), uz + _column(blended, k, 10),
    )  # fmt: skip
