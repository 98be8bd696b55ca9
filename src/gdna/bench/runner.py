"""Runs the rows, and writes and prints what they took."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch

from gdna.bench import mesh_rows, search_rows, training_rows
from gdna.bench.machine import Ceilings, Machine
from gdna.bench.row import Row
from gdna.bench.scene import Scene
from gdna.bench.timing import Timing, timed
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path

BUILD: dict[str, Callable[[Scene], Row]] = {
    "coarse_step": training_rows.coarse_step,
    "search": search_rows.search,
    "mesh_256": partial(mesh_rows.mesh, which=0),
    "mesh_512": partial(mesh_rows.mesh, which=1),
    "fine_step": training_rows.fine_step,
    "cache_view": search_rows.cache_view,
    "animate": mesh_rows.animate,
}


@dataclass(frozen=True)
class Result:
    """One row. Seconds are medians; what was not run is None, and `note` says why."""

    name: str
    device: str
    seconds: float | None
    reference_seconds: float | None
    ratio: float | None
    peak_bytes: int | None
    reference_peak_bytes: int | None
    cpu_seconds: float | None
    reference_cpu_seconds: float | None
    floor_seconds: float | None
    floor: str
    runs: int
    reference_runs: int
    note: str
    extras: dict[str, float] = field(default_factory=dict)


def run_rows(scene: Scene, names: tuple[str, ...], ceilings: Ceilings, budget: float, device: str) -> Iterator[Result]:
    """Each row as it is done. A row that this machine cannot run says why."""
    for name in names:
        try:
            yield _run(scene, name, ceilings, budget, device)
        except (GdnaError, RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            nothing = (None,) * 8
            yield Result(name, device, *nothing, "", 0, 0, f"cannot run here: {reason}")


def _run(scene: Scene, name: str, ceilings: Ceilings, budget: float, device: str) -> Result:
    row = BUILD[name](scene)
    ours, reference = timed(row.ours, scene.device, budget), timed(row.reference, scene.device, budget)
    both = ours.seconds is not None and reference.seconds is not None
    return Result(
        name,
        device,
        ours.seconds,
        reference.seconds,
        reference.seconds / ours.seconds if both else None,  # type: ignore[operator]
        ours.peak_bytes,
        reference.peak_bytes,
        ours.cpu_seconds,
        reference.cpu_seconds,
        row.floor.seconds(ceilings),
        row.floor.what,
        ours.runs,
        reference.runs,
        _note(row, ours, reference),
        dict(row.extras()),
    )


def _note(row: Row, ours: Timing, reference: Timing) -> str:
    notes = (row.note, ours.note, reference.note and f"reference {reference.note}")
    return "; ".join(note for note in notes if note)


def write(path: Path, machine: Machine, ceilings: Ceilings, results: list[Result]) -> None:
    content = {
        "machine": asdict(machine),
        "ceilings": asdict(ceilings),
        "rows": [{key: v for key, v in asdict(r).items() if key != "extras"} | r.extras for r in results],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


HEAD = f"{'row':<12} {'seconds':>10} {'reference':>10} {'ratio':>7} {'floor':>10} {'peak MB':>8}  notes"


def line(result: Result) -> str:
    """The row of the printed table."""
    ratio = f"{result.ratio:.1f}x" if result.ratio is not None else "-"
    peak = f"{result.peak_bytes / 1e6:.0f}" if result.peak_bytes is not None else "-"
    notes = [f"{name} {value:.4f}" for name, value in result.extras.items()] + [result.note] * bool(result.note)
    times = (result.seconds, result.reference_seconds)
    ours, reference = (f"{t:.4g}" if t is not None else "-" for t in times)
    floor = f"{result.floor_seconds:.3g}" if result.floor_seconds is not None else "-"
    return f"{result.name:<12} {ours:>10} {reference:>10} {ratio:>7} {floor:>10} {peak:>8}  {'; '.join(notes)}"


def heading(machine: Machine, ceilings: Ceilings) -> str:
    where = machine.processor if machine.device == "cpu" else f"{machine.device} ({machine.processor})"
    return (
        f"{where}, {machine.threads} CPU threads, torch {machine.torch}, gdna {machine.gdna}, {machine.date}\n"
        f"matmul {ceilings.matmul / 1e12:.3g} TFLOP/s in 32 bit, {ceilings.matmul_bf16 / 1e12:.3g} in bfloat16; "
        f"copy {ceilings.copy / 1e9:.3g} GB/s"
    )


def on(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
