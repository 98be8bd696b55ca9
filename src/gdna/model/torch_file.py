"""Tensors of a file that `torch.save` wrote, without running what its pickle says.

Both layouts are read: the zip of PyTorch 1.6 and later (`data.pkl` beside one file per storage) and the stream of
pickles before it. What is no tensor, container or number (callbacks, configurations, whatever the training framework
keeps) becomes an inert stand-in: nothing named in the file is imported or called.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from gdna.body.pickle_reader import ArrayUnpickler
from gdna.errors import GdnaError

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older layout
MAX_DIMENSIONS = 8


class Inert:
    """Stands in for an instance of any class of the file; takes whatever the pickle does to it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        pass

    def add(self, _: Any) -> None:
        pass


@dataclass(frozen=True)
class _Storage:
    """Numbers that lie elsewhere in the file."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is read when it is asked for: optimisers and critics are never."""

    storage: Any
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> StoredTensor:
    return StoredTensor(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _size(numbers: Any = ()) -> tuple[int, ...]:
    return tuple(numbers)


class _Reader(ArrayUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch", "Size"): _size,
            ("copyreg", "_reconstructor"): Inert,
            ("copy_reg", "_reconstructor"): Inert,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        try:
            return super().find_class(module, name)
        except GdnaError:
            return type(name, (Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or (len(pid) > 5 and pid[5] is not None):
            return Inert()
        return _Storage(str(key), dtype, int(count))


@dataclass(frozen=True)
class TorchFile:
    """The file's objects with `StoredTensor` where tensors are."""

    content: Any
    read_storage: Callable[[_Storage], bytes]

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Raises `ValueError` where the tensor leaves its storage."""
        storage, shape, stride = stored.storage, stored.shape, stored.stride
        if not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
            raise ValueError("a tensor of unknown kind")
        raw = self.read_storage(storage)
        numbers = torch.frombuffer(bytearray(raw), dtype=storage.dtype) if raw else torch.empty(0, dtype=storage.dtype)
        last = stored.offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        if min((stored.offset, *shape, *stride)) < 0 or (torch.Size(shape).numel() and last >= len(numbers)):
            raise ValueError(f"a tensor of shape {shape} in {len(numbers)} numbers")
        return numbers.as_strided(shape, stride, stored.offset).clone()


def open_torch_file(path: Path | str) -> TorchFile:
    """Raises `GdnaError` where the file is missing, damaged, or not one of torch's two layouts."""
    path = Path(path)
    if not path.is_file():
        raise GdnaError(f"{path}: no such file; expected a checkpoint of PyTorch (.ckpt, .pt, .pth)")
    try:
        return _open_zip(path) if zipfile.is_zipfile(path) else _open_stream(path)
    except Exception as error:  # a broken file can raise anything
        raise GdnaError(f"{path}: not a readable checkpoint of PyTorch ({type(error).__name__}: {error})") from error


def _open_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("data.pkl")).removesuffix("data.pkl")
        with archive.open(f"{root}data.pkl") as file:
            content = _Reader(file, encoding="utf-8").load()

    def read(storage: _Storage) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{root}data/{storage.key}")

    return TorchFile(content, read)


def _open_stream(path: Path) -> TorchFile:
    with path.open("rb") as file:
        if ArrayUnpickler(file).load() != STREAM_MAGIC:
            raise pickle.UnpicklingError("another kind of pickle")
        ArrayUnpickler(file).load()  # protocol
        ArrayUnpickler(file).load()  # sizes and byte order of the machine
        reader = _Noting(file)
        content = reader.load()
        places = _stream_places(file, ArrayUnpickler(file).load(), reader.dtypes)

    def read(storage: _Storage) -> bytes:
        start, size = places[storage.key]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return TorchFile(content, read)


class _Noting(_Reader):
    """Remembers the type of each storage, which tells how long it is in the stream."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.dtypes: dict[str, torch.dtype] = {}

    def persistent_load(self, pid: Any) -> Any:
        storage = super().persistent_load(pid)
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError(f"numbers of unknown kind {pid[:2]}")
        self.dtypes[storage.key] = storage.dtype
        return storage


def _stream_places(file: IO[bytes], keys: Any, dtypes: dict[str, torch.dtype]) -> dict[str, tuple[int, int]]:
    """Where each storage's bytes lie: they follow one another, each after its count of numbers."""
    places = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        size = count * dtypes[str(key)].itemsize
        places[str(key)] = (file.tell(), size)
        file.seek(size, 1)
    return places
