"""How near fits come to the open scans' held-out people, their bodies given: by codes alone, then with refine.

    python scripts/measure_fit.py outputs/fits                           # all of them, in this process
    python scripts/measure_fit.py outputs/fits --tot 16 --id 3           # a share of them
    python scripts/measure_fit.py outputs/fits --people 0006 0079 --set steps=60 points=2048
    python scripts/measure_fit.py outputs/fits --workers 10 --threads 1  # so many processes on every GPU, each a share
    python scripts/measure_fit.py outputs/hard --workers 8 --threads 1 --damage none noise missing cloud outliers

`--damage` gives the fit the surface of a scan that nothing covers, damaged: 5 mm of noise on its vertices; 40 % of its
area missing in patches of 12 cm; a cloud of 50,000 of its points; the same cloud with stray points, which are 20 % of
all. `none` is the whole scan. Errors are always those against the whole, clean scan.

Writes OUT/NAME_DAMAGE.json a person and damage, first with codes alone, then with both; what has both is not fitted
again. OUT/table.md covers all that are there. Process `id` works on GPU `id` modulo their number.
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
from damage import in_patches, noisy, only, with_strays

from gdna.body.open_body import open_body
from gdna.data.scan_body import pose_scan_body
from gdna.data.solid import with_filled_mouth
from gdna.data.surface import sample_surface
from gdna.evaluate.surface import Surface
from gdna.fit.evidence import Evidence, gather
from gdna.fit.given_body import given_body, joint_error_mm, scan_with_body
from gdna.fit.measure import measure
from gdna.fit.person import FittedAvatar, find_codes, finish
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Progress
from gdna.fit.types import RawScan, Registration
from gdna.fit.wearer import Wearer
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
DAMAGES = ("none", "noise", "missing", "cloud", "outliers")
NOISE, PATCH, MISSING = 0.005, 0.12, 0.4  # metres, metres, share of the area
CLOUD, STRAYS = 50_000, 12_500


def fit_both(model: Model, pack: ScanPack, name: str, damage: str, settings: FitSettings) -> Iterator[dict[str, Any]]:
    """Measures of codes alone, then of both kinds of fit; the second goes on from the first. Seconds are of the wall
    clock, from the scan's decoding to the last measure; `stages` of parts of it."""
    started = time.monotonic()
    scan = pack.read(pack.find(name)).to_scan()
    under = pose_scan_body(name, scan.betas, scan.joint_rotations, open_body())
    scan = with_filled_mouth(scan, under.posed.vertices[0].numpy(), open_body())  # as the model has seen others
    whole, params = scan_with_body(scan)
    registration = given_body(name, params, model.body)
    truth = None if damage == "none" else clean_evidence(model, whole, registration, settings)
    raw = whole if truth is None else damaged(name, truth.seen, damage)
    watch = Stages()
    found = find_codes(model, raw, registration, settings, watch, True)
    codes = finish(model, found, registration, settings, watch, started)
    error = joint_error_mm(name, params, model.body, codes.wearer, codes.placement)
    report = {"name": name, "damage": damage, "noise_mm": 1000 * codes.evidence.noise}
    report["codes"] = of_fit(codes, truth, error, settings)
    yield report | {"stages": watch.seconds()}
    between = time.monotonic()
    refined = finish(model, found, registration, replace(settings, refine=True), watch, between)
    report["refine"] = of_fit(refined, truth, error, settings)
    report["refine"]["seconds"] += codes.seconds
    yield report | {"stages": watch.seconds()}


def damaged(name: str, surface: Surface, kind: str) -> RawScan:
    """What is left of the surface of a scan that nothing covers. The same name, the same damage."""
    points, faces = only(surface.vertices, surface.faces, np.ones(len(surface.faces), bool))
    rng = np.random.default_rng(sum(map(ord, name)))
    if kind == "noise":
        return RawScan(name, noisy(points, NOISE, rng), faces, None)
    if kind == "missing":
        return RawScan(name, *only(points, faces, ~in_patches(points, faces, PATCH, MISSING, rng)), None)
    cloud = sample_surface(points, faces, CLOUD, rng)[0]
    return RawScan(name, cloud if kind == "cloud" else with_strays(cloud, STRAYS, rng), None, None)


def clean_evidence(model: Model, whole: RawScan, registration: Registration, settings: FitSettings) -> Evidence:
    """Of the whole scan, to measure by."""
    wearer, rng = Wearer.of(model.body, registration.body), np.random.default_rng(settings.seed)
    body = Surface(wearer.vertices().cpu().double().numpy(), wearer.faces.cpu().numpy())
    return gather(whole, registration.placement, body, settings.samples, rng)


