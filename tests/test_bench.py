"""The benchmark runs every row, tells what it ran on, and refuses what it does not know."""

from __future__ import annotations

import json

import pytest
import torch

from gdna.apps import bench as verb
from gdna.apps.config import Bench
from gdna.bench import timing
from gdna.bench.settings import ROWS, Scale

CPU = torch.device("cpu")
KEYS = ("name", "seconds", "reference_seconds", "ratio", "peak_bytes", "floor_seconds", "note")


def test_every_row_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "MOST_RUNS", 0)
    out = tmp_path / "bench.json"
    verb.run(Bench(out=str(out), device="cpu", seconds=1e6, scale=Scale.tiny))
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rows"]] == list(ROWS)
    for row in report["rows"]:
        assert set(KEYS) <= set(row)
        assert row["seconds"] > 0, row
        assert row["ratio"] == pytest.approx(row["reference_seconds"] / row["seconds"])
    search = report["rows"][ROWS.index("search")]
    assert 0.9 < search["reference_recall"] <= 1
    assert 0.9 < search["recall"] <= 1
    assert report["machine"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert all(name in printed for name in ROWS)
