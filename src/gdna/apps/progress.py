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


class StageBars:
    """Progress of work in stages, each of so many steps, with an error that falls: a bar per stage on a terminal, a
    line at its end elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bar: tqdm | None = None
        self._start = time.monotonic()

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, step: int, steps: int, error: float, unit: str) -> None:
        """Step `step` (from 1) of a stage is done."""
        if not sys.stderr.isatty():
            if step == 1:
                self._start = time.monotonic()
            if step == steps:
                took = time.monotonic() - self._start
                print(f"{self.name}: {stage}: {error:.3g} {unit}, {took:.0f} s", file=sys.stderr, flush=True)
            return
        if self._bar is None or step == 1:
            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(total=steps, desc=f"{self.name} {stage}", unit=" steps", dynamic_ncols=True, leave=False)
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(f"{error:.3g} {unit}", refresh=False)
