"""What both stages share: devices, the clock, checkpoints, resuming, the progress bar and the log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from gdna.data.prepared import PreparedSet
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import save_checkpoint
from gdna.model.tensor_file import read_metadata
from gdna.model.training_state import FORMAT, TrainingState, load_training_state, save_training_state
from gdna.train.logs import Logger, open_logger
from gdna.train.processes import start_fabric
from gdna.train.schedule import Schedule
from gdna.train.settings import Decay, TrainSettings

AGREE_EVERY = 16  # steps
SAVING_SHARE = 0.05  # an epoch's end is no reason to save where saving would take more of the time


@dataclass(frozen=True)
class RunFolder:
    """outputs/<expname>: the checkpoint that others read, the state that resuming reads, logs and images.

    The state holds the model too, so that it never depends on which of the two files was written last.
    """

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "checkpoints" / "training_state.safetensors"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def image(self, name: str, epoch: int) -> Path:
        return self.path / "images" / f"{epoch:04d}_{name}.png"

    def clear_leftovers(self) -> None:
        """Remove half-written checkpoints of a run that was killed."""
        for half in self.state.parent.glob(".*.part.safetensors"):
            half.unlink(missing_ok=True)


@dataclass(frozen=True)
class Setting:
    """Where a run takes place: its folder, its devices, its settings, and when it began."""

    folder: RunFolder
    fabric: Fabric
    settings: TrainSettings
    started: float = field(default_factory=time.monotonic)  # s

    @staticmethod
    def open(out_dir: Path | str, settings: TrainSettings) -> Setting:
        started = time.monotonic()
        return Setting(RunFolder(Path(out_dir)), start_fabric(settings.trainer), settings, started)


class Run:
    """One stage's training run: hands out the steps, saves, logs, and stops in time.

    `state` must hold everything that training changes; `model` is the one to publish.
    """

    def __init__(
        self, setting: Setting, schedule: Schedule, model: AvatarModel, state: TrainingState, data: PreparedSet
    ) -> None:
        self.folder, self.fabric, self.settings = setting.folder, setting.fabric, setting.settings
        self.started = setting.started
        self.schedule, self.model, self.state = schedule, model, state
        self.names = data.names
        self.betas = [data.betas[i].tolist() for i in data.first_scans()]  # of each person
        self.first_step = self._resume()
        if self.fabric.is_global_zero:
            self.folder.clear_leftovers()
        self.logger = Logger()
        self.bar: tqdm | None = None
        self._shown: dict[str, float] = {}
        self._saved_at, self._saving_cost = time.monotonic(), 0.0
        self._unchecked: Report | None = None
        self._elapsed = 0.0  # s

    def steps(self) -> Iterator[int]:
        """The steps still to do. What the caller did in one is saved, when due, as soon as the next is asked for."""
        self._open_logger()
        waiting = 0.5 if sys.stderr.isatty() else 30.0
        with tqdm(
            total=self.schedule.steps,
            initial=self.first_step,
            desc=self.folder.path.name,
            unit=" steps",
            mininterval=waiting,
            dynamic_ncols=True,
            disable=not self.fabric.is_global_zero,
        ) as self.bar:
            try:
                for step in range(self.first_step, self.schedule.steps):
                    yield step
                    self.bar.update()
                    self._look_at_the_clock(step)
                    last = step + 1 == self.schedule.steps or 0 < self.settings.trainer.max_seconds < self._elapsed
                    if last or self._save_is_due(step):
                        self.save(step + 1)
                    if last:
                        break
            finally:
                self.logger.close()

    def done(self, step: int) -> float:
        """The share of the run before this step: of its steps, or of its time where the learning rate falls by time."""
        if self.settings.model.optim.decay is Decay.time:
            return self._elapsed / self.settings.trainer.max_seconds
        return step / self.schedule.steps

    def validates(self, step: int) -> bool:
        """Whether to validate after this step, which ends an epoch then. True in the first process only."""
        every = self.settings.trainer.check_val_every_n_epoch
        due = every > 0 and self.schedule.ends_epoch(step) and (self.schedule.epoch(step) + 1) % every == 0
        return due and self.fabric.is_global_zero

    def check(self, step: int, finite: Bool[Tensor, ""], *losses: object) -> dict[str, float] | None:
        """Raise `GdnaError` where a step's loss or gradient was not finite (its step was left out, see
        `apply_gradients`); returns the losses of the last step that was looked at.

        On CUDA that is the step before, so that nobody waits for the device.
        """
        report = Report.of(step, finite, losses)
        late, self._unchecked = (self._unchecked, report) if finite.is_cuda else (report, None)
        return self._checked(late) if late is not None else None

    def _checked(self, report: Report) -> dict[str, float]:
        finite, values = report.read()
        if not finite:
            raise GdnaError(
                f"step {report.step}: the loss or its gradient is not finite ({_listed(values)}); the last good "
                f"checkpoint is {self.folder.model if self.folder.model.is_file() else 'none'}; go on from it with a "
                "smaller model.optim.lr, or look for broken scans"
            )
        return values

    def log(self, step: int, *losses: object) -> None:
        """Write dataclasses of scalar tensors to the log and the bar, every `log_every_n_steps`."""
        if step % self.settings.trainer.log_every_n_steps or not self.fabric.is_global_zero:
            return
        values = {name: value for part in losses for name, value in _values(part).items()}
        self.logger.scalars({f"loss/{name}": value for name, value in values.items()}, step)
        if self.bar is not None:
            epoch = f"epoch {self.schedule.epoch(step) + 1}/{self.schedule.epochs}"
            self._shown |= values
            shown = ", ".join(f"{name} {value:.3g}" for name, value in self._shown.items() if value)
            self.bar.set_postfix_str(f"{epoch}, {shown}", refresh=False)

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.logger.scalars(values, step)

    def log_image(self, name: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Into the log and, as PNG, into the run's folder."""
        from PIL import Image

        self.logger.image(name, image, step)
        with atomic_path(self.folder.image(name, self.schedule.epoch(step))) as temporary:
            Image.fromarray(image).save(temporary)

    def save(self, step: int) -> None:
        """Write state and model after `step` finished steps."""
        if self._unchecked is not None:
            self._checked(self._unchecked)
        start = time.monotonic()
        if self.fabric.is_global_zero:
            progress = {"step": step, "steps": self.schedule.steps, "names": self.names, "settings": self._plain()}
            save_training_state(self.folder.state, self.state, progress)
            extra = {"names": self.names, "betas": self.betas, "step": step}
            save_checkpoint(self.folder.model, self.model, extra)
        self._saved_at = time.monotonic()
        self._saving_cost = self._saved_at - start

    def _resume(self) -> int:
        if not self.settings.resume or not self.folder.state.is_file():
            return 0
        progress = _progress(self.folder.state)
        if tuple(progress["names"]) != self.names:
            raise GdnaError(
                f"{self.folder.state}: was trained on {len(progress['names'])} scans ({progress['names'][0]} ...), now "
                f"{len(self.names)} are given ({self.names[0]} ...); use the same, another expname, or resume=false"
            )
        load_training_state(self.folder.state, self.state)
        return int(progress["step"])

    def _save_is_due(self, step: int) -> bool:
        elapsed = time.monotonic() - self._saved_at
        if elapsed > self.settings.trainer.save_every_seconds:
            return True
        return self.schedule.ends_epoch(step) and SAVING_SHARE * elapsed >= self._saving_cost

    def _look_at_the_clock(self, step: int) -> None:
        """All processes go by the first one's clock; asking it waits for the devices."""
        if self.fabric.world_size == 1:
            self._elapsed = time.monotonic() - self.started
        elif self.settings.trainer.max_seconds and step % AGREE_EVERY == 0:
            self._elapsed = float(self.fabric.broadcast(time.monotonic() - self.started))

    def _open_logger(self) -> None:
        if self.fabric.is_global_zero:
            kind, name = self.settings.logger, self.folder.path.name
            self.logger = open_logger(kind, self.folder.logs, name, self._plain(), self.first_step)

    def _plain(self) -> dict[str, Any]:
        """The settings as JSON."""
        return json.loads(json.dumps(asdict(self.settings), default=lambda enum: enum.value))


