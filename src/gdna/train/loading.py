"""Prepared scans on the device where they are drawn from, and batches on the device where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from gdna.data.cache_file import cache_path
from gdna.data.prepared import Fields, PreparedSet, prepared_names
from gdna.data.sample_file import SAMPLES, normal_map_path
from gdna.geometry.devices import sent
from gdna.geometry.records import with_tensors
from gdna.train.settings import Placement

Record = TypeVar("Record")
PIXEL_BYTES = 3


def open_set(
    folder: Path | str,
    names: Sequence[str] | None,
    device: torch.device,
    placement: Placement,
    fields: Fields = "coarse",
    cache_folder: Path | str | None = None,
) -> PreparedSet:
    """The set with what `fields` names, where `placement` says; with correspondences where `cache_folder` is given."""
    folder = Path(folder)
    names = prepared_names(folder) if names is None else list(names)
    cached = Path(cache_folder) if cache_folder is not None else None
    if placement is Placement.host or (placement is Placement.auto and not _fits(folder, names, device, cached)):
        device = torch.device("cpu")
    return PreparedSet.open(folder, names, device, fields, cached)


def to_device(record: Record, device: torch.device) -> Record:
    """The same tensors on `device`, those of nested records too."""
    moved: Record = with_tensors(record, lambda tensor: sent(tensor, device))
    return moved


def _fits(folder: Path, names: Sequence[str], device: torch.device, cached: Path | None) -> bool:
    """Whether the scans take less than half of what is free on the device, judged by the first one."""
    if device.type != "cuda":
        return True
    first = folder / names[0]
    files = [first / SAMPLES]
    if cached is not None:
        files.append(cache_path(cached, names[0]))
    size = sum(f.stat().st_size for f in files if f.is_file())
    if cached is not None:
        size += sum(PIXEL_BYTES * 256**2 for _ in normal_map_path(first, 0).parent.glob("*_normal.png"))
    return size * len(names) < torch.cuda.mem_get_info(device)[0] / 2
