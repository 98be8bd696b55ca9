"""The correspondence cache: where the pixels of a scan's views lie in neutral space. One file per scan, hits only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors.torch import save
from torch import Tensor

from gdna.data.sample_file import read_tensors
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path


@dataclass(frozen=True)
class PixelCache:
    """The hit pixels of all views of one scan, in the order of `mask`'s true entries."""

    points_neutral: Float[Tensor, "K 3"]
    mask: Bool[Tensor, "V H W"]


def cache_path(folder: Path | str, name: str) -> Path:
    """Where the cache of the scan `name` lies."""
    return Path(folder) / f"{name}.safetensors"


def write_cache(path: Path | str, points_neutral: Float[Tensor, "V H W 3"], mask: Bool[Tensor, "V H W"]) -> None:
    """Keep the points under the mask, in single precision, and the mask as bits."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(pixel_tensors(PixelCache(points_neutral[mask], mask))))


def pixel_tensors(pixels: PixelCache) -> dict[str, Tensor]:
    """As they are kept in a file."""
    bits = np.packbits(pixels.mask.cpu().numpy().reshape(-1))
    return {
        "points_neutral": pixels.points_neutral.float().cpu().contiguous(),
        "mask_bits": torch.from_numpy(bits),
        "mask_shape": torch.tensor(pixels.mask.shape),
    }


def read_cache(path: Path | str) -> PixelCache:
    """Also the original's NAME.npy, where there is no own file. Raises `GdnaError` where the file is missing, broken or
    inconsistent."""
    path = Path(path)
    original = path.with_suffix(".npy")
    if original.is_file() and not path.is_file():
        return _read_original(original)
    if not path.is_file():
        raise GdnaError(f"{path}: not found; compute the correspondence cache of every scan before the fine stage")
    return pixels_of(path, read_tensors(path, ("points_neutral", "mask_bits", "mask_shape")))


def pixels_of(path: Path, tensors: Mapping[str, Tensor]) -> PixelCache:
    """From what `pixel_tensors` gave, read from `path`. Raises `GdnaError` where points and mask contradict."""
    shape = tensors["mask_shape"].tolist()
    count = int(np.prod(shape))
    mask = np.unpackbits(tensors["mask_bits"].numpy(), count=count).astype(bool).reshape(shape)
    if mask.sum() != len(tensors["points_neutral"]):
        raise GdnaError(
            f"{path}: {len(tensors['points_neutral'])} points for {mask.sum()} pixels; compute the cache again"
        )
    return PixelCache(tensors["points_neutral"], torch.from_numpy(mask))


def _read_original(path: Path) -> PixelCache:
    """An array (views, rows, columns, 4): neutral point and whether there is one."""
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable array ({error}); compute the correspondence cache again") from error
    if values.ndim != 4 or values.shape[3] != 4 or values.dtype.kind != "f":
        raise GdnaError(f"{path}: {values.dtype} of shape {values.shape}, expected numbers (views, rows, columns, 4)")
    mask = torch.from_numpy(values[..., 3] > 0.5)
    return PixelCache(torch.from_numpy(values[..., :3].astype(np.float32))[mask], mask)
