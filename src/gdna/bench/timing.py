"""How long a call takes, and how much memory: warmed up, the device waited for, the median of several."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

Call = Callable[[], object]

MOST_RUNS = 50
WARM_UP = 5  # calls: what is recorded is recorded in the fourth
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Task:
    """Calls and the share of steps that each makes up. `estimate` tells from little work how many seconds a call will
    take, so that one that would never end is not begun.
    """

    parts: tuple[tuple[float, Call], ...]
    estimate: Callable[[], float] | None = None


def task(call: Call, estimate: Callable[[], float] | None = None) -> Task:
    return Task(((1.0, call),), estimate)


@dataclass(frozen=True)
class Timing:
    seconds: float | None  # median; None where it was not run
    runs: int
    peak_bytes: int | None  # None where it cannot be told
    cpu_seconds: float | None = None  # of all threads, median: on a busy machine they tell more than the clock
    note: str = ""


def timed(work: Task, device: torch.device, budget: float) -> Timing:
    """Time `work` for about `budget` seconds; what takes longer than half of it is run once, not warmed up."""
    if work.estimate is not None and work.estimate() > budget:
        expected = work.estimate()  # the first may have compiled or loaded something
        if expected > budget:
            return Timing(None, 0, None, note=f"not run: about {expected:.3g} s")
    total, cpu, runs, once = 0.0, 0.0, MOST_RUNS, False
    reset_peak(device)
    for share, call in work.parts:
        measured = _repeated(call, device, budget / len(work.parts))
        once |= len(measured) == 1
        total, cpu = (
            t + share * statistics.median(m) for t, m in zip((total, cpu), zip(*measured, strict=True), strict=True)
        )
        runs = min(runs, len(measured))
    return Timing(total, runs, peak_bytes(device), cpu, "once, without warm-up" if once else "")


def _repeated(call: Call, device: torch.device, budget: float) -> list[tuple[float, float]]:
    """Clocked runs, the warm-up left out, as far as the budget goes; the first alone where nothing follows it.

    The first call may compile for many times its own length, so the latest tells whether there is time for another. On
    a GPU, whose kernels are compiled anew on every machine, there is always a second, and the budget begins with it.
    """
    begun, runs = time.perf_counter(), [_clocked(call, device)]
    if device.type == "cuda":
        begun = time.perf_counter()
        runs.append(_clocked(call, device))
    while len(runs) < WARM_UP + MOST_RUNS and time.perf_counter() - begun + runs[-1][0] <= budget:
        runs.append(_clocked(call, device))
    return runs[WARM_UP:] or runs[1:] or runs


def seconds_of(call: Call, device: torch.device) -> float:
    """Of one call, the device's work included."""
    return _clocked(call, device)[0]


def _clocked(call: Call, device: torch.device) -> tuple[float, float]:
    """Seconds by the clock, and of all threads of this process."""
    synchronize(device)
    start, cpu = time.perf_counter(), time.process_time()
    call()
    synchronize(device)
    return time.perf_counter() - start, time.process_time() - cpu


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        try:
            CLEAR.write_text("5")  # the process's highest resident size counts anew
        except OSError:
            return


def peak_bytes(device: torch.device) -> int | None:
    """Most memory since `reset_peak`: of torch's on a GPU, of the whole process on a CPU under Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not STATUS.exists():
        return None
    line = next((line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")), None)
    return 1024 * int(line.split()[1]) if line else None
