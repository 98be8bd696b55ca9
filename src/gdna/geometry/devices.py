"""Where kernels of our own run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor


@contextmanager
def launching_on(tensor: Tensor) -> Iterator[None]:
    """Launch on the tensor's own GPU; on a CPU (the kernel language's interpreter) there is nothing to choose."""
    if not tensor.is_cuda:
        yield
        return
    with torch.cuda.device(tensor.device):
        yield


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it: from pageable memory a copy would wait until the device has done all its
    work so far."""
    pinned = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory().to(device, non_blocking=True) if pinned else tensor.to(device)


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether the kernel language is installed; PyTorch's CUDA builds for Linux bring it."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True
