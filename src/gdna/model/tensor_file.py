"""Safetensors with JSON beside the tensors: read strictly, written atomically, never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """`metadata` values are written as JSON, but for "format"."""
    text = {k: v if k == "format" else json.dumps(v) for k, v in metadata.items()}
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata=text)
        temporary.chmod(0o644)  # safetensors writes for the owner only


def read_tensors(
    path: Path | str, expected_format: str, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and decoded metadata. Raises `GdnaError` where the file is missing, broken or of another format."""
    metadata = read_metadata(path, expected_format)
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {k: file.get_tensor(k) for k in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def read_metadata(path: Path | str, expected_format: str) -> dict[str, Any]:
    """The JSON beside the tensors, without reading these."""
    if not Path(path).is_file():
        raise GdnaError(f"{path}: no such file; give the path of a .safetensors file that gdna wrote")
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error
    if text.get("format") != expected_format:
        found = text.get("format", "none")
        raise GdnaError(
            f"{path}: format {found!r}, expected {expected_format!r}; this is another kind of safetensors file"
        )
    try:
        return {k: json.loads(v) for k, v in text.items() if k != "format"}
    except json.JSONDecodeError as error:
        raise _broken(path, error) from error


def _broken(path: Path | str, error: Exception) -> GdnaError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GdnaError(f"{path}: not a whole safetensors file ({reason}); copy or download it again")