def of_fit(fitted: FittedAvatar, truth: Evidence | None, error: float, settings: FitSettings) -> dict[str, Any]:
    """Measures against the truth; None: against the scan that was fitted."""
    measures = fitted.measures
    if truth is not None:
        posed = fitted.posed
        surface = Surface(posed.vertices.cpu().double().numpy(), posed.faces.cpu().numpy())
        measures = measure(surface, truth, settings.report_points, settings.seed)
    more = {"joint_error_mm": error, "seconds": fitted.seconds, "sure": fitted.sure, "reason": fitted.reason}
    return asdict(measures) | more


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
    """Markdown: of undamaged scans mean, median, worst, and the share that meets the goal; what damage costs; then a
    row a scan."""
    whole = [report for report in reports if report["damage"] == "none"]
    lines = [*(against_goals(whole) if whole else []), *costs(reports)]
    lines += ["| person | damage | codes: Chamfer, mm | NC | F | s | refine: Chamfer | NC | F | joints, mm |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for report in sorted(reports, key=lambda report: (report["name"], DAMAGES.index(report["damage"]))):
        one, two = report["codes"], report.get("refine", dict.fromkeys(GOALS["refine"], np.nan))
        lines.append(
            f"| {report['name']} | {report['damage']} | {one['chamfer_mm']:.2f} | {one['normal_consistency']:.3f} | "
            f"{one['f_score_1cm']:.3f} | {one['seconds']:.0f} | {two['chamfer_mm']:.2f} | "
            f"{two['normal_consistency']:.3f} | {two['f_score_1cm']:.3f} | {one['joint_error_mm']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def against_goals(reports: list[dict[str, Any]]) -> list[str]:
    """A measure a row."""
    lines = [f"{len(reports)} people, their bodies given", ""]
    lines += ["| fit | measure | mean | median | worst | of whom | meet | goal |", "|---|---|---|---|---|---|---|---|"]
    for kind, goals in GOALS.items():
        for name, goal in (goals | {"seconds": SECONDS if kind == "codes" else np.inf}).items():
            small = name in ("chamfer_mm", "seconds")
            those = [report for report in reports if kind in report]
            if not those:
                continue
            values = np.array([report[kind][name] for report in those])
            worst = int(values.argmax() if small else values.argmin())
            meets = 100 * ((values <= goal) if small else (values >= goal)).mean()
            lines.append(
                f"| {kind} | {name} | {values.mean():.3f} | {np.median(values):.3f} | {values[worst]:.3f} | "
                f"{those[worst]['name']} | {meets:.0f} % | {goal} |"
            )
    return [*lines, ""]


def costs(reports: list[dict[str, Any]]) -> list[str]:
    """A damage and fit a row: means, and ratios to the means of the same people's whole scans (of stray points also to
    the cloud without them)."""
    found = {(r["name"], r["damage"], kind): r[kind] for r in reports for kind in GOALS if kind in r}
    lines = ["| fit | damage | people | Chamfer, mm | to none | worst | NC | to none | F | to none |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    pairs = [(damage, "none") for damage in DAMAGES[1:]] + [("outliers", "cloud")]
    for kind, (damage, base) in [(kind, pair) for kind in GOALS for pair in pairs]:
        names = [n for n, d, k in found if (d, k) == (damage, kind) and (n, base, kind) in found]
        if not names:
            continue
        cells = []
        for name in GOALS[kind]:
            mine, clean = (np.array([found[n, d, kind][name] for n in names]) for d in (damage, base))
            cells += [f"{mine.mean():.3f}", f"{mine.mean() / clean.mean():.2f}"]
            cells += [f"{(mine / clean).max():.2f}"] if name == "chamfer_mm" else []
        label = damage if base == "none" else f"{damage}, to {base}"
        lines.append(f"| {kind} | {label} | {len(names)} | " + " | ".join(cells) + " |")
    return [*lines, ""] if len(lines) > 2 else []


def work(args: argparse.Namespace) -> int:
    """This process's share; returns how many failed."""
    torch.set_num_threads(args.threads)
    pack = open_pack(args.pack)
    names = args.people or [entry.name for entry in pack.people(held_out=True)]
    every = [(name, damage) for name in names for damage in args.damage]
    mine = [pair for pair in every[args.id :: args.tot] if not is_done(args.out / "{}_{}.json".format(*pair))]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    model = load(args.model, args.device or (f"cuda:{args.id % gpus}" if gpus else "cpu"))
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)
    settings, failed = settings_of(args.set), 0
    for name, damage in mine:
        try:
            for report in fit_both(model, pack, name, damage, settings):
                write(args.out / f"{name}_{damage}.json", json.dumps(report, indent=2) + "\n")
        except Exception as error:  # one bad fit does not stop the others
            traceback.print_exc()
            print(f"{name}, {damage}, failed: {error}", flush=True)
            failed += 1
            continue
        kinds = "; ".join(f"{k} {report[k]['chamfer_mm']:.2f} mm, {report[k]['seconds']:.0f} s" for k in GOALS)
        print(f"{name}, {damage}: {kinds}", flush=True)
    return failed


def is_done(path: Path) -> bool:
    """Whether a scan's fits are there, both."""
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
    parser.add_argument("--damage", nargs="+", default=["none"], choices=DAMAGES)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the fit")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads a process")
    parser.add_argument("--tot", type=int, default=1)
    parser.add_argument("--id", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="start so many processes a GPU; 0: work here")
    args = parser.parse_args()
    args.pack = find_pack(args.pack)
    failed = spread(args) if args.workers else work(args)
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.out.glob("[!.]*.json"))]
    if reports:
        write(args.out / "table.md", table(reports))
        if args.workers or args.tot == 1:
            print(table(reports))
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
