"""Evaluations of one model by several processes, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from gdna.errors import GdnaError
from gdna.evaluate.health import HealthReport
from gdna.evaluate.report import Evaluation, Pictures
from gdna.evaluate.sets import KINDS, Kind

T = TypeVar("T")
SHOWN = 6  # reconstructed scans of a kind on the page


def merged(parts: Sequence[Evaluation]) -> Evaluation:
    """Scans and people of all, in order; whatever only one has from that one. Raises `GdnaError` where nothing was
    measured."""
    health = [part.health.people for part in parts if part.health is not None]
    merged = replace(
        parts[0],
        scans=_joined([part.scans for part in parts]),
        people=_only([part.people for part in parts]),
        variety=_only([part.variety for part in parts]),
        health=HealthReport(tuple(chain(*health))) if health else None,
        skinning=_joined([part.skinning for part in parts]),
        motion=_only([part.motion for part in parts]),
        notes=tuple(dict.fromkeys(chain(*(part.notes for part in parts)))),
        pictures=_pictures([part.pictures for part in parts]),
    )
    if not merged.summary():
        raise GdnaError(f"nothing to measure: {merged.notes[0]}")
    return merged


def _pictures(parts: Sequence[Pictures]) -> Pictures:
    scans = _joined([part.scans for part in parts])
    return Pictures(
        generated=tuple(chain(*(part.generated for part in parts))),
        held_out=tuple(chain(*(part.held_out for part in parts))),
        scans={kind: shown[:SHOWN] for kind, shown in scans.items()},
        neighbours=_only([part.neighbours for part in parts]),
        codes=tuple(chain(*(part.codes for part in parts))),
    )


def _joined(parts: Sequence[Mapping[Kind, tuple[T, ...]]]) -> dict[Kind, tuple[T, ...]]:
    rows: dict[Kind, tuple[T, ...]] = {kind: tuple(chain(*(part.get(kind, ()) for part in parts))) for kind in KINDS}
    return {kind: of_kind for kind, of_kind in rows.items() if of_kind}


def _only(values: Sequence[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
