"""The correspondence search as Triton kernels: fill a grid of blended transforms, search on it, polish on the networks.

Imported on first use only. Sizes that change from call to call are not specialised on: compiling takes seconds.
Everything is float32 outside the matrix products, which take float16 operands and add in float32; where SPLIT, each
operand is the sum of two float16 numbers, which gives float32's precision.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)  # on a CPU there is no machine code to write
NOWHERE = tl.constexpr(1e6)  # residual of what no root was looked for or found at, metres


@triton.jit
def _log2(x):
    """The device's own instruction (for x in 1 to 2 off by 2^-22 at most); `tl.log2` is twenty times its cost."""
    if INTERPRETED:
        y = tl.log2(x)
    else:
        y = tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    return y


@triton.jit
def _softplus(x, sharpness, SPLIT: tl.constexpr):
    """Half of a network's time. In half precision log(1 + e) is a polynomial (Abramowitz and Stegun 4.1.43: off by
    1e-5, of which the sharpness leaves 1e-7), so that the exponential alone asks the slow unit."""
    e = tl.exp2(tl.abs(x) * (-1.4426950408889634 * sharpness))
    if SPLIT:
        return tl.maximum(x, 0.0) + _log2(1.0 + e) * (0.6931471805599453 / sharpness)
    else:
        log = (((0.03215845 * e - 0.13606275) * e + 0.28947478) * e - 0.49190896) * e + 0.99949556
        return tl.maximum(x, 0.0) + log * e * (1.0 / sharpness)


@triton.jit
def _product(a, high, low, SPLIT: tl.constexpr):
    """a @ (high + low), a tile in registers times a matrix in memory."""
    a_high = a.to(tl.float16)
    b_high = tl.load(high)
    total = tl.dot(a_high, b_high)
    if SPLIT:
        a_low = (a - a_high.to(tl.float32)).to(tl.float16)
        total += tl.dot(a_low, b_high)
        total += tl.dot(a_high, tl.load(low))
    return total


@triton.jit
def _hidden(
    x, y, z, first, offset, high, low, biases, sharpness, WIDTH: tl.constexpr, LAYERS: tl.constexpr, SPLIT: tl.constexpr
):
    """The last hidden activation (BLOCK, WIDTH) of a perceptron at points (BLOCK,)."""
    c = tl.arange(0, WIDTH)
    wx, wy, wz = tl.load(first + c), tl.load(first + WIDTH + c), tl.load(first + 2 * WIDTH + c)
    h = x[:, None] * wx[None, :] + y[:, None] * wy[None, :] + z[:, None] * wz[None, :] + tl.load(offset + c)[None, :]
    h = _softplus(h, sharpness, SPLIT)
    square = c[:, None] * WIDTH + c[None, :]
    for layer in range(LAYERS):
        at = layer * WIDTH * WIDTH + square
        h = _product(h, high + at, low + at, SPLIT) + tl.load(biases + layer * WIDTH + c)[None, :]
        h = _softplus(h, sharpness, SPLIT)
    return h


@triton.jit
def _column(values, columns, wanted):
    return tl.sum(tl.where(columns[None, :] == wanted, values, 0.0), 1)


