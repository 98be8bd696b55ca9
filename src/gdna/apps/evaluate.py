"""`gdna evaluate`: everything that can be measured of a model, as JSON and as a page."""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch

from gdna.apps.batch import in_order
from gdna.apps.config import OPEN_SCANS, OUTPUTS, DataModule, Evaluate, Poses, Split
from gdna.apps.opened_model import open_model
from gdna.apps.preprocess import find_readers
from gdna.apps.progress import track
from gdna.data.sample_file import SAMPLES
from gdna.errors import GdnaError
from gdna.evaluate.merge import merged
from gdna.evaluate.page import write_page
from gdna.evaluate.report import Evaluation, read_column, write_json
from gdna.evaluate.runner import EvaluationData, Share, measure
from gdna.evaluate.sets import Kind, Readers, ScanSet, trained_set, unseen_sets
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.table import ROWS
from gdna.generate.people import Model
from gdna.model.checkpoint import load_extra

NEEDS_SCANS = ("scans", "people", "skinning")


def run(keys: Evaluate) -> None:
    against = [read_column(path) for path in keys.against]
    if keys.devices < 1:
        raise GdnaError(f"devices={keys.devices}: expected 1 or more")
    parts = list(in_order(partial(measured, keys), range(keys.devices), keys.devices))
    evaluation, folder = merged(parts), Path(OUTPUTS, keys.expname)
    out = Path(keys.out) if keys.out else folder / "evaluation"
    write_json(out / "evaluation.json", evaluation)
    write_page(out / "evaluation.html", evaluation, against)
    _print(evaluation)
    print(f"numbers: {out / 'evaluation.json'}\npage:    {out / 'evaluation.html'}")


def measured(keys: Evaluate, index: int) -> Evaluation:
    """The share of process `index`, on a device of its own."""
    device = keys.device
    if keys.devices > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // keys.devices))
        if device == "auto" and torch.cuda.is_available():
            device = f"cuda:{index % torch.cuda.device_count()}"
            torch.cuda.set_device(device)  # whatever does not ask its tensors where they lie
    opened = open_model(keys.expname, keys.datamodule, device)
    settings = EvaluateSettings(**{f.name: getattr(keys, f.name) for f in fields(EvaluateSettings)})
    names = tuple(load_extra(opened.checkpoint).get("names", ()))
    needed = any(part in NEEDS_SCANS for part in settings.parts)
    data = find_data(opened.model, names, keys) if needed else EvaluationData()
    evaluation = measure(opened.model, data, settings, track=track, share=Share(keys.devices, index))
    return replace(evaluation, model_sha256=hashlib.sha256(opened.checkpoint.read_bytes()).hexdigest())


def find_data(model: Model, names: tuple[str, ...], keys: Evaluate) -> EvaluationData:
    """The scans at hand. The training scans may be missing (the shipped model's seldom are there), the others not."""
    sets: dict[Kind, list[ScanSet]] = {}
    if any(Path(keys.datamodule.dataset_path).glob(f"*/{SAMPLES}")):
        sets["trained"] = [trained_set(model, names, keys.datamodule.dataset_path, readers(keys.datamodule, None))]
    folders = [
        (folder, readers(keys.datamodule, scans) if scans else {})
        for folder, scans in ((keys.held_out, keys.held_out_scans), (keys.poses, keys.poses_scans))
        if folder is not None
    ]
    return EvaluationData({**sets, **unseen_sets(model, names, folders)})


def readers(datamodule: DataModule, scans: str | None) -> Readers:
    """How scans of a folder or a pack are read, whoever and in whichever pose; the training scans may be missing."""
    every = replace(datamodule, split=Split.all, poses=Poses.all, data_list=None)
    if scans is not None:
        return find_readers(replace(every, scans_path=scans))
    if not Path(datamodule.scans_path).exists() and datamodule.scans_path != OPEN_SCANS:
        return {}
    try:
        return find_readers(every)
    except GdnaError:
        return {}


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
