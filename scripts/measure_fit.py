"""How near fits come to the open scans' held-out people, their bodies given: by codes alone, then with refine.

    python scripts/measure_fit.py outputs/fits                           # all of them, in this process
    python scripts/measure_fit.py outputs/fits --tot 16 --id 3           # a share of them
    python scripts/measure_fit.py outputs/fits --people 0006 0079 --set steps=60 points=2048
    python scripts/measure_fit.py outputs/fits --workers 10 --threads 1  # so many processes on every GPU, each a share

Writes OUT/NAME.json a person, first with codes alone, then with both; who has both is not fitted again. OUT/table.md
covers all that are there. Process `id` works on GPU `id` modulo their number.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gdna.body.open_body import open_body
from gdna.data.scan_body import pose_scan_body
from gdna.data.solid import with_filled_mouth
from gdna.fit.given_body import given_body, joint_error_mm, scan_with_body
from gdna.fit.person import FittedAvatar, find_codes, finish
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Progress
from gdna.generate.loading import load
from gdna.generate.people import Model
from gdna.geometry.files import atomic_path
from gdna.scans.location import find_pack
from gdna.scans.pack import ScanPack, open_pack

GOALS = {  # chamfer_mm at most, the others at least
    "codes": {"chamfer_mm": 6.0, "normal_consistency": 0.90, "f_score_1cm": 0.90},
    "refine": {"chamfer_mm": 3.0, "normal_consistency": 0.95, "f_score_1cm": 0.98},
}
SECONDS = 60.0  # of codes alone, on an H100


def fit_both(model: Model, pack: ScanPack, name: str, settings: FitSettings) -> Iterator[dict[str, Any]]:
    """Measures of codes alone, then of both kinds of fit; the second goes on from the first. Seconds are of the wall
    clock, from the scan's decoding to the last measure; `stages` of parts of it."""
    started = time.monotonic()
    scan = pack.read(pack.find(name)).to_scan()
    under = pose_scan_body(name, scan.betas, scan.joint_rotations, open_body())
    scan = with_filled_mouth(scan, under.posed.vertices[0].numpy(), open_body())  # as the model has seen others
    raw, params = scan_with_body(scan)
    registration = given_body(name, params, model.body)
    watch = Stages()
    found = find_codes(model, raw, registration, settings, watch, True)
    codes = finish(model, found, registration, settings, watch, started)
    error = joint_error_mm(name, params, model.body, codes.wearer, codes.placement)
    report = {"name": name, "codes": of_fit(codes, error)}
    yield report | {"stages": watch.seconds()}
    between = time.monotonic()
    refined = finish(model, found, registration, replace(settings, refine=True), watch, between)
    report["refine"] = of_fit(refined, error)
    report["refine"]["seconds"] += codes.seconds
    yield report | {"stages": watch.seconds()}


def of_fit(fitted: FittedAvatar, error: float) -> dict[str, Any]:
    more = {"joint_error_mm": error, "seconds": fitted.seconds, "sure": fitted.sure, "reason": fitted.reason}
    return asdict(fitted.measures) | more


