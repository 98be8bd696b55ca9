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


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether the kernel language is installed; PyTorch's CUDA builds for Linux bring it."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True
