"""Weights of networks that torch saved, without running what the file says."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.torch_file import StoredTensor, open_torch_file


def read_torch_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a saved state dict. Raises `GdnaError` where the file is damaged or holds anything else."""
    file = open_torch_file(path)
    if not isinstance(file.content, dict):
        raise GdnaError(f"{path}: holds no state dict; expected weights that torch saved")
    other = [name for name, value in file.content.items() if not isinstance(value, StoredTensor)]
    if other:
        raise GdnaError(f"{path}: {other[0]} is no tensor; expected weights that torch saved, and nothing else")
    try:
        return {str(name): file.tensor(stored) for name, stored in file.content.items()}
    except (ValueError, KeyError, RuntimeError) as error:
        raise GdnaError(f"{path}: damaged ({error}); copy or download it again") from error
