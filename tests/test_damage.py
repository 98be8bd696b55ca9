"""Damage done to scans by scripts, and the table of what it costs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gdna.evaluate.surface import Surface

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))  # scripts import one another
        spec = importlib.util.spec_from_file_location("measure_fit", SCRIPTS / "measure_fit.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def ball() -> Surface:
    mesh = trimesh.creation.icosphere(5)
    middle = np.asarray(mesh.triangles_center)
    return Surface(
        0.5 * np.asarray(mesh.vertices), np.asarray(mesh.faces)[middle[:, 1] < 0.9]
    )  # vertices that no face uses


def test_noise_moves_every_vertex(script, ball):
    raw = script.damaged("0079", ball, "noise")
    used = ball.vertices[np.unique(ball.faces)]
    assert (raw.points - used).std() == pytest.approx(0.005, rel=0.05)
    assert raw.faces.shape == ball.faces.shape
    assert (script.damaged("0079", ball, "noise").points == raw.points).all()


def test_patches_take_their_share_of_the_area(script, ball):
    raw = script.damaged("0079", ball, "missing")
    left = trimesh.Trimesh(raw.points, raw.faces).area / trimesh.Trimesh(ball.vertices, ball.faces).area
    assert 0.5 < left < 0.6
    assert len(raw.points) == raw.faces.max() + 1


def test_strays_join_the_same_points(script, ball):
    cloud, hurt = (script.damaged("0079", ball, kind) for kind in ("cloud", "outliers"))
    assert cloud.faces is None
    assert hurt.normals is None
    assert (hurt.points[: len(cloud.points)] == cloud.points).all()
    strays = hurt.points[len(cloud.points) :]
    assert len(strays) == pytest.approx(0.2 * len(hurt.points))
    assert np.abs(strays).max() == pytest.approx(0.8, abs=0.01)  # m: 0.3 beyond the ball


def test_the_table_compares_the_same_people(script):
    def report(name: str, damage: str, chamfer: float) -> dict:
        measures = {"chamfer_mm": chamfer, "normal_consistency": 0.9, "f_score_1cm": 0.8, "seconds": 1.0}
        return {"name": name, "damage": damage, "codes": measures | {"joint_error_mm": 0.0}}

    reports = [
        report("a", "none", 2.0),
        report("b", "none", 4.0),
        report("a", "noise", 3.0),
        report("c", "noise", 99.0),
    ]
    lines = script.table(reports).splitlines()
    costs = next(line for line in lines if line.startswith("| codes | noise"))
    assert costs.split(" | ")[2:6] == ["1", "3.000", "1.50", "1.50"]  # of a alone: c has no whole scan beside it
    assert sum(line.startswith(("| a |", "| b |", "| c |")) for line in lines) == 4
