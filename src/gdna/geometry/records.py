"""Nested dataclasses of tensors: what a recorded step or search is given, and gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


def with_tensors(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nested dataclasses and tuples around changed tensors."""
    if isinstance(record, Tensor):
        return change(record)
    if isinstance(record, tuple):
        return tuple(with_tensors(part, change) for part in record)
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.replace(record, **{n: with_tensors(getattr(record, n), change) for n in names_of(record)})
    return record


def tensors_of(record: Any) -> Iterator[Tensor]:
    """All tensors of nested dataclasses and tuples, in the order of their fields."""
    if isinstance(record, Tensor):
        yield record
    elif isinstance(record, tuple):
        for part in record:
            yield from tensors_of(part)
    elif dataclasses.is_dataclass(record):
        for name in names_of(record):
            yield from tensors_of(getattr(record, name))


def shape_of(record: Any) -> object:
    """Equal for records that differ in their tensors' values alone."""
    if isinstance(record, Tensor):
        return record.shape, record.dtype, record.device
    if isinstance(record, tuple):
        return tuple(shape_of(part) for part in record)
    if dataclasses.is_dataclass(record):
        return type(record), tuple(shape_of(getattr(record, name)) for name in names_of(record))
    return record


def names_of(record: Any) -> list[str]:
    """Of a dataclass's fields, but for what it keeps by itself."""
    return [field.name for field in dataclasses.fields(record) if field.init]
