"""What the verbs ask of a data set's keys: its body model and its list of scans."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

from gdna.apps.config import BodyKind, Bones, DataModule, Gender
from gdna.errors import GdnaError
from gdna.model.config import ModelConfig

BODY_FOLDERS = ("lib/smpl/smpl_model", "data", "data/body_models", "data/{kind}", "data/body_models/{kind}")
BODY_SUFFIXES = (".pkl", ".npz")
SMPL_OF = {24: BodyKind.smpl, 52: BodyKind.smplh, 55: BodyKind.smplx}  # by the number of joints


def body_of(data: DataModule) -> Any:
    """The body under the scans' clothes. Raises `GdnaError` where the file of an SMPL body is not given or missing."""
    return body_model(data.body, data.body_path, data.gender, data.num_betas, data.bones)


@lru_cache(maxsize=1)
def body_model(
    kind: BodyKind,
    path: str | None,
    gender: Gender = Gender.neutral,
    num_betas: int = 10,
    bones: Bones = Bones.all,
) -> Any:
    """As `body_of`."""
    from gdna.body.open_body import open_body

    smpl = smpl_path(kind, path, gender)
    if smpl is None:
        return open_body()
    from gdna.body.smpl import Smpl

    return Smpl(smpl, num_betas, bones.value)


def smpl_path(kind: BodyKind, path: str | None, gender: Gender = Gender.neutral) -> str | None:
    """The user's SMPL file: the one given, or the first found where the original and its kin keep it; None for the open
    body. Raises `GdnaError` where there is none."""
    if kind is BodyKind.open:
        return None
    if path is not None:
        if Path(path).is_file():
            return path
        raise GdnaError(
            f"datamodule.body_path={path}: no such file; expected a {kind.name.upper()} model, .pkl or .npz"
        )
    stem = f"{kind.name}_{gender.name}".upper()
    places = [Path(folder.format(kind=kind.name), stem + end) for folder in BODY_FOLDERS for end in BODY_SUFFIXES]
    for place in places:
        if place.is_file():
            return str(place)
    raise GdnaError(
        f"{places[0]}: no such file, nor {', '.join(map(str, places[1:4]))} ...; download {kind.name.upper()} from its "
        "authors (smpl.is.tue.mpg.de and the like), put it there, or give datamodule.body_path"
    )


def model_body(data: DataModule, model: ModelConfig) -> str | None:
    """The SMPL file for a trained model, or None for the open body. A model that was trained on bodies of other betas
    than the open one's is one of SMPL, whatever the keys say: so the original's commands work without `datamodule`."""
    kind = data.body
    if kind is BodyKind.open and model.num_betas != ModelConfig().num_betas:
        kind = SMPL_OF.get(model.num_bones, BodyKind.smpl)
    return smpl_path(kind, data.body_path, data.gender)


def listed_names(datamodule: DataModule) -> list[str] | None:
    """The names in `data_list`. None: all scans."""
    return None if datamodule.data_list is None else read_list(datamodule.data_list)


def read_list(data_list: str, key: str = "datamodule.data_list") -> list[str]:
    """A csv with a column "id", or one name a line. Raises `GdnaError` where it is missing or empty."""
    path = Path(data_list)
    if not path.is_file():
        raise GdnaError(f"{key}={path}: no such file; expected one scan a line, or a csv with a column id")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    header = rows[0] if rows else []
    names = [row[header.index("id")] for row in rows[1:]] if "id" in header else [row[0] for row in rows]
    if not names:
        raise GdnaError(f"{key}={path}: empty; expected one scan a line, or a csv with a column id")
    return [name.strip() for name in names]
