"""What a prepared scan looks like on disk: a folder with `samples.safetensors` and `multi_view_256/0000_normal.png` and
so on; beside the scans one `body.safetensors`. Read and written here, without any mesh library.

Points and normals are 16-bit fixed point numbers of step 2^-14 (0.06 mm, range +-2 m): half the size of floats, and
exact in single precision. Occupancy is decided at the rounded points, so rounding costs nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, Int16
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path

SAMPLES = "samples.safetensors"
BODY = "body.safetensors"
STEP = 2.0**-14


def to_fixed(values: Float[Tensor, "*n 3"]) -> Int16[Tensor, "*n 3"]:
    """Round to the fixed point grid; values outside +-2 are clamped."""
    return (values / STEP).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)


def from_fixed(values: Int16[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    return values.to(torch.float32) * STEP


@dataclass(frozen=True)
class ScanSamples:
    """Everything of a prepared scan but its images. Coordinates are posed unless named otherwise."""

    occupancy_points: Int16[Tensor, "P 3"]  # first half near the surface, second half uniform in [-1, 1]^3
    occupancy: Bool[Tensor, " P"]  # true inside
    surface_points: Int16[Tensor, "K 3"]  # outer surface, uniform by area
    surface_normals: Int16[Tensor, "K 3"]
    held_out_points: Int16[Tensor, "Q 3"]  # first half uniform in the scan's own box, second half near the surface
    held_out_occupancy: Bool[Tensor, " Q"]
    betas: Float[Tensor, " S"]
    joint_rotations: Float[Tensor, "J 3"]
    bone_transforms: Float[Tensor, "J 4 4"]  # canonical -> posed
    joints_canonical: Float[Tensor, "J 3"]
    vertices_canonical: Float[Tensor, "Vs 3"]  # skin of the body underneath
    vertices_posed: Float[Tensor, "Vs 3"]


@dataclass(frozen=True)
class PreparedBody:
    """The body model as far as training needs it: its skin vertices with zero betas, their weights, and its joints."""

    vertices_neutral: Float[Tensor, "Vs 3"]
    skin_weights: Float[Tensor, "Vs J"]  # rows sum to 1
    joints_neutral: Float[Tensor, "J 3"]
    parents: Int[Tensor, " J"]  # -1 for the root


def normal_map_path(folder: Path, view: int, image_size: int = 256) -> Path:
    return folder / f"multi_view_{image_size}" / f"{view:04d}_normal.png"


def write_samples(path: Path, samples: ScanSamples, metadata: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(_tensors(samples), metadata))


def write_body(path: Path, body: PreparedBody) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(_tensors(body)))


def read_samples(path: Path) -> ScanSamples:
    """Raises `GdnaError` where the file is missing, broken or not of this kind."""
    return ScanSamples(**read_tensors(path, [f.name for f in fields(ScanSamples)]))


def read_body(path: Path) -> PreparedBody:
    """Raises `GdnaError` where the file is missing, broken or not of this kind."""
    return PreparedBody(**read_tensors(path, [f.name for f in fields(PreparedBody)]))


def read_tensors(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """Only the named tensors of a safetensors file."""
    if not path.is_file():
        raise GdnaError(f"{path}: not found; expected a file written by gdna's preparation of scans (run it first)")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise GdnaError(f"{path}: cannot be read ({error}); delete it and prepare the scan again") from error


def read_settings(path: Path) -> dict | None:
    """The settings a prepared scan was made with; none where there is no readable file."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["settings"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError):
        return None


def body_on(body: PreparedBody, device: torch.device | str) -> PreparedBody:
    """The same on `device`."""
    return PreparedBody(**{name: tensor.to(device) for name, tensor in _tensors(body).items()})


def _tensors(record: ScanSamples | PreparedBody) -> dict[str, Tensor]:
    return {f.name: getattr(record, f.name).contiguous() for f in fields(record)}
