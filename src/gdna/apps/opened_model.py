"""The model that a verb works with: an experiment's, or the shipped one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gdna.apps.config import OUTPUTS, DataModule
from gdna.apps.datamodule import model_body
from gdna.apps.import_checkpoint import import_where_needed
from gdna.generate.loading import CHECKPOINT, SHIPPED_NAME, checkpoint_path, load, shipped_model
from gdna.generate.people import Model
from gdna.model.checkpoint import load_config


@dataclass(frozen=True)
class OpenedModel:
    model: Model
    folder: Path  # of the experiment
    checkpoint: Path
    shipped: bool


def open_model(expname: str, data: DataModule, device: str) -> OpenedModel:
    """The experiment's, imported first where the original's code wrote it; by the shipped model's name that one, unless
    an experiment of that name is there. Raises `GdnaError` where there is none."""
    folder = Path(OUTPUTS, expname)
    import_where_needed(folder, data)
    if expname == SHIPPED_NAME and not (folder / CHECKPOINT).is_file():
        return OpenedModel(load(None, device, None), folder, shipped_model(), True)
    checkpoint = checkpoint_path(folder)
    return OpenedModel(load(folder, device, model_body(data, load_config(checkpoint))), folder, checkpoint, False)
