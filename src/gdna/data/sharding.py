"""Splitting work over processes or machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gdna.errors import GdnaError

T = TypeVar("T")


def shard(items: Sequence[T], total: int, index: int) -> list[T]:
    """The contiguous block number `index` of `total` blocks whose sizes differ by one at most, longer first."""
    if total < 1 or not 0 <= index < total:
        raise GdnaError(f"shard {index} of {total}: expected 0 <= id < tot")
    size, longer = divmod(len(items), total)
    start = index * size + min(index, longer)
    return list(items[start : start + size + (index < longer)])
