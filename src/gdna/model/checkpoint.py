"""One file that rebuilds a model: tensors, configuration, and what the caller adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.model.config import ModelConfig, from_dict, to_dict
from gdna.model.tensor_file import read_metadata, read_tensors, write_tensors

FORMAT = "gdna-1"
# small, and their spread matters: always float32
CODES = ("z_shapes.weight", "z_details.weight", "scan_offsets.weight", "pose_offsets.mean")


def save_checkpoint(path: Path | str, model: AvatarModel, extra: Mapping[str, Any], half: bool = False) -> None:
    """`extra` is any JSON. `half` stores all but the codes in float16, for shipping."""
    tensors = model.state_dict()
    if half:
        tensors = {k: v if k in CODES or not v.is_floating_point() else v.half() for k, v in tensors.items()}
    write_tensors(path, tensors, {"format": FORMAT, "config": to_dict(model.config), "extra": dict(extra)})


def load_model(path: Path | str, device: torch.device | str = "cpu") -> AvatarModel:
    """The model as saved, in float32. Raises `GdnaError` naming the first tensor that does not fit."""
    tensors, metadata = read_tensors(path, FORMAT, device)
    if "config" not in metadata:
        raise GdnaError(f"{path}: no model configuration inside; save the checkpoint again with this version of gdna")
    with torch.device("meta"):
        model = AvatarModel(from_dict(metadata["config"]))
    expected = model.state_dict()
    check_tensors(path, tensors, expected)
    # copied: in the file they lie as its header happens to be long, and products round by where a tensor begins
    tensors = {k: v.to(expected[k].dtype, copy=True) for k, v in tensors.items()}
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(True)


def load_config(path: Path | str) -> ModelConfig:
    """How the model was configured, without reading its tensors."""
    return from_dict(read_metadata(path, FORMAT).get("config", {}))


def load_extra(path: Path | str) -> dict[str, Any]:
    """What the caller of `save_checkpoint` added."""
    return read_metadata(path, FORMAT).get("extra", {})


def check_tensors(path: Path | str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises `GdnaError` at the first tensor that is missing, unexpected or of another shape."""
    for name, tensor in expected.items():
        if name not in found:
            raise GdnaError(
                f"{path}: tensor {name} {_shape(tensor)} is missing; the file does not fit its configuration"
            )
        if found[name].shape != tensor.shape:
            raise GdnaError(
                f"{path}: tensor {name} is {_shape(found[name])}, expected {_shape(tensor)}; "
                "the file does not fit its configuration"
            )
    for name, tensor in found.items():
        if name not in expected:
            raise GdnaError(
                f"{path}: unexpected tensor {name} {_shape(tensor)}; it was written by another version of gdna"
            )


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"
