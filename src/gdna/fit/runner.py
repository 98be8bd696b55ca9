"""From a scan's file to the files of its avatar."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gdna.data.scan import MESH_SUFFIXES, find_params
from gdna.data.scan_params import read_params
from gdna.errors import GdnaError
from gdna.export.avatar_npz import save_avatar
from gdna.export.glb import write_glb
from gdna.export.ply import write_ply
from gdna.fit.depth import Intrinsics
from gdna.fit.folder_report import FAILURE, REPORT
from gdna.fit.given_body import given_body, joint_error_mm
from gdna.fit.person import FittedAvatar, fit_person, mesh_of, posed_mesh
from gdna.fit.person_settings import FitSettings
from gdna.fit.picture import preview_picture, report_picture
from gdna.fit.progress import Progress, Watch, unwatched
from gdna.fit.reading import read_raw_scan
from gdna.fit.register import register_body
from gdna.fit.settings import RegisterSettings
from gdna.generate.people import Model
from gdna.geometry.files import atomic_path
from gdna.render.video import save_png

AVATAR, RIG, MESH, PICTURE, PREVIEW = "avatar.npz", "avatar.glb", "fit.ply", "report.png", "preview.png"
FOLDER_SUFFIXES = (*MESH_SUFFIXES, ".xyz")  # of what is a scan in a folder; depth images have a .json beside them
PREVIEW_RESOLUTION = 64


@dataclass(frozen=True)
class FitJob:
    """One scan to fit. `body`: its parameters; None: they are looked for in the scan."""

    scan: Path
    out: Path
    body: Path | None = None
    true_body: Path | None = None  # to measure the joints by
    intrinsics: Intrinsics | None = None  # of a depth image; None: as its file says

    @property
    def is_done(self) -> bool:
        """The report is written last."""
        return (self.out / REPORT).is_file()


def fit_file(
    model: Model,
    job: FitJob,
    settings: FitSettings,
    registering: RegisterSettings,
    watch: Watch = unwatched,
    preview: float = 0.0,
) -> dict[str, Any]:
    """Fit one scan and write avatar.npz, avatar.glb, fit.ply, report.png and report.json, each whole or not at all,
    into `job.out`; returns the report. `preview`: seconds between pictures of how things stand, which go at the end; 0:
    none."""
    started = time.monotonic()
    raw = read_raw_scan(job.scan, job.intrinsics)
    truth = None if job.true_body is None else read_params(job.true_body)
    if job.body is not None:
        registration = given_body(raw.name, read_params(job.body), model.body)
    else:
        registration = register_body(raw, model.body, registering, _told(watch))
    picture = job.out / PREVIEW
    watching = Previewing(watch, picture, preview) if preview else watch
    fitted = fit_person(model, raw, registration, settings, watching, given=job.body is not None)
    error = None
    if truth is not None:
        error = joint_error_mm(raw.name, truth, model.body, fitted.wearer, fitted.placement)
    report = {
        "scan": str(job.scan),
        **asdict(fitted.measures),
        "joint_error_mm": error,
        "seconds": round(time.monotonic() - started, 2),
        "sure": fitted.sure,
        "reason": fitted.reason,
        "model": model.name,
        "body": "found" if job.body is None else str(job.body),
        "registration_mm": registration.residual_mm,
        "scale": fitted.placement.scale,
        "refine": settings.refine,
        "residual": settings.residual,
    }
    write_avatar(fitted, report, job.out)
    for leftover in (picture, job.out / FAILURE):
        leftover.unlink(missing_ok=True)
    return report


def write_avatar(fitted: FittedAvatar, report: dict[str, Any], out: Path) -> None:
    """All files of a fit; the report is the last, so that its presence says that the others are there."""
    wearer, on_scan = fitted.wearer, fitted.on_scan()
    save_avatar(out / AVATAR, fitted.person.record(wearer.joint_rotations, wearer.translation))
    write_glb(out / RIG, fitted.avatar)
    write_ply(out / MESH, on_scan.vertices, on_scan.faces, on_scan.normals)
    save_png(out / PICTURE, report_picture(fitted.posed, fitted.evidence, caption(report)))
    with atomic_path(out / REPORT) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def caption(report: dict[str, Any]) -> str:
    """The numbers that a reader looks for, in two lines."""
    first = f"Chamfer {report['chamfer_mm']:.1f} mm   normal consistency {report['normal_consistency']:.3f}"
    second = f"F-score at 1 cm {report['f_score_1cm']:.3f}"
    if report["iou"] is not None:
        second += f"   IoU {report['iou']:.3f}"
    if report["joint_error_mm"] is not None:
        second += f"   joints {report['joint_error_mm']:.0f} mm"
    return f"{first}\n{second}" + ("" if report["sure"] else f"\nnot sure: {report['reason']}")


class Previewing:
    """Passes progress on and draws how things stand every so many seconds."""

    def __init__(self, watch: Watch, path: Path, seconds: float) -> None:
        self.watch, self.path, self.seconds = watch, path, seconds
        self._next = time.monotonic() + seconds

    def __call__(self, progress: Progress) -> None:
        self.watch(progress)
        if progress.guess is None or time.monotonic() < self._next:
            return
        guess = progress.guess()
        try:
            posed = posed_mesh(mesh_of(guess, PREVIEW_RESOLUTION), guess.wearer)
        except GdnaError:  # a person without a surface, at this moment
            return
        save_png(self.path, preview_picture(posed, guess.evidence))
        self._next = time.monotonic() + self.seconds


def find_jobs(
    scan: Path | str, out: Path | str, body: Path | str | None = None, true_body: Path | str | None = None
) -> list[FitJob]:
    """A scan, or all scans of a folder, each with a folder of its own below `out`.

    `body` and `true_body` are files for a scan; for a folder they are folders with NAME.npz, NAME_smpl.pkl or NAME.pkl.
    Raises `GdnaError` where there is nothing to fit, a body is missing, or two scans have one name.
    """
    scan, out = Path(scan), Path(out)
    if not scan.is_dir():
        if not scan.is_file():
            raise GdnaError(f"{scan}: not found; expected a scan, or a folder of scans")
        return [FitJob(scan, out, _file("body", body), _file("true_body", true_body))]
    found: dict[str, Path] = {}
    for path in sorted(p for pattern in ("*", "*/*") for p in scan.glob(pattern) if _is_scan(p)):
        if any(part.startswith(".") for part in path.relative_to(scan).parts):
            continue
        if path.stem in found:
            raise GdnaError(f"{path}: a second scan of the name {path.stem}, beside {found[path.stem]}; rename one")
        found[path.stem] = path
    if not found:
        raise GdnaError(f"{scan}: no scans found; expected {', '.join(FOLDER_SUFFIXES)} files here or one folder below")
    return [
        FitJob(path, out / name, _in_folder("body", body, path), _in_folder("true_body", true_body, path))
        for name, path in sorted(found.items())
    ]


def _is_scan(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in FOLDER_SUFFIXES or (suffix == ".png" and path.with_suffix(".json").is_file())


def _file(key: str, path: Path | str | None) -> Path | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise GdnaError(f"{key}={path}: no such file; expected body parameters (npz or pkl)")
    return Path(path)


def _in_folder(key: str, folder: Path | str | None, scan: Path) -> Path | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise GdnaError(f"{key}={folder}: not a folder; for a folder of scans, give the folder of their parameters")
    return find_params(scan, folder)


def _told(watch: Watch) -> Callable[[str, float], None]:
    """The registration's own progress as one of a fit's."""
    return lambda stage, cost: watch(Progress(f"body: {stage}", 1, 1, cost, "cost"))
