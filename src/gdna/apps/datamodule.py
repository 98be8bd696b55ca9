"""What the verbs ask of a data set's keys: its body model and its list of scans."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

from gdna.apps.config import BodyKind, DataModule
from gdna.errors import GdnaError


@lru_cache(maxsize=1)
def body_model(kind: BodyKind, path: str | None) -> Any:
    """The body under the scans' clothes. Raises `GdnaError` where SMPL's file is not given or missing."""
    from gdna.body.open_body import open_body

    smpl = smpl_path(kind, path)
    if smpl is None:
        return open_body()
    from gdna.body.smpl import Smpl

    return Smpl(smpl)


def smpl_path(kind: BodyKind, path: str | None) -> str | None:
    """The user's SMPL file, or None for the open body."""
    if kind is BodyKind.open:
        return None
    if path is None or not Path(path).is_file():
        raise GdnaError(
            f"datamodule.body_path={path}: no such file; download SMPL (smpl.is.tue.mpg.de, 10 shape PCs) and give the "
            "path of its neutral or female .pkl"
        )
    return path


def listed_names(datamodule: DataModule) -> list[str] | None:
    """The names in `data_list`: a csv with a column "id", or one name a line. None: all scans."""
    if datamodule.data_list is None:
        return None
    path = Path(datamodule.data_list)
    if not path.is_file():
        raise GdnaError(
            f"datamodule.data_list={path}: no such file; expected one scan a line, or a csv with a column id"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    header = rows[0] if rows else []
    names = [row[header.index("id")] for row in rows[1:]] if "id" in header else [row[0] for row in rows]
    if not names:
        raise GdnaError(f"datamodule.data_list={path}: empty; expected one scan a line, or a csv with a column id")
    return [name.strip() for name in names]
