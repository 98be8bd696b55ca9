"""Weights in torch's older file format, read without running what the file says.

Such a file is five pickles in a row (a magic number, a version, facts about the machine, the state dict, the names of
the storages) and then each storage: its length as an int64 and its numbers, little endian. The state dict may name
nothing but an ordered dict, torch's storages and the rebuilding of a tensor from one; any other name is refused, and no
function of the file's choice is called.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gdna.errors import GdnaError

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64}


class _View:
    """A tensor as the file describes it: part of a storage whose numbers come later."""

    def __init__(self, storage: tuple[str, str], offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def tensor(self, storages: Mapping[str, np.ndarray]) -> Tensor:
        numbers = storages[self.storage[1]]
        reach = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True)) + 1
        if self.offset < 0 or min((*self.stride, 0)) < 0 or reach > len(numbers):
            raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
        return torch.from_numpy(numbers).as_strided(self.size, self.stride, self.offset).clone()


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    """Stands in for `torch._utils._rebuild_tensor_v2`."""
    return _View(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return name
        known = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): _view}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """("storage", type, name, device, length, view) becomes (type, name)."""
        if pid[0] != "storage" or pid[1] not in DTYPES:
            raise pickle.UnpicklingError(f"refused to load {pid[0]} {pid[1]}")
        return pid[1], str(pid[2])


def read_torch_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a state dict that an older torch saved. Raises `GdnaError` where it is something else."""
    try:
        with Path(path).open("rb") as file:
            return _read(io.BytesIO(file.read()))
    except OSError as error:
        raise GdnaError(f"{path}: cannot be read ({error.strerror}); expected weights that torch saved") from error
    except Exception as error:  # a broken pickle can raise anything
        raise GdnaError(f"{path}: no plain state dict of an older torch ({type(error).__name__}: {error})") from error


def _read(file: io.BytesIO) -> dict[str, Tensor]:
    if _Reader(file).load() != MAGIC:
        raise pickle.UnpicklingError("another magic number")
    for _ in range(2):  # the version, and facts about the machine
        _Reader(file).load()
    views: Mapping[str, _View] = _Reader(file).load()
    types = {view.storage[1]: DTYPES[view.storage[0]] for view in views.values()}
    storages = {}
    for name in _Reader(file).load():
        (length,) = struct.unpack("<q", file.read(8))
        dtype = np.dtype(types[name]).newbyteorder("<")
        storages[name] = np.frombuffer(file.read(length * dtype.itemsize), dtype).astype(types[name])
        if len(storages[name]) != length:
            raise pickle.UnpicklingError("the file ends too early")
    return {str(name): view.tensor(storages) for name, view in views.items()}
