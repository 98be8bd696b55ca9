"""A checkpoint brings its own architecture; keys that say otherwise are a mistake, not a wish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from gdna.apps.config import ModelKeys
from gdna.errors import GdnaError
from gdna.model.config import ModelConfig

# how correspondences are searched for may differ from training; the number of scans is the data's
FREE = ("deformer", "num_scans")


@dataclass(frozen=True)
class Contradiction:
    """A key of the architecture that is not as the model was trained."""

    key: str
    asked: Any
    trained: Any
    default: Any

    def __str__(self) -> str:
        return f"model.{self.key}={self.asked}, but trained with {self.trained}"


def contradictions(keys: ModelKeys, trained: ModelConfig) -> Iterator[Contradiction]:
    """Where the keys say something else than the checkpoint."""
    defaults, asked = (k.architecture(trained.num_people, trained.num_betas) for k in (ModelKeys(), keys))
    for name, one, other, default in _leaves(asked, trained, defaults):
        if one != other:
            yield Contradiction(name, one, other, default)


def check_architecture(keys: ModelKeys, trained: ModelConfig, where: object) -> None:
    """Raise `GdnaError` at the first key that was changed from its default and contradicts the checkpoint `where`."""
    for found in contradictions(keys, trained):
        if found.asked != found.default:
            raise GdnaError(f"{where}: {found}; leave the key out")


def _leaves(*trees: Any, prefix: str = "") -> Iterator[tuple[Any, ...]]:
    for field in fields(trees[0]):
        values = [getattr(tree, field.name) for tree in trees]
        if field.name in FREE:
            continue
        if is_dataclass(values[0]):
            yield from _leaves(*values, prefix=f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, *values