class Stages:
    """When each stage was first and last heard of."""

    def __init__(self) -> None:
        self._times: dict[str, tuple[float, float]] = {}

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        self._times[progress.stage] = (self._times.get(progress.stage, (now, now))[0], now)

    def seconds(self) -> dict[str, float]:
        return {stage: round(last - first, 2) for stage, (first, last) in self._times.items()}


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table(reports: list[dict[str, Any]]) -> str:
    """Markdown: mean, median, worst, and the share that meets the goal, a measure a row; then a row a person."""
    lines = [f"{len(reports)} people, their bodies given", ""]
    lines += ["| fit | measure | mean | median | worst | of whom | meet | goal |", "|---|---|---|---|---|---|---|---|"]
    for kind, goals in GOALS.items():
        for measure, goal in (goals | {"seconds": SECONDS if kind == "codes" else np.inf}).items():
            small = measure in ("chamfer_mm", "seconds")
            those = [report for report in reports if kind in report]
            if not those:
                continue
            values = np.array([report[kind][measure] for report in those])
            worst = int(values.argmax() if small else values.argmin())
            meets = 100 * ((values <= goal) if small else (values >= goal)).mean()
            lines.append(
                f"| {kind} | {measure} | {values.mean():.3f} | {np.median(values):.3f} | {values[worst]:.3f} | "
                f"{those[worst]['name']} | {meets:.0f} % | {goal} |"
            )
    lines += ["", "| person | codes: Chamfer, mm | NC | F | s | refine: Chamfer | NC | F | joints, mm |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for report in reports:
        one, two = report["codes"], report.get("refine", dict.fromkeys(GOALS["refine"], np.nan))
        lines.append(
            f"| {report['name']} | {one['chamfer_mm']:.1f} | {one['normal_consistency']:.3f} | "
            f"{one['f_score_1cm']:.3f} | {one['seconds']:.0f} | {two['chamfer_mm']:.1f} | "
            f"{two['normal_consistency']:.3f} | {two['f_score_1cm']:.3f} | {one['joint_error_mm']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def measure(args: argparse.Namespace) -> int:
    """This process's share; returns how many failed."""
    torch.set_num_threads(args.threads)
    pack = open_pack(args.pack)
    names = args.people or [entry.name for entry in pack.people(held_out=True)]
    mine = [name for name in names[args.id :: args.tot] if not is_done(args.out / f"{name}.json")]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    model = load(args.model, args.device or (f"cuda:{args.id % gpus}" if gpus else "cpu"))
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)
    settings, failed = settings_of(args.set), 0
    for name in mine:
        try:
            for report in fit_both(model, pack, name, settings):
                write(args.out / f"{name}.json", json.dumps(report, indent=2) + "\n")
        except Exception as error:  # one bad fit does not stop the others
            traceback.print_exc()
            print(f"{name} failed: {error}", flush=True)
            failed += 1
            continue
        kinds = "; ".join(f"{k} {report[k]['chamfer_mm']:.2f} mm, {report[k]['seconds']:.0f} s" for k in GOALS)
        print(f"{name}: {kinds}", flush=True)
    return failed


def is_done(path: Path) -> bool:
    """Whether a person's fits are there, both."""
    return path.is_file() and "refine" in json.loads(path.read_text(encoding="utf-8"))


def settings_of(pairs: list[str]) -> FitSettings:
    """KEY=VALUE over the defaults; numbers, true and false as JSON writes them, else words."""
    given: dict[str, Any] = {}
    for name, _, value in (pair.partition("=") for pair in pairs):
        try:
            given[name] = json.loads(value)
        except json.JSONDecodeError:
            given[name] = value
    return FitSettings(**given)


def spread(args: argparse.Namespace) -> int:
    """Start `workers` processes a GPU (or on the CPU) and wait; returns how many of them failed."""
    count = args.workers * max(torch.cuda.device_count(), 1)
    shares = [[sys.executable, *sys.argv, "--workers", "0", "--tot", str(count), "--id", str(k)] for k in range(count)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(args.threads))
    started = [subprocess.Popen(share, env=os.environ | threads) for share in shares]
    return sum(process.wait() != 0 for process in started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", default=None, help="default: data/open_scans.gdnapack, or the shipped one")
    parser.add_argument("--model", type=Path, default=None, help="checkpoint or experiment's folder; default: shipped")
    parser.add_argument("--people", nargs="+", default=[], help="default: all whom the pack holds out")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the fit")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads a process")
    parser.add_argument("--tot", type=int, default=1)
    parser.add_argument("--id", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="start so many processes a GPU; 0: work here")
    args = parser.parse_args()
    args.pack = find_pack(args.pack)
    failed = spread(args) if args.workers else measure(args)
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.out.glob("[!.]*.json"))]
    if reports:
        write(args.out / "table.md", table(reports))
        if args.workers or args.tot == 1:
            print(table(reports))
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
