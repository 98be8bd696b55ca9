"""The benchmark runs every row, tells what it ran on, and refuses what it does not know."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from gdna.apps import bench as verb
from gdna.apps.config import Bench
from gdna.bench import floors, runner, timing
from gdna.bench.machine import Ceilings
from gdna.bench.scene import Scene
from gdna.bench.settings import ROWS, SIZES, Scale
from gdna.errors import GdnaError
from gdna.fields.mlp import ConditionedMlp, MlpSizes
from gdna.train.critic import EqualConv

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


def test_an_unknown_row_is_refused():
    with pytest.raises(GdnaError, match=r"mesh_1024.*mesh_512"):
        Bench(rows=("mesh_1024",))
    with pytest.raises(GdnaError, match="seconds=0"):
        Bench(seconds=0.0)


def test_seconds_are_the_weighed_medians(monkeypatch):
    took = iter([9.0, 1.0, 3.0, 2.0, 9.0, 10.0, 30.0, 20.0])
    monkeypatch.setattr(timing, "_clocked", lambda call, device: (next(took),) * 2)
    monkeypatch.setattr(timing, "MOST_RUNS", 3)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    work = timing.Task(((0.75, lambda: None), (0.25, lambda: None)))
    found = timing.timed(work, torch.device("cpu"), budget=1e3)
    assert (found.seconds, found.runs, found.note) == (0.75 * 2 + 0.25 * 20, 3, "")


def test_on_a_gpu_compiling_counts_neither_as_time_nor_against_the_budget(monkeypatch):
    clock = iter(range(100))  # a second a call
    took = iter([24.0, 0.1, 0.1, 0.3, 0.2, 0.2])
    monkeypatch.setattr(timing, "_clocked", lambda call, device: (next(took),) * 2)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(timing, "WARM_UP", 2)
    measured = timing._repeated(lambda: None, torch.device("cuda"), budget=4.5)
    assert measured == [(0.1, 0.1), (0.3, 0.3), (0.2, 0.2), (0.2, 0.2)]


def test_what_would_take_too_long_is_not_begun():
    def never() -> None:
        raise AssertionError

    found = timing.timed(timing.task(never, lambda: 100.0), torch.device("cpu"), budget=1.0)
    assert (found.seconds, found.note) == (None, "not run: about 100 s")


def test_a_row_that_cannot_run_says_why(monkeypatch, tmp_path):
    def refuses(scene: object) -> None:
        raise GdnaError("needs another machine")

    monkeypatch.setitem(runner.BUILD, "search", refuses)
    scene = Scene(torch.device("cpu"), SIZES[Scale.tiny], tmp_path)
    (result,) = runner.run_rows(scene, ("search",), Ceilings(1.0, 1.0, 1.0), 1.0, "cpu")
    assert (result.seconds, result.note) == (None, "cannot run here: needs another machine")
    assert "cannot run here" in runner.line(result)
    json.dumps(asdict(result))


def test_floors_count_what_the_networks_do():
    mlp = ConditionedMlp(MlpSizes(3, 8, 2))
    assert floors.of_point(mlp) == 2 * (3 * 8 + 8 * 8 + 8 * 3)
    convolution = EqualConv(3, 5, 3, padding=1)
    assert floors.of_critic(convolution, 16) == 2 * 3 * 5 * 9 * 16**2
    ceilings = Ceilings(matmul=1e9, matmul_bf16=2e9, copy=1e6)
    assert floors.Work(4e9, 1e6, "").seconds(ceilings) == 2
    assert floors.Work(1e9, 3e6, "").seconds(ceilings) == 3
