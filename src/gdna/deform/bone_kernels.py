"""What the search takes of the bones, as Triton kernels: each does in one launch what takes torch a dozen or more."""

from __future__ import annotations

import triton
import triton.language as tl

from gdna.deform.triton_kernels import _inverse


@triton.jit
def split_kernel(transforms, bones, joints, MOVED: tl.constexpr, BONES: tl.constexpr):
    """bones (B, 2, BONES, 16) float16: high and low halves of the first three rows of transforms (B, joints, 4, 4), and
    zeros; with MOVED, of those that carry to a space that begins at the first bone's place. Programs: (B,)."""
    b = tl.program_id(0).to(tl.int64)
    j, k = tl.arange(0, BONES)[:, None], tl.arange(0, 16)[None, :]
    there = (j < joints) & (k < 12)
    value = tl.load(transforms + (b * joints + j) * 16 + k, mask=there, other=0.0)
    if MOVED:
        value -= tl.load(transforms + b * joints * 16 + k + 0 * j, mask=there & (k % 4 == 3), other=0.0)
    high = value.to(tl.float16)
    at = bones + b * 2 * BONES * 16 + j * 16 + k
    tl.store(at, high)
    tl.store(at + BONES * 16, (value - high.to(tl.float32)).to(tl.float16))


@triton.jit
def starts_kernel(transforms, rows, count, BLOCK: tl.constexpr):
    """rows (count, 12): first three rows of the inverses of transforms (count, 4, 4). Programs: (blocks of count,)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    t = transforms + i * 16
    x = tl.load(t + 3, mask=ok, other=0.0)
    y = tl.load(t + 7, mask=ok, other=0.0)
    z = tl.load(t + 11, mask=ok, other=0.0)
    j00, j01, j02, j10, j11, j12, j20, j21, j22 = _inverse(
        tl.load(t, mask=ok, other=1.0), tl.load(t + 1, mask=ok, other=0.0), tl.load(t + 2, mask=ok, other=0.0),
        tl.load(t + 4, mask=ok, other=0.0), tl.load(t + 5, mask=ok, other=1.0), tl.load(t + 6, mask=ok, other=0.0),
        tl.load(t + 8, mask=ok, other=0.0), tl.load(t + 9, mask=ok, other=0.0), tl.load(t + 10, mask=ok, other=1.0),
    )  # fmt: skip
    r = rows + i * 12
    tl.store(r, j00, mask=ok)
    tl.store(r + 1, j01, mask=ok)
    tl.store(r + 2, j02, mask=ok)
    tl.store(r + 3, -(j00 * x + j01 * y + j02 * z), mask=ok)
    tl.store(r + 4, j10, mask=ok)
    tl.store(r + 5, j11, mask=ok)
    tl.store(r + 6, j12, mask=ok)
    tl.store(r + 7, -(j10 * x + j11 * y + j12 * z), mask=ok)
    tl.store(r + 8, j20, mask=ok)
    tl.store(r + 9, j21, mask=ok)
    tl.store(r + 10, j22, mask=ok)
    tl.store(r + 11, -(j20 * x + j21 * y + j22 * z), mask=ok)
