"""Work on many scans: one bad scan does not stop the others."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from gdna.apps.config import TRACEBACK_VARIABLE
from gdna.apps.progress import track
from gdna.errors import GdnaError

Work = Callable[[str], None]
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def run_batch(names: Sequence[str], work: Work, label: str, unit: str, workers: int = 1) -> None:
    """Call `work` (picklable where `workers` > 1) with each name. At the end list those that raised, one line each, and
    raise `GdnaError` if there are any.
    """
    if workers < 1:
        raise GdnaError(f"workers={workers}: expected 1 or more")
    failed = {}
    done = (
        _in_processes(names, work, workers)
        if min(workers, len(names)) > 1
        else ((name, attempt(work, name)) for name in names)
    )
    for name, reason in track(done, len(names), label, unit):
        if reason is not None:
            failed[name] = reason
    for name in sorted(failed):
        print(f"gdna: {name} failed: {failed[name]}", file=sys.stderr)
    if failed:
        raise GdnaError(f"{len(failed)} of {len(names)} {unit} failed (listed above); the others are done")


def attempt(work: Work, name: str) -> str | None:
    """Why it failed, or None. Whatever a scan makes go wrong, a night's work on the others is not lost."""
    try:
        work(name)
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        kind = "" if isinstance(error, (GdnaError, OSError)) else f"{type(error).__name__}: "
        return kind + " ".join(str(error).split())
    return None


def in_order(work: Callable[[Item], Answer], items: Sequence[Item], workers: int = 1) -> Iterator[Answer]:
    """`work` (picklable where `workers` > 1) done with each item, in their order; what it raises is raised here."""
    if workers < 1:
        raise GdnaError(f"workers={workers}: expected 1 or more")
    if min(workers, len(items)) <= 1:
        yield from map(work, items)
        return
    with _pool(work, min(workers, len(items))) as pool:
        yield from pool.map(_work_with, items)


def _in_processes(names: Sequence[str], work: Work, workers: int) -> Iterator[tuple[str, str | None]]:
    with _pool(partial(attempt, work), min(workers, len(names))) as pool:
        jobs = {pool.submit(_work_with, name): name for name in names}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


@contextmanager
def _pool(work: Callable, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are handed `work` once, when they start: it may carry the index of a thousand scans."""
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker, initargs=(work,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise GdnaError("a worker process died, likely for want of memory; try workers=1") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _context() -> BaseContext:
    """Where there are forks, workers are those of a server that has imported once what this process has: where each of
    many imports for itself, a cold disk is read as many times. The server has no threads and no device."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.partition(".")[0] == "gdna"))
    return context


_work: Callable | None = None  # of this worker process


def _start_worker(work: Callable) -> None:
    """Leave at once and silently when the terminal interrupts; share the cores instead of fighting for them."""
    import torch

    global _work
    _work = work
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    torch.set_num_threads(1)
    os.environ["IGL_NUM_THREADS"] = "1"  # read when libigl first starts threads


def _work_with(item: Any) -> Any:
    assert _work is not None
    return _work(item)