def finished(folder: Path | str) -> bool:
    """Whether the run in outputs/<expname> has done all its steps."""
    state = RunFolder(Path(folder)).state
    if not state.is_file():
        return False
    progress = _progress(state)
    return progress["step"] >= progress["steps"]


def _progress(state: Path) -> dict[str, Any]:
    return read_metadata(state, FORMAT)["progress"]


@dataclass(frozen=True)
class Report:
    """A step's losses, on their way from the device."""

    step: int
    names: tuple[str, ...]
    values: Float[Tensor, " n"]  # 1 where all was finite, then the losses; on the host once `arrived`
    arrived: torch.cuda.Event | None

    @staticmethod
    def of(step: int, finite: Bool[Tensor, ""], losses: Sequence[object]) -> Report:
        tensors = {name: value for part in losses for name, value in _tensors(part).items()}
        values = torch.stack([finite.float(), *tensors.values()])
        if not finite.is_cuda:
            return Report(step, tuple(tensors), values, None)
        host = torch.empty(values.shape, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return Report(step, tuple(tensors), host, arrived)

    def read(self) -> tuple[bool, dict[str, float]]:
        """Whether all was finite, and the losses."""
        if self.arrived is not None:
            self.arrived.synchronize()
        finite, *values = self.values.tolist()
        return bool(finite), dict(zip(self.names, values, strict=True))


def _tensors(losses: object) -> dict[str, Float[Tensor, ""]]:
    return {f.name: getattr(losses, f.name).detach().float() for f in fields(losses)}  # type: ignore[arg-type]


def _values(losses: object) -> dict[str, float]:
    tensors = _tensors(losses)
    return dict(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True))


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
