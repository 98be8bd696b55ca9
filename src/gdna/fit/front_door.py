"""Fitting for programs: any kind of scan, any kind of body parameters."""

from __future__ import annotations

from pathlib import Path

from gdna.data.scan_params import ScanParams, read_params
from gdna.fit.depth import Intrinsics
from gdna.fit.given_body import given_body, scan_with_body
from gdna.fit.person import FittedAvatar, fit_person
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Watch, unwatched
from gdna.fit.reading import read_raw_scan
from gdna.fit.register import register_body
from gdna.fit.settings import RegisterSettings
from gdna.fit.types import RawScan
from gdna.generate.loading import load
from gdna.generate.people import Model
from gdna.types import Scan


def fit(
    scan: Path | str | RawScan | Scan,
    body: Path | str | ScanParams | None = None,
    settings: FitSettings | None = None,
    model: Model | None = None,
    watch: Watch = unwatched,
    *,
    unit: str = "auto",
    up: str = "auto",
    intrinsics: Intrinsics | None = None,
) -> FittedAvatar:
    """Put a model (default: the shipped one) onto a scan: a file, a raw scan, or a scan that brings its body.

    `body` are the body's parameters in the scan's frame (a file, or as read); without, they are looked for, and `unit`
    and `up` say what is known of the scan's file (as `RegisterSettings`). `intrinsics` are those of a depth image's
    file that does not bring them, in pixels. Raises `GdnaError` where a file cannot be read, or scan, body and model do
    not belong together.
    """
    model = model or load()
    if isinstance(scan, Scan):
        raw, own = scan_with_body(scan)
        body = own if body is None else body
    else:
        raw = scan if isinstance(scan, RawScan) else read_raw_scan(scan, intrinsics)
    if body is None:
        registration = register_body(raw, model.body, RegisterSettings(unit=unit, up=up))
    else:
        registration = given_body(raw.name, body if isinstance(body, ScanParams) else read_params(body), model.body)
    return fit_person(model, raw, registration, settings, watch, given=body is not None)
