"""`gdna import-checkpoint`: models of the original, and the same by itself wherever a verb meets one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gdna.apps.config import DataModule, ImportCheckpoint
from gdna.apps.datamodule import listed_names, read_list
from gdna.data.prepared import prepared_names
from gdna.errors import GdnaError
from gdna.generate.loading import CHECKPOINT
from gdna.model.original import Imported, import_checkpoint, write_imported

ORIGINAL = CHECKPOINT.with_suffix(".ckpt")  # in an experiment's folder
BODY = "smpl"


def run(keys: ImportCheckpoint) -> None:
    if keys.path is None:
        raise GdnaError("path: not given; type gdna import-checkpoint outputs/renderpeople/checkpoints/last.ckpt")
    source = Path(keys.path)
    names = [] if keys.data_list is None else read_list(keys.data_list, "data_list")
    out = target(source, keys.out)
    imported = import_checkpoint(source)
    write(source, out, imported, names)
    print(f"model: {out}")


def target(source: Path, out: str | None) -> Path:
    """Where the model goes: a file, or the checkpoint of an experiment's folder."""
    if out is None:
        return source.with_suffix(CHECKPOINT.suffix)
    return Path(out) if Path(out).suffix == CHECKPOINT.suffix else Path(out, CHECKPOINT)


def write(source: Path, out: Path, imported: Imported, names: Sequence[str]) -> None:
    """Raises `GdnaError` where the names are not as many as the model's codes."""
    people = imported.model.config.num_people
    if names and len(names) != people:
        raise GdnaError(f"{source}: {people} codes, but {len(names)} scans are listed; give the list it was trained on")
    write_imported(out, imported, names, BODY)
    if not names:
        print(
            f"{out}: the names of its {people} scans are not known, which training it further needs (data_list=)",
            file=sys.stderr,
        )


def import_where_needed(experiment: Path, data: DataModule) -> None:
    """Import an experiment's last.ckpt where gdna has not written a model there yet, and say so."""
    source, out = experiment / ORIGINAL, experiment / CHECKPOINT
    if not out.is_file() and source.is_file():
        print(f"{source}: a checkpoint of the original, imported as {out.name}", file=sys.stderr)
        imported = import_checkpoint(source)
        write(source, out, imported, known_names(data, imported.model.config.num_people))


def known_names(data: DataModule, people: int) -> list[str]:
    """The scans of the list or of the prepared folder, where they are as many as the model has codes."""
    names = listed_names(data)
    if names is None:
        try:
            names = prepared_names(data.dataset_path)
        except GdnaError:
            return []
    return names if len(names) == people else []


def checkpoint_given(path: Path, data: DataModule) -> Path:
    """`starting_path` as gdna's own format: a .ckpt of the original is imported beside itself."""
    if path.suffix != ORIGINAL.suffix:
        if path.name == CHECKPOINT.name:
            import_where_needed(path.parent.parent, data)
        return path
    own = path.with_suffix(CHECKPOINT.suffix)
    if own.is_file():
        print(f"starting_path={path}: its import {own} is taken", file=sys.stderr)
    elif path.is_file():
        print(f"starting_path={path}: a checkpoint of the original, imported as {own}", file=sys.stderr)
        imported = import_checkpoint(path)
        write(path, own, imported, known_names(data, imported.model.config.num_people))
    return own