@triton.jit
def _blended(
    x, y, z, first, offset, high, low, biases, last_high, last_low, last_bias, bones, b, sharpness,
    WIDTH: tl.constexpr, WARP: tl.constexpr, SKIN: tl.constexpr, BONES: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Blended transforms (BLOCK, 16; rows of 3x4, then zeros) of subject b at canonical points.

    `first`, `offset`, `high`, `low`, `biases` hold the warp's layers and then the skinning field's; `last_*` the warp's
    (WIDTH, 16), then the skinning field's (WIDTH, BONES), the latter times the blend's sharpness.
    """
    c, k, j = tl.arange(0, WIDTH), tl.arange(0, 16), tl.arange(0, BONES)
    h = _hidden(x, y, z, first, offset + b * 2 * WIDTH, high, low, biases, sharpness, WIDTH, WARP, SPLIT)
    at = c[:, None] * 16 + k[None, :]
    moved = _product(h, last_high + at, last_low + at, SPLIT) + tl.load(last_bias + k)[None, :]
    x, y, z = x + _column(moved, k, 0), y + _column(moved, k, 1), z + _column(moved, k, 2)

    skip = WARP * WIDTH * WIDTH
    h = _hidden(
        x, y, z, first + 3 * WIDTH, offset + b * 2 * WIDTH + WIDTH, high + skip, low + skip, biases + WARP * WIDTH,
        sharpness, WIDTH, SKIN, SPLIT,
    )  # fmt: skip
    at = WIDTH * 16 + c[:, None] * BONES + j[None, :]
    logits = _product(h, last_high + at, last_low + at, SPLIT) + tl.load(last_bias + 16 + j)[None, :]
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    at = j[:, None] * 16 + k[None, :]
    matrix = bones + b * 2 * BONES * 16
    return _product(weights, matrix + at, matrix + BONES * 16 + at, True)


@triton.jit(do_not_specialize=["nodes"])
def fill_kernel(
    values, first, offset, high, low, biases, last_high, last_low, last_bias, bones, nodes, sharpness,
    low_x, low_y, low_z, step_x, step_y, step_z,
    H: tl.constexpr, W: tl.constexpr, WIDTH: tl.constexpr, WARP: tl.constexpr, SKIN: tl.constexpr,
    BONES: tl.constexpr, SPLIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """values (B, nodes, 16): blended transforms at the nodes (z, y, x) of a box. Programs: (blocks of nodes, B).

    In bounds: nodes past the end are computed, which reads the networks alone, and not written.
    """
    b = tl.program_id(1)
    node = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = low_x + (node % W).to(tl.float32) * step_x
    y = low_y + ((node // W) % H).to(tl.float32) * step_y
    z = low_z + (node // (W * H)).to(tl.float32) * step_z
    matrix = _blended(
        x, y, z, first, offset, high, low, biases, last_high, last_low, last_bias, bones, b, sharpness,
        WIDTH, WARP, SKIN, BONES, SPLIT,
    )  # fmt: skip
    k = tl.arange(0, 16)
    at = (b.to(tl.int64) * nodes + node)[:, None] * 16 + k[None, :]
    tl.store(values + at, matrix, mask=(node < nodes)[:, None])


@triton.jit
def _read(
    grid, x, y, z, mask, low_x, low_y, low_z, scale_x, scale_y, scale_z,
    D: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Trilinear (BLOCK, 32): what the two neighbours along x contribute to each of 16 numbers."""
    fx = tl.minimum(tl.maximum((x - low_x) * scale_x, 0.0), W - 1.0)
    fy = tl.minimum(tl.maximum((y - low_y) * scale_y, 0.0), H - 1.0)
    fz = tl.minimum(tl.maximum((z - low_z) * scale_z, 0.0), D - 1.0)
    ix = tl.minimum(fx.to(tl.int32), W - 2)
    iy = tl.minimum(fy.to(tl.int32), H - 2)
    iz = tl.minimum(fz.to(tl.int32), D - 2)
    tx, ty, tz = fx - ix, fy - iy, fz - iz
    k = tl.arange(0, 32)
    at = (((iz * H + iy) * W + ix) * 16)[:, None] + k[None, :]
    total = tl.load(grid + at, mask=mask[:, None], other=0.0).to(tl.float32) * ((1 - ty) * (1 - tz))[:, None]
    total += tl.load(grid + at + W * 16, mask=mask[:, None], other=0.0).to(tl.float32) * (ty * (1 - tz))[:, None]
    total += tl.load(grid + at + H * W * 16, mask=mask[:, None], other=0.0).to(tl.float32) * ((1 - ty) * tz)[:, None]
    total += tl.load(grid + at + (H * W + W) * 16, mask=mask[:, None], other=0.0).to(tl.float32) * (ty * tz)[:, None]
    return total * tl.where(k[None, :] < 16, (1 - tx)[:, None], tx[:, None])


@triton.jit
def _moved(matrix, x, y, z, COLUMNS: tl.constexpr):
    """Where the transforms in `matrix` (BLOCK, COLUMNS; several sets of 16 add up) carry the points."""
    k = tl.arange(0, COLUMNS) % 16
    axis = (k % 4)[None, :]
    factor = tl.where(axis == 0, x[:, None], tl.where(axis == 1, y[:, None], tl.where(axis == 2, z[:, None], 1.0)))
    product = matrix * factor
    return _column(product, k // 4, 0), _column(product, k // 4, 1), _column(product, k // 4, 2)


@triton.jit
def _updated(j00, j01, j02, j10, j11, j12, j20, j21, j22, ux, uy, uz, qx, qy, qz):
    """Broyden's update of the inverse Jacobian after the move u changed the residual by q."""
    vx = ux * j00 + uy * j10 + uz * j20
    vy = ux * j01 + uy * j11 + uz * j21
    vz = ux * j02 + uy * j12 + uz * j22
    scale = vx * qx + vy * qy + vz * qz
    sound = tl.abs(scale) > 1e-2 * (ux * ux + uy * uy + uz * uz)
    scale = tl.where(sound, scale, 1.0)
    wx = tl.where(sound, (ux - (j00 * qx + j01 * qy + j02 * qz)) / scale, 0.0)
    wy = tl.where(sound, (uy - (j10 * qx + j11 * qy + j12 * qz)) / scale, 0.0)
    wz = tl.where(sound, (uz - (j20 * qx + j21 * qy + j22 * qz)) / scale, 0.0)
    return (
        j00 + wx * vx, j01 + wx * vy, j02 + wx * vz,
        j10 + wy * vx, j11 + wy * vy, j12 + wy * vz,
        j20 + wz * vx, j21 + wz * vy, j22 + wz * vz,
    )  # fmt: skip


@triton.jit
def _listed(where, counts, b, room, column):
    """Entries in these columns of subject b's list, and which of the columns hold one."""
    filled = column < tl.minimum(tl.load(counts + b), room)
    return tl.load(where + b * room + column, mask=filled, other=0), filled


@triton.jit
def _point(points, row, mask):
    at = points + row * 3
    x = tl.load(at, mask=mask, other=0.0)
    y = tl.load(at + 1, mask=mask, other=0.0)
    return x, y, tl.load(at + 2, mask=mask, other=0.0)


@triton.jit
def _inverse(a00, a01, a02, a10, a11, a12, a20, a21, a22):
    """A determinant closer to zero than 1e-6 counts as 1e-6 with its sign."""
    c00, c01, c02 = a11 * a22 - a12 * a21, a02 * a21 - a01 * a22, a01 * a12 - a02 * a11
    det = a00 * c00 + a10 * c01 + a20 * c02
    r = 1.0 / tl.where(tl.abs(det) < 1e-6, tl.where(det < 0, -1e-6, 1e-6), det)
    return (
        c00 * r, c01 * r, c02 * r,
        (a12 * a20 - a10 * a22) * r, (a00 * a22 - a02 * a20) * r, (a02 * a10 - a00 * a12) * r,
        (a10 * a21 - a11 * a20) * r, (a01 * a20 - a00 * a21) * r, (a00 * a11 - a01 * a10) * r,
    )  # fmt: skip


@triton.jit
def _search(
    grid, x, y, z, px, py, pz, going, points, norms, inverses, row, steps, tolerance, divergence,
    low_x, low_y, low_z, scale_x, scale_y, scale_z, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Broyden's method from (x, y, z) to the targets p, where `going`; writes the best iterate, its residual's norm
    (NOWHERE outside the grid's box) and the last inverse Jacobian at `row`."""
    ok = going
    matrix = _read(grid, x, y, z, ok, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
    gx, gy, gz = _moved(matrix, x, y, z, 32)
    gx, gy, gz = gx - px, gy - py, gz - pz
    k = tl.arange(0, 32) % 16
    j00, j01, j02, j10, j11, j12, j20, j21, j22 = _inverse(
        _column(matrix, k, 0), _column(matrix, k, 1), _column(matrix, k, 2),
        _column(matrix, k, 4), _column(matrix, k, 5), _column(matrix, k, 6),
        _column(matrix, k, 8), _column(matrix, k, 9), _column(matrix, k, 10),
    )  # fmt: skip
    bx, by, bz = x, y, z
    best = gx * gx + gy * gy + gz * gz
    going = ok & (best > tolerance * tolerance)
    step = 0
    while (step < steps) & (tl.max(going.to(tl.int32), 0) > 0):
        ux = tl.where(going, -(j00 * gx + j01 * gy + j02 * gz), 0.0)
        uy = tl.where(going, -(j10 * gx + j11 * gy + j12 * gz), 0.0)
        uz = tl.where(going, -(j20 * gx + j21 * gy + j22 * gz), 0.0)
        x, y, z = x + ux, y + uy, z + uz
        matrix = _read(grid, x, y, z, going, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W)
        hx, hy, hz = _moved(matrix, x, y, z, 32)
        hx, hy, hz = tl.where(going, hx - px, gx), tl.where(going, hy - py, gy), tl.where(going, hz - pz, gz)
        j00, j01, j02, j10, j11, j12, j20, j21, j22 = _updated(
            j00, j01, j02, j10, j11, j12, j20, j21, j22, ux, uy, uz, hx - gx, hy - gy, hz - gz
        )
        gx, gy, gz = hx, hy, hz
        square = gx * gx + gy * gy + gz * gz
        better = square < best
        bx, by, bz = tl.where(better, x, bx), tl.where(better, y, by), tl.where(better, z, bz)
        best = tl.where(better, square, best)
        going = going & (best > tolerance * tolerance) & (square < divergence * divergence)
        step += 1
    fx, fy, fz = (bx - low_x) * scale_x, (by - low_y) * scale_y, (bz - low_z) * scale_z
    inside = (fx >= 0) & (fx <= W - 1) & (fy >= 0) & (fy <= H - 1) & (fz >= 0) & (fz <= D - 1)
    tl.store(points + row * 3, bx, mask=ok)
    tl.store(points + row * 3 + 1, by, mask=ok)
    tl.store(points + row * 3 + 2, bz, mask=ok)
    tl.store(norms + row, tl.where(inside, tl.sqrt(best), NOWHERE), mask=ok)
    out = inverses + row * 9
    tl.store(out, j00, mask=ok)
    tl.store(out + 1, j01, mask=ok)
    tl.store(out + 2, j02, mask=ok)
    tl.store(out + 3, j10, mask=ok)
    tl.store(out + 4, j11, mask=ok)
    tl.store(out + 5, j12, mask=ok)
    tl.store(out + 6, j20, mask=ok)
    tl.store(out + 7, j21, mask=ok)
    tl.store(out + 8, j22, mask=ok)


@triton.jit(do_not_specialize=["count", "nodes", "steps"])
def search_kernel(
    grid, posed, starts, origins, points, norms, inverses, count, nodes, steps, tolerance, divergence,
    low_x, low_y, low_z, scale_x, scale_y, scale_z,
    TRIES: tl.constexpr, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The whole search of every (point, start).

    grid (B, nodes, 16) of transforms that carry to posed space less origins (B, 3); posed (B, N, 3), starts
    (B, TRIES, 12): rigid inverses; results (B, N, TRIES, ...). `count` is N * TRIES. Programs: (blocks of count, B).
    """
    b = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = lane < count
    point = b * (count // TRIES) + lane // TRIES
    px, py, pz = _point(posed, point, ok)
    s = starts + (b * TRIES + lane % TRIES) * 12
    x = tl.load(s) * px + tl.load(s + 1) * py + tl.load(s + 2) * pz + tl.load(s + 3)
    y = tl.load(s + 4) * px + tl.load(s + 5) * py + tl.load(s + 6) * pz + tl.load(s + 7)
    z = tl.load(s + 8) * px + tl.load(s + 9) * py + tl.load(s + 10) * pz + tl.load(s + 11)
    px, py, pz = px - tl.load(origins + b * 3), py - tl.load(origins + b * 3 + 1), pz - tl.load(origins + b * 3 + 2)
    _search(
        grid + b * nodes * 16, x, y, z, px, py, pz, ok, points, norms, inverses, b * count + lane,
        steps, tolerance, divergence, low_x, low_y, low_z, scale_x, scale_y, scale_z, D, H, W,
    )  # fmt: skip
