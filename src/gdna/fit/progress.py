"""What fitting tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gdna.fit.evidence import Evidence
from gdna.fit.wearer import Wearer
from gdna.model.avatar_model import AvatarModel
from gdna.types import Subject


@dataclass(frozen=True)
class Guess:
    """How things stand: a person, the body in its pose, and the scan."""

    network: AvatarModel
    subject: Subject
    wearer: Wearer
    evidence: Evidence


@dataclass(frozen=True)
class Progress:
    """One step of a stage is done."""

    stage: str
    step: int  # from 1
    steps: int
    error: float  # what the stage makes small, in `unit`
    unit: str
    guess: Callable[[], Guess] | None = field(default=None, repr=False)  # to be asked before the next step


Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """Tell nobody."""
