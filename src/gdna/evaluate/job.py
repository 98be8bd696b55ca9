"""What every part of an evaluation is given: model, scans, settings, and its share of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gdna.data.sharding import shard
from gdna.evaluate.features import FeatureNetwork
from gdna.evaluate.report import Evaluation
from gdna.evaluate.sets import Kind, ScanSet, evenly, one_each
from gdna.evaluate.settings import EvaluateSettings
from gdna.generate.people import Model

Track = Callable[[Iterable[Any], int, str, str], Iterable[Any]]
"""Passes items on and may tell of their progress: items, how many, what they are, their unit."""

T = TypeVar("T")
WHOLE = ("people", "variety", "motion")  # parts that no processes share


@dataclass(frozen=True)
class EvaluationData:
    """Scans of each kind; a kind may be missing."""

    sets: Mapping[Kind, Sequence[ScanSet]] = field(default_factory=dict)

    def members(self, kind: Kind, limit: int) -> list[tuple[ScanSet, int]]:
        """At most `limit` scans of a kind, evenly spread, each as its set and its number there."""
        every = [(scans, i) for scans in self.sets.get(kind, ()) for i in range(len(scans))]
        return [every[i] for i in evenly(len(every), limit)]

    def people(self, kind: Kind, limit: int) -> list[tuple[ScanSet, int]]:
        """As `members`, of different people as far as there are."""
        every = [(scans, i) for scans in self.sets.get(kind, ()) for i in range(len(scans))]
        return [every[i] for i in one_each([scans.data.names[i] for scans, i in every], limit)]


@dataclass(frozen=True)
class Share:
    """Of work that `total` processes do, what number `index` does: scans and health are split among all of them, any
    other part is one process's."""

    total: int = 1
    index: int = 0

    def of(self, items: Sequence[T]) -> list[T]:
        """Its block of the items."""
        return shard(items, self.total, self.index)

    def has(self, part: str) -> bool:
        """Whether the process has to do with a part at all."""
        return part not in WHOLE or WHOLE.index(part) % self.total == self.index


@dataclass(frozen=True)
class Job:
    model: Model
    data: EvaluationData
    settings: EvaluateSettings
    network: FeatureNetwork | None
    track: Track
    share: Share

    def members(self, kind: Kind) -> list[tuple[ScanSet, int]]:
        """This process's scans of a kind."""
        return self.share.of(self.data.members(kind, self.settings.scans))


def noted(evaluation: Evaluation, note: str) -> Evaluation:
    return replace(evaluation, notes=(*evaluation.notes, note))
