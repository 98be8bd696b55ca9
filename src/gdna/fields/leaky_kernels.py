"""Bias, leaky ReLU and their gradients over rows of channels that lie side by side, as Triton kernels.

Imported on first use only.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def leaky_kernel(x, bias, out, rows, slope, gain, C: tl.constexpr, BLOCK: tl.constexpr):
    """out (rows, C) of x (rows, C) and bias (C,). Programs: blocks of rows."""
    c = tl.arange(0, C)
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    at, ok = row[:, None] * C + c[None, :], (row < rows)[:, None]
    value = tl.load(x + at, mask=ok, other=0.0).to(tl.float32) + gain * tl.load(bias + c).to(tl.float32)[None, :]
    tl.store(out + at, tl.where(value > 0, value, slope * value).to(out.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows"])
def leaky_back_kernel(of_out, out, of_x, of_bias, rows, slope, gain, C: tl.constexpr, BLOCK: tl.constexpr):
    """of_x (rows, C) from of_out and out, whose sign is that of what went in; adds to of_bias (C,), zero at first.

    Programs: any number, which share the blocks of rows.
    """
    c = tl.arange(0, C)
    total = tl.zeros((C,), tl.float32)
    block = tl.program_id(0)
    while block * BLOCK < rows:
        row = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        at, ok = row[:, None] * C + c[None, :], (row < rows)[:, None]
        value = tl.load(of_out + at, mask=ok, other=0.0).to(tl.float32)
        value = tl.where(tl.load(out + at, mask=ok, other=0.0).to(tl.float32) > 0, value, slope * value)
        tl.store(of_x + at, value.to(of_x.dtype.element_ty), mask=ok)
        total += tl.sum(value, 0)
        block += tl.num_programs(0)
    tl.atomic_add(of_bias + c, gain * total)
