"""`gdna evaluate`: everything that can be measured of a model, as JSON and as a page."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from gdna.apps.config import DataModule, Evaluate
from gdna.apps.opened_model import open_model
from gdna.apps.preprocess import find_readers
from gdna.apps.progress import track
from gdna.data.sample_file import SAMPLES
from gdna.evaluate.page import write_page
from gdna.evaluate.report import Evaluation, read_column, write_json
from gdna.evaluate.runner import EvaluationData, evaluate
from gdna.evaluate.sets import Kind, Readers, ScanSet, trained_set, unseen_sets
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.table import ROWS
from gdna.generate.people import Model
from gdna.model.checkpoint import load_extra

NEEDS_SCANS = ("scans", "people", "skinning")


def run(keys: Evaluate) -> None:
    against = [read_column(path) for path in keys.against]
    opened = open_model(keys.expname, keys.datamodule, keys.device)
    model = opened.model
    settings = EvaluateSettings(**{f.name: getattr(keys, f.name) for f in fields(EvaluateSettings)})
    names = tuple(load_extra(opened.checkpoint).get("names", ()))
    needed = any(part in NEEDS_SCANS for part in settings.parts)
    data = find_data(model, names, keys) if needed else EvaluationData()
    evaluation = evaluate(model, data, settings, track=track)
    out = Path(keys.out) if keys.out else opened.folder / "evaluation"
    write_json(out / "evaluation.json", evaluation)
    write_page(out / "evaluation.html", evaluation, against)
    _print(evaluation)
    print(f"numbers: {out / 'evaluation.json'}\npage:    {out / 'evaluation.html'}")


def find_data(model: Model, names: tuple[str, ...], keys: Evaluate) -> EvaluationData:
    """The scans at hand. The training scans may be missing (the shipped model's seldom are there), the others not."""
    sets: dict[Kind, list[ScanSet]] = {}
    if any(Path(keys.datamodule.dataset_path).glob(f"*/{SAMPLES}")):
        limit = max(keys.scans, keys.people)
        sets["trained"] = [
            trained_set(model, names, keys.datamodule.dataset_path, readers(keys.datamodule, None), limit)
        ]
    folders = [
        (folder, readers(keys.datamodule, scans) if scans else {})
        for folder, scans in ((keys.held_out, keys.held_out_scans), (keys.poses, keys.poses_scans))
        if folder is not None
    ]
    return EvaluationData({**sets, **unseen_sets(model, names, folders)})


def readers(datamodule: DataModule, scans: str | None) -> Readers:
    """How scans of a folder are read; the training scans' folder may be missing."""
    folder = datamodule.scans_path if scans is None else scans
    if scans is None and not Path(folder).is_dir():
        return {}
    return find_readers(replace(datamodule, scans_path=folder))


def _print(evaluation: Evaluation) -> None:
    summary = evaluation.summary()
    for note in evaluation.notes:
        print(f"note: {note}")
    section = ""
    for row in ROWS:
        if row.key not in summary:
            continue
        if row.section != section:
            section = row.section
            print(section)
        print(f"  {row.title:<52} {summary[row.key]:.{row.digits}f}")
