"""What the benchmark runs on, and what that can do at most."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from gdna import __version__
from gdna.bench.timing import Call, task, timed

CEILING_SECONDS = 1.0


@dataclass(frozen=True)
class Machine:
    device: str
    processor: str
    threads: int
    torch: str
    gdna: str
    date: str


@dataclass(frozen=True)
class Ceilings:
    """Measured here, just before the rows."""

    matmul: float  # floating point operations a second, 32 bit (TF32 on a GPU)
    matmul_bf16: float
    copy: float  # bytes read and written a second


def describe(device: torch.device) -> Machine:
    return Machine(
        torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processor_name(),
        torch.get_num_threads(),
        torch.__version__,
        __version__,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(device: torch.device) -> Ceilings:
    size = 8192 if device.type == "cuda" else 1024
    length = 2**28 if device.type == "cuda" else 2**25
    matmul = []
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        for dtype in (torch.float32, torch.bfloat16):
            left, right = torch.randn(2, size, size, device=device, dtype=dtype)
            matmul.append(2 * size**3 / _median(partial(torch.matmul, left, right), device))
    finally:
        torch.set_float32_matmul_precision(before)
    source = torch.ones(length, device=device)
    target = torch.empty_like(source)
    return Ceilings(matmul[0], matmul[1], 2 * source.nbytes / _median(lambda: target.copy_(source), device))


def _median(call: Call, device: torch.device) -> float:
    seconds = timed(task(call), device, CEILING_SECONDS).seconds
    assert seconds is not None
    return seconds
