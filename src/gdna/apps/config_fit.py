"""The keys of `gdna fit`. Free of torch and hydra, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from gdna.apps.config import SMPL_MODELS, DataModule, as_in
from gdna.errors import GdnaError
from gdna.fit.person_settings import FitSettings
from gdna.fit.settings import RegisterSettings
from gdna.keys import key


@dataclass(frozen=True)
class Fit(FitSettings):
    """Keys of `gdna fit`."""

    scan: str | None = key(None, "a scan, or a folder of scans; the argument without a key")
    body: str | None = key(None, "the body's parameters (npz, pkl), of a folder's scans a folder; null: look for it")
    out: str | None = key(None, "folder of the results; a folder's scans have one each below it; null: outputs/fit")
    unit: str = key("auto", "of the scan's file: auto, m, cm, mm, or free: any; where the body is looked for")
    up: str = key(
        "auto", "axis of the scan's file that points to the head: auto, +y, -z, ...; where the body is looked for"
    )
    intrinsics: tuple[float, ...] = key((), "fx, fy, cx, cy of a depth image in pixels; []: as its file says")
    true_body: str | None = key(None, "parameters known otherwise, to report joint_error_mm by")
    preview: float = key(0.0, "draw preview.png every so many seconds; 0: never")
    tot: int = key(1, "split a folder's scans over so many processes or machines")
    id: int = key(0, "which of them this is, from 0")
    expname: str = key("open", "your experiment below outputs; open: the shipped model")
    device: str = key("auto", "cpu, cuda, cuda:1 or auto")
    datamodule: DataModule = field(default_factory=DataModule, metadata=as_in("train", SMPL_MODELS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.intrinsics) not in (0, 4):
            raise GdnaError(f"intrinsics={list(self.intrinsics)}: expected four numbers, [fx,fy,cx,cy]")
        if self.preview < 0:
            raise GdnaError(f"preview={self.preview}: expected seconds, or 0 for none")

    def registering(self) -> RegisterSettings:
        """What looking for the body takes."""
        return RegisterSettings(unit=self.unit, up=self.up, seed=self.seed)

    def settings(self) -> FitSettings:
        """What fitting takes."""
        return FitSettings(**{f.name: getattr(self, f.name) for f in fields(FitSettings)})
