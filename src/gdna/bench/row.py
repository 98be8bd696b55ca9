"""What a row of the table is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gdna.bench.floors import Work
from gdna.bench.timing import Task


@dataclass(frozen=True)
class Row:
    ours: Task
    reference: Task
    floor: Work
    extras: Callable[[], Mapping[str, float]] = field(default=dict)  # what else is measured, by name
    note: str = ""
