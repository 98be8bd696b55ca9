"""What has become of a folder's scans, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdna.geometry.files import atomic_path

SUMMARY, FAILURE, REPORT = "summary.json", "failed.txt", "report.json"
AVERAGED = ("chamfer_mm", "normal_consistency", "f_score_1cm", "iou", "joint_error_mm", "seconds")


def note_failure(out: Path, reason: str) -> None:
    """Into a scan's folder; goes when the scan is fitted after all."""
    with atomic_path(out / FAILURE) as temporary:
        temporary.write_text(reason + "\n", encoding="utf-8")


def write_summary(out: Path) -> Mapping[str, Any]:
    """Of all scans below `out`, whichever process fitted them: how many, means, who is not sure and who failed, and
    why."""
    reports = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob(f"*/{REPORT}"))
    }
    failed = {path.parent.name: path.read_text(encoding="utf-8").strip() for path in sorted(out.glob(f"*/{FAILURE}"))}
    summary = {
        "fitted": len(reports),
        "mean": {name: _mean([report.get(name) for report in reports.values()]) for name in AVERAGED},
        "not_sure": {name: report["reason"] for name, report in reports.items() if not report["sure"]},
        "failed": {name: reason for name, reason in failed.items() if name not in reports},
    }
    with atomic_path(out / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _mean(values: list[float | None]) -> float | None:
    """Of those that are known; None: of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
