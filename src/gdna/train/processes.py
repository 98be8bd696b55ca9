"""One process per device: they begin together and, whatever happens to one of them, end together."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from lightning_fabric import Fabric

from gdna.errors import GdnaError
from gdna.train.settings import Precision, TrainerSettings

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
_others: list[subprocess.Popen] = []  # that this process, the first, has started


def ends_together(train: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """`train`, which may start processes. Where it fails in the first one, the others are ended: they would wait for
    its gradients, and it for them when it leaves. (Where one of the others fails, Fabric ends them all.)"""

    @wraps(train)
    def ended(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return train(*args, **kwargs)
        except BaseException:
            for process in _others:
                process.kill()
            raise
        finally:
            _others.clear()

    return ended


def start_fabric(trainer: TrainerSettings) -> Fabric:
    """Devices and processes, one per device, in a function that `ends_together`. Raises `GdnaError` where there are no
    such devices."""
    try:
        fabric = Fabric(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            precision=_precision(trainer),
            strategy="auto" if trainer.devices == 1 else "ddp",
        )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise GdnaError(
            f"trainer.accelerator={trainer.accelerator} trainer.devices={trainer.devices}: not available ({reason})"
        ) from error
    fabric.launch()
    _others.extend(getattr(fabric.strategy.launcher, "procs", ()))
    return fabric


def _precision(trainer: TrainerSettings) -> Any:
    """As Fabric names it. Auto: bfloat16 is faster on CUDA only."""
    if trainer.precision is not Precision.auto:
        return trainer.precision.value
    on_gpu = trainer.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return (Precision.bf16 if on_gpu else Precision.full).value
