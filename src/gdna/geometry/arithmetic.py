"""How exact 32-bit matrix products are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Within the block, 32-bit matrix products on CUDA are exact ("highest") or in TF32 ("high")."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def full_precision(matmul: str = "highest") -> Iterator[None]:
    """No autocast within, and no TF32 either unless `matmul` allows it."""
    with (
        matmul_precision(matmul),
        torch.autocast("cuda", enabled=False),
        torch.autocast("cpu", enabled=False),
    ):
        yield


def working_dtype(x: Tensor) -> torch.dtype:
    """What autocast computes in where x lies; without it, and where nothing is computed (meta), the type of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if not x.is_meta and torch.is_autocast_enabled(device) else x.dtype
