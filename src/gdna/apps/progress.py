"""Progress of long work on stderr: a bar on a terminal, a line per tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINES = 10


def track(items: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """The items, with the share done, the rate and the time left."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=f" {unit}", dynamic_ncols=True)
        return
    start, written = time.monotonic(), 0
    for done, item in enumerate(items, 1):
        yield item
        if done * LINES // total > written:
            written = done * LINES // total
            print(_line(label, unit, done, total, time.monotonic() - start), file=sys.stderr, flush=True)


def _line(label: str, unit: str, done: int, total: int, elapsed: float) -> str:
    left = tqdm.format_interval((total - done) * elapsed / done)
    return f"{label}: {done} of {total} {unit} ({100 * done // total} %), {done / elapsed:.2g} a second, {left} left"
