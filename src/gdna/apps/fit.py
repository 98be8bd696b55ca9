"""`gdna fit`: scans -> avatars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gdna.apps.batch import run_batch
from gdna.apps.config import OUTPUTS
from gdna.apps.config_fit import Fit
from gdna.apps.opened_model import open_model
from gdna.apps.progress import StageBars
from gdna.data.sharding import shard
from gdna.errors import GdnaError
from gdna.fit.depth import Intrinsics
from gdna.fit.folder_report import SUMMARY, note_failure, write_summary
from gdna.fit.progress import Progress
from gdna.fit.runner import AVATAR, PICTURE, RIG, FitJob, find_jobs, fit_file
from gdna.generate.people import Model


def run(keys: Fit) -> None:
    if keys.scan is None:
        raise GdnaError("scan: not given; type gdna fit scan.ply, or a folder of scans")
    scan = Path(keys.scan)
    out = Path(keys.out) if keys.out else Path(OUTPUTS, "fit", "" if scan.is_dir() else scan.stem)
    keys.registering()  # says what is wrong before anything is read
    camera = Intrinsics(*keys.intrinsics) if keys.intrinsics else None
    jobs = [replace(job, intrinsics=camera) for job in find_jobs(scan, out, keys.body, keys.true_body)]
    fit = partial(fit_job, open_model(keys.expname, keys.datamodule, keys.device).model, keys)
    if not scan.is_dir():
        report = fit(jobs[0], StageBars(scan.stem))
        print(f"{summary(report)}\navatar: {out / AVATAR}\nrigged: {out / RIG}\npicture: {out / PICTURE}")
        return
    fit_all(jobs, fit, keys, out)
    print(f"avatars: {out}")


def fit_all(jobs: list[FitJob], fit: Callable[[FitJob, StageBars], dict[str, Any]], keys: Fit, out: Path) -> None:
    """This process's share of a folder's scans, those that are not done yet; and a summary of all in `out`."""
    mine = {job.scan.stem: job for job in shard(jobs, keys.tot, keys.id)}
    waiting = [name for name, job in mine.items() if not job.is_done]
    if len(waiting) < len(mine):
        print(f"{len(mine) - len(waiting)} of {len(mine)} scans are fitted already")

    def work(name: str) -> None:
        try:
            report = fit(mine[name], StageBars(name))
        except Exception as error:
            note_failure(mine[name].out, str(error))
            raise
        print(f"{name}: {summary(report)}")

    try:
        run_batch(waiting, work, "fit", "scans")
    finally:
        print(folder_summary(write_summary(out), out))


def fit_job(model: Model, keys: Fit, job: FitJob, bars: StageBars) -> dict[str, Any]:
    def watch(progress: Progress) -> None:
        bars(progress.stage, progress.step, progress.steps, progress.error, progress.unit)

    with bars:
        return fit_file(model, job, keys.settings(), keys.registering(), watch, keys.preview)


def folder_summary(found: Mapping[str, Any], out: Path) -> str:
    """One line for the terminal."""
    chamfer = found["mean"]["chamfer_mm"]
    mean = "" if chamfer is None else f", Chamfer {chamfer:.1f} mm on average"
    doubts = f"{len(found['not_sure'])} not sure, {len(found['failed'])} failed"
    return f"{found['fitted']} scans fitted{mean}, {doubts}: {out / SUMMARY}"


def summary(report: dict[str, Any]) -> str:
    """One line for the terminal."""
    line = (
        f"Chamfer {report['chamfer_mm']:.1f} mm, normal consistency {report['normal_consistency']:.3f}, "
        f"F-score at 1 cm {report['f_score_1cm']:.3f}, {report['seconds']:.0f} s"
    )
    return line if report["sure"] else f"{line}; not sure: {report['reason']}"
