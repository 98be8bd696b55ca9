"""What a training run needs beside the model to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.checkpoint import check_tensors
from gdna.model.tensor_file import read_tensors, write_tensors

FORMAT = "gdna-training-1"
OF_THE_DEVICE = ("fused", "capturable", "foreach")  # settings of an optimiser that a run may change on its way


@dataclass(frozen=True)
class TrainingState:
    """Named parts of a run; loading fills them in place."""

    optimizers: Mapping[str, torch.optim.Optimizer]
    modules: Mapping[str, torch.nn.Module] = field(default_factory=dict)  # such as a critic
    generators: Mapping[str, torch.Generator] = field(default_factory=dict)


def save_training_state(path: Path | str, state: TrainingState, progress: Mapping[str, Any]) -> None:
    """`progress` is any JSON (step, epoch, ...)."""
    tensors: dict[str, Tensor] = {}
    optimizers: dict[str, Any] = {}
    for name, optimizer in state.optimizers.items():
        optimizers[name] = _flatten(name, optimizer, tensors)
    for name, module in state.modules.items():
        tensors |= {f"module.{name}.{k}": v for k, v in module.state_dict().items()}
    for name, generator in state.generators.items():
        tensors[f"generator.{name}"] = generator.get_state()
    metadata = {"format": FORMAT, "optimizers": optimizers, "progress": dict(progress)}
    write_tensors(path, {k: v.clone() for k, v in tensors.items()}, metadata)


def load_training_state(path: Path | str, state: TrainingState) -> dict[str, Any]:
    """Fill `state` and return the progress. Raises `GdnaError` where the run in the file had other parts."""
    tensors, metadata = read_tensors(path, FORMAT)
    saved = metadata.get("optimizers", {})
    if set(saved) != set(state.optimizers):
        raise GdnaError(f"{path}: optimisers {sorted(saved)}, expected {sorted(state.optimizers)}; start a new run")
    for name, module in state.modules.items():
        part = _part(tensors, f"module.{name}.")
        check_tensors(path, part, module.state_dict())
        module.load_state_dict(part)
    for name, generator in state.generators.items():
        if f"generator.{name}" not in tensors:
            raise GdnaError(f"{path}: random generator {name} is missing; start a new run")
        generator.set_state(tensors[f"generator.{name}"])
    for name, optimizer in state.optimizers.items():
        _restore(path, optimizer, saved[name], _part(tensors, f"optimizer.{name}."))
    return metadata.get("progress", {})


def _flatten(name: str, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Put the optimiser's tensors into `tensors`; returns the rest as JSON."""
    state = optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{name}.{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    groups = [{k: v.item() if isinstance(v, Tensor) else v for k, v in g.items()} for g in state["param_groups"]]
    return {"state": plain, "groups": groups}


def _restore(
    path: Path | str, optimizer: torch.optim.Optimizer, saved: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    current = optimizer.state_dict()["param_groups"]
    found, expected = ([len(g["params"]) for g in groups] for groups in (saved["groups"], current))
    if found != expected:
        raise GdnaError(f"{path}: parameter groups of sizes {found}, expected {expected}; start a new run")
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in saved["state"].items()}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = [
        {k: now[k] if k in OF_THE_DEVICE else _like(v, now.get(k)) for k, v in group.items()}
        for group, now in zip(saved["groups"], current, strict=True)
    ]
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    for number, entries in state.items():
        parameter = parameters[number]
        same = {k: v for k, v in entries.items() if isinstance(v, Tensor) and v.shape == parameter.shape}
        # in the parameter's memory layout, which fused optimisers take for granted
        entries |= {k: torch.empty_like(parameter).copy_(v) for k, v in same.items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _like(value: Any, now: Any) -> Any:
    """A value from JSON as the optimiser keeps it."""
    if isinstance(now, Tensor):
        return torch.full_like(now, value)
    return tuple(value) if isinstance(now, tuple) else value


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
