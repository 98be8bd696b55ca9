"""The scans that a model is measured on: those it was trained on, the same people in other poses, other people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int

from gdna.data.people import people_of, person_of
from gdna.data.prepared import Fields, PreparedSet, prepared_names
from gdna.data.sample_file import SAMPLES
from gdna.errors import GdnaError
from gdna.evaluate.metrics import scan_of
from gdna.generate.people import Model
from gdna.types import Scan

SAME_BETAS = 1e-3
Kind = Literal["trained", "poses", "held_out"]
KINDS: tuple[Kind, ...] = ("trained", "poses", "held_out")
Readers = Mapping[str, Callable[[], Scan]]


@dataclass(frozen=True)
class ScanSet:
    """Prepared scans of one kind. `person[i]` has the codes of scan i, -1 where the model was not trained on it;
    `scan[i]` is its number among the training scans, None for others; `readers` open the scans themselves, as far as
    they are at hand."""

    data: PreparedSet
    person: tuple[int, ...]
    scan: tuple[int | None, ...]
    readers: Readers = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.data)


def trained_set(
    model: Model, names: Sequence[str], folder: Path | str, readers: Readers, limit: int | None = None
) -> ScanSet:
    """The scans a model was trained on, as far as the folder has them, evenly thinned to `limit`. Raises `GdnaError`
    where the model does not name its scans, or the folder has none of them."""
    people = people_of(names)
    if len(people) != model.num_people:
        raise GdnaError(
            f"{model.name}: names scans of {len(people)} people for {model.num_people} codes; train it again"
        )
    there = [name for name in names if (Path(folder) / name / SAMPLES).is_file()]
    if not there:
        raise GdnaError(f"{folder}: none of the {len(names)} scans that {model.name} was trained on ({names[0]} ...)")
    chosen = [there[i] for i in evenly(len(there), limit)]
    data = PreparedSet.open(folder, chosen, model.device, "body")
    person = tuple(people.index(person_of(name)) for name in chosen)
    return ScanSet(data, person, tuple(scan_of(names, name) for name in chosen), readers)


def unseen_sets(
    model: Model, names: Sequence[str], folders: Sequence[tuple[Path | str, Readers]], limit: int | None = None
) -> dict[Kind, list[ScanSet]]:
    """Scans that the model was not trained on, from folders of prepared scans: "poses" are other scans of its people
    (the same person by name and by betas), "held_out" everybody else. At most `limit` of either kind a folder."""
    people = people_of(names)
    sets: dict[Kind, list[ScanSet]] = {"poses": [], "held_out": []}
    for folder, readers in folders:
        found = prepared_names(folder)
        betas = PreparedSet.open(folder, found, "cpu", "body").betas
        person = [_who(model, people, name, betas[i]) for i, name in enumerate(found)]
        known = [i for i, who in enumerate(person) if who >= 0 and found[i] not in names]
        strange = [i for i, who in enumerate(person) if who < 0]
        members: list[int]
        kind: Kind
        for kind, members in (("poses", known), ("held_out", strange)):
            chosen = [members[i] for i in evenly(len(members), limit)]
            if chosen:
                fields: Fields = "body" if kind == "poses" else "coarse"  # codes of strangers are fitted to points
                data = PreparedSet.open(folder, [found[i] for i in chosen], model.device, fields)
                sets[kind].append(ScanSet(data, tuple(person[i] for i in chosen), (None,) * len(chosen), readers))
    return sets


def _who(model: Model, people: Sequence[str], name: str, betas: torch.Tensor) -> int:
    """The training person of this name and body, or -1."""
    if person_of(name) not in people:
        return -1
    index = people.index(person_of(name))
    learned = model.betas[index].cpu()
    same = learned.shape == betas.shape and bool((learned - betas).abs().max() < SAME_BETAS)
    return index if same or not bool(model.betas.any()) else -1


def evenly(length: int, limit: int | None) -> list[int]:
    """At most `limit` of the numbers below `length`, evenly spread."""
    count = length if limit is None else min(length, limit)
    chosen: Int[np.ndarray, " n"] = np.linspace(0, length, count, endpoint=False).astype(int)
    return chosen.tolist()


def one_each(names: Sequence[str], limit: int) -> list[int]:
    """Numbers of at most `limit` scans: one of each person, evenly spread over the people, before anybody comes again
    (several poses of one person are no several people)."""
    first = list({person_of(name): i for i, name in reversed(list(enumerate(names)))}.values())[::-1]
    if len(first) >= limit:
        return [first[i] for i in evenly(len(first), limit)]
    others = sorted(set(range(len(names))) - set(first))
    return sorted([*first, *(others[i] for i in evenly(len(others), limit - len(first)))])
