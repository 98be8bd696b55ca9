"""One person in numbers: codes, body shape and pose, from which the model makes everything else."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path


@dataclass(frozen=True)
class AvatarRecord:
    """Axes as in `types`; zero rotations are the T-pose."""

    shape: Float[Tensor, " Z"]
    detail: Float[Tensor, " Zd"]
    betas: Float[Tensor, " S"]
    joint_rotations: Float[Tensor, "J 3"]  # axis-angle, root first
    translation: Float[Tensor, " 3"]


def save_avatar(path: Path | str, record: AvatarRecord) -> None:
    """Plain npz, one float32 array per field of the record."""
    arrays = {f.name: getattr(record, f.name).detach().cpu().float().numpy() for f in fields(record)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_avatar(path: Path | str) -> AvatarRecord:
    """Raises `GdnaError` where the file is missing, is not an npz, or lacks or misshapes an array."""
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise GdnaError(f"{path}: no such file; expected an avatar as save_avatar writes it") from None
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise GdnaError(f"{path}: not a readable npz file of plain arrays ({error}); expected an avatar") from error
    expected = [f.name for f in fields(AvatarRecord)]
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise GdnaError(f"{path}: found arrays {sorted(arrays)}, {missing} missing; expected {expected}")
    for name in expected:
        _check(path, name, arrays[name])
    return AvatarRecord(**{name: torch.from_numpy(arrays[name].astype(np.float32)) for name in expected})


def _check(path: Path | str, name: str, array: np.ndarray) -> None:
    shape = {"joint_rotations": ("J", 3), "translation": (3,)}.get(name, ("any length",))
    fits = array.ndim == len(shape) and all(
        isinstance(w, str) or w == s for w, s in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise GdnaError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; expected finite numbers of shape {shape}"
        )
