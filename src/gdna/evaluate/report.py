"""Everything that was measured of one model, as values, as JSON, and flat for comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gdna.errors import GdnaError
from gdna.evaluate.health import HealthReport
from gdna.evaluate.maps import Image
from gdna.evaluate.people import NearestNeighbours, PeopleReport
from gdna.evaluate.scans import ScanPicture, ScanScore, scan_summary
from gdna.evaluate.sets import Kind
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.skinning import SkinningError
from gdna.evaluate.stability import MotionStability
from gdna.evaluate.variety import VarietyReport
from gdna.geometry.files import atomic_path

FORMAT = "gdna-evaluation-1"
SUFFIX: dict[Kind, str] = {"trained": "train", "poses": "unseen_pose", "held_out": "held_out"}


@dataclass(frozen=True)
class Pictures:
    """What the page shows; none of it is in the JSON."""

    generated: tuple[Image, ...] = ()  # raw, predicted, raw, predicted, ...
    held_out: tuple[Image, ...] = ()
    scans: Mapping[Kind, tuple[ScanPicture, ...]] = field(default_factory=dict)
    neighbours: NearestNeighbours | None = None
    codes: tuple[Image, ...] = ()  # base, other details; base, other shape; base, other body


@dataclass(frozen=True)
class Evaluation:
    """Of one model. Parts that were not asked for, or lacked their data, are None or empty; `notes` say why."""

    name: str
    settings: EvaluateSettings
    scans: Mapping[Kind, tuple[ScanScore, ...]] = field(default_factory=dict)
    people: PeopleReport | None = None
    variety: VarietyReport | None = None
    health: HealthReport | None = None
    skinning: Mapping[Kind, tuple[SkinningError, ...]] = field(default_factory=dict)
    motion: MotionStability | None = None
    notes: tuple[str, ...] = ()
    model_sha256: str | None = None  # of the checkpoint's file
    pictures: Pictures = field(default_factory=Pictures, repr=False)

    def summary(self) -> dict[str, float]:
        """Every number by one name."""
        values: dict[str, float] = {}
        for report in (self.people, self.variety, self.health, self.motion):
            values |= {} if report is None else report.summary()
        for kind, scores in self.scans.items():
            values |= {f"{name}_{SUFFIX[kind]}": value for name, value in scan_summary(scores).items()}
        for kind, errors in self.skinning.items():
            for name in ("misplaced_weight", "vertex_error_mm"):
                values[f"skin_{name}_{SUFFIX[kind]}"] = float(np.mean([getattr(e, name) for e in errors]))
        return values

    def as_json(self) -> dict[str, Any]:
        """Plain values: the summary first, then what it was made of."""
        return {
            "format": FORMAT,
            "name": self.name,
            "model_sha256": self.model_sha256,
            "summary": self.summary(),
            "features": None if self.people is None else self.people.network,
            "settings": asdict(self.settings),
            "notes": list(self.notes),
            "scans": {kind: [{"name": s.name, **s.numbers()} for s in scores] for kind, scores in self.scans.items()},
            "people": None if self.people is None else asdict(self.people),
            "variety": None if self.variety is None else asdict(self.variety),
            "health": None if self.health is None else [asdict(p) for p in self.health.people],
            "skinning": {kind: [asdict(e) for e in errors] for kind, errors in self.skinning.items()},
            "motion": None if self.motion is None else asdict(self.motion),
        }


@dataclass(frozen=True)
class Column:
    """One model in a table of several."""

    name: str
    features: str | None
    summary: Mapping[str, float]


def write_json(path: Path | str, evaluation: Evaluation) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(evaluation.as_json(), indent=1))


def read_column(path: Path | str) -> Column:
    """The summary of an earlier evaluation. Raises `GdnaError` where the file is none."""
    try:
        content = json.loads(Path(path).read_text())
        if content["format"] != FORMAT:
            raise KeyError("format")
        return Column(str(content["name"]), content["features"], {k: float(v) for k, v in content["summary"].items()})
    except OSError as error:
        raise GdnaError(
            f"{path}: cannot be read ({error.strerror}); expected a JSON that gdna evaluate wrote"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GdnaError(f"{path}: not a JSON of this version's gdna evaluate; evaluate that model again") from error
