"""Where losses and images of a training run go: TensorBoard, Weights & Biases, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gdna.errors import GdnaError
from gdna.train.settings import LoggerKind


class Logger:
    """Logs nowhere."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        pass

    def image(self, name: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoardLogger(Logger):
    """Event files in a folder; what an interrupted run logged after `first_step` is hidden by what follows now."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, name: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class WandbLogger(Logger):
    """One run per experiment folder, continued when training is."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise GdnaError(
                "logger=wandb: the package wandb is not installed; `pip install wandb`, or use logger=tensorboard"
            ) from error
        self.wandb = wandb
        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project="gdna", name=name, id=_identifier(folder), resume="allow", dir=str(folder), config=dict(config)
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def image(self, name: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        self.run.log({name: self.wandb.Image(image)}, step=step)

    def close(self) -> None:
        self.run.finish()


def _identifier(folder: Path) -> str:
    """The run's name for the service, drawn once and kept in the folder."""
    import secrets

    path = folder / "wandb_id"
    if not path.is_file():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()


def open_logger(kind: LoggerKind, folder: Path, name: str, config: Mapping[str, Any], first_step: int = 0) -> Logger:
    """Raises `GdnaError` where the logger's package is not installed."""
    match kind:
        case LoggerKind.tensorboard:
            return TensorBoardLogger(folder, first_step)
        case LoggerKind.wandb:
            return WandbLogger(folder, name, config)
        case LoggerKind.none:
            return Logger()
