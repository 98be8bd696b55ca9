"""Random people in the scans' poses, as they are seen from all sides. One file per person, beside the scans'
correspondences; none of them is of a scan, so they name whose codes they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor

from gdna.data.cache_file import PixelCache, pixel_tensors, pixels_of
from gdna.data.sample_file import read_tensors
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path

FOLDER = "random_people"
FIELDS = ("mixture", "z_shape", "betas", "bone_transforms")
PIXEL_FIELDS = ("points_neutral", "mask_bits", "mask_shape")


@dataclass(frozen=True)
class RandomPerson:
    """Somebody drawn from a coarse model, in the pose of a scan of somebody else."""

    mixture: Int[Tensor, "3"]  # base, one, other: training people (see `gdna.model.codes.Mixture`)
    z_shape: Float[Tensor, " Z"]
    betas: Float[Tensor, " S"]
    bone_transforms: Float[Tensor, "J 4 4"]  # canonical -> posed
    pixels: PixelCache


def random_person_path(cache_folder: Path | str, scan: str, number: int) -> Path:
    """Where the `number`-th random person in the pose of the scan `scan` lies."""
    return Path(cache_folder) / FOLDER / f"{scan}_{number}.safetensors"


def write_random_person(path: Path | str, person: RandomPerson) -> None:
    tensors = {name: getattr(person, name).cpu().contiguous() for name in FIELDS} | pixel_tensors(person.pixels)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors))


def read_random_person(path: Path | str) -> RandomPerson:
    """Raises `GdnaError` where the file is missing, broken or inconsistent."""
    path = Path(path)
    if not path.is_file():
        raise GdnaError(f"{path}: not found; run gdna precompute random_people=1 before a fine stage that shows them")
    tensors: dict[str, torch.Tensor] = read_tensors(path, (*FIELDS, *PIXEL_FIELDS))
    numbers = {name: tensors[name] for name in FIELDS}
    return RandomPerson(**numbers, pixels=pixels_of(path, tensors))
