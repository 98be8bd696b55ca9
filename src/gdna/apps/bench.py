"""`gdna bench`: how fast this machine is, row by row, against the plain reference in the same run."""

from __future__ import annotations

from pathlib import Path

import torch

from gdna.apps.config import Bench
from gdna.bench import machine
from gdna.bench.runner import HEAD, Result, heading, line, on, run_rows, write
from gdna.bench.scene import Scene
from gdna.bench.settings import SIZES
from gdna.generate.loading import pick_device


def run(keys: Bench) -> None:
    device = pick_device(keys.device)
    if keys.threads:
        torch.set_num_threads(keys.threads)
    where, ceilings = machine.describe(device), machine.measure(device)
    print(f"{heading(where, ceilings)}\n\n{HEAD}", flush=True)
    results: list[Result] = []
    with Scene.open(device, SIZES[keys.scale]) as scene:
        for result in run_rows(scene, keys.rows, ceilings, keys.seconds, on(device)):
            print(line(result), flush=True)
            results.append(result)
            write(Path(keys.out), where, ceilings, results)
    print(f"\n{keys.out}")
