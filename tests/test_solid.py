"""The solid of scans of the open body: the cavity of its mouth is filled."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from gdna.body.interface import BodyModel
from gdna.body.mouth import mouth_faces
from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.data.inside import Solids, border_vertices, components
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.sample_file import SAMPLES, from_fixed, read_samples, read_settings
from gdna.data.scan_body import pose_scan_body
from gdna.data.solid import with_filled_mouth
from gdna.data.surface import orient_outward
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack
from gdna.types import BodyParams, PosedBody, Scan

NAMES = ("0000", "0003_pose2")
SIZES = PrepareSettings(points=4000, surface_points=20_000, held_out=10, views=1, image_size=64)


@cache
def released(name: str) -> tuple[Scan, np.ndarray]:
    """A scan of the pack and all vertices of its body, posed."""
    pack = open_pack(find_pack())
    scan = pack.read(next(e for e in pack.entries if e.name == name)).to_scan()
    posed = pose_scan_body(name, scan.betas, scan.joint_rotations, open_body()).posed
    return scan, posed.vertices[0].numpy()


def solids(scan: Scan) -> Solids:
    return Solids.of(scan.vertices.astype(np.float64), orient_outward(scan.vertices, scan.faces.astype(np.int64)))


def cavity(vertices: np.ndarray) -> Solids:
    return Solids.of(vertices.astype(np.float64), mouth_faces())


def test_the_filling_is_one_closed_part_that_looks_outward() -> None:
    faces, vertices = mouth_faces(), open_body().template.double().numpy()
    assert len(components(faces, len(vertices))) == 1
    assert not border_vertices(faces, len(vertices)).any()
    corners = vertices[faces]
    litres = 1e3 * np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.2 < litres < 0.5


def test_its_walls_are_the_bodys_and_its_lid_lies_between_the_lips() -> None:
    vertices = open_body().template.double().numpy()
    skin = {tuple(np.roll(face, -face.argmin())) for face in open_body().faces.numpy()}
    turned = [tuple(np.roll(face[::-1], -face[::-1].argmin())) for face in mouth_faces()]
    lid = mouth_faces()[[face not in skin for face in turned]]
    assert 20 < len(lid) < 60
    points = vertices[np.unique(lid)]
    mirrored = points * (-1, 1, 1)
    assert np.abs(points[:, None] - mirrored).max(-1).min(1).max() < 1e-3  # metres: MakeHuman's own symmetry
    wide, high, _ = np.ptp(points, axis=0)
    assert 0.03 < wide < 0.07
    assert high < 0.005
    corners = vertices[lid]
    assert np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(0)[2] > 0  # forward
    head = open_body().joints_neutral[JOINT_NAMES.index("head")].numpy()
    assert (points[:, 2] > head[2] + 0.08).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_mouth_of_a_released_scan_is_inside_and_nothing_else_changed(name: str) -> None:
    scan, vertices = released(name)
    filled = with_filled_mouth(scan, vertices, open_body())
    before, after, mouth = solids(scan), solids(filled), cavity(vertices)
    rng = np.random.default_rng(0)
    corners = vertices[np.unique(mouth_faces())]
    low, high = corners.min(0) - 0.03, corners.max(0) + 0.03
    points = rng.uniform(low, high, (60_000, 3))
    was, now, within = before.contain(points), after.contain(points), mouth.contain(points)
    assert within.sum() > 3000
    assert was[within].mean() < 0.1
    assert now[within].all()
    np.testing.assert_array_equal(now, was | within)
    anywhere = rng.uniform(-1, 1, (60_000, 3))
    far = ((anywhere < low) | (anywhere > high)).any(1)
    np.testing.assert_array_equal(after.contain(anywhere[far]), before.contain(anywhere[far]))
    np.testing.assert_array_equal(filled.vertices[: len(scan.vertices)], scan.vertices)


@pytest.mark.parametrize("name", NAMES)
def test_in_front_of_the_lips_is_outside(name: str) -> None:
    scan, vertices = released(name)
    skin = {tuple(np.roll(face, -face.argmin())) for face in open_body().faces.numpy()}
    turned = [tuple(np.roll(face[::-1], -face[::-1].argmin())) for face in mouth_faces()]
    corners = vertices.astype(np.float64)[mouth_faces()[[face not in skin for face in turned]]]
    forward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(0)
    forward /= np.linalg.norm(forward)
    middles = corners.mean(1)
    now = solids(with_filled_mouth(scan, vertices, open_body()))
    assert not now.contain(middles + 0.015 * forward).any()  # metres: lips stand out by half of that
    assert now.contain(middles - 0.01 * forward).all()


def test_rounded_vertices_leave_no_film(tmp_path: Path) -> None:
    """As of a mesh file with few digits: the filling shares the scan's own points."""
    scan, vertices = released(NAMES[0])
    rounded = replace(scan, vertices=np.round(scan.vertices / 2.5e-4).astype(np.float32) * np.float32(2.5e-4))
    filled = with_filled_mouth(rounded, vertices, open_body())
    added = filled.vertices[len(scan.vertices) :]
    assert len(added)
    there = {tuple(v) for v in rounded.vertices.tolist()}
    assert all(tuple(v) in there for v in added.tolist())
    deep = cavity(vertices)
    corners = vertices[np.unique(mouth_faces())]
    points = np.random.default_rng(1).uniform(corners.min(0), corners.max(0), (30_000, 3))
    assert solids(filled).contain(points[deep.contain(points)]).mean() > 0.999


def test_scans_without_this_cavity_stay_as_they_are() -> None:
    scan, vertices = released(NAMES[0])
    moved = replace(scan, vertices=scan.vertices + np.float32(0.002))
    assert with_filled_mouth(moved, vertices, open_body()) is moved
    assert with_filled_mouth(replace(scan, vertices=scan.vertices * 0), vertices, open_body()).faces is scan.faces

    class AnotherBody:
        """With the same vertices."""

        def __init__(self) -> None:
            vars(self).update({name: getattr(open_body(), name) for name in BodyModel.__annotations__})

        def __call__(self, params: BodyParams) -> PosedBody:
            return open_body()(params)

    assert with_filled_mouth(scan, vertices, AnotherBody()) is scan


def test_prepared_scans_agree_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, vertices = released(NAMES[0])
    prepare_scan(scan, open_body(), tmp_path / "new", SIZES)
    assert read_settings(tmp_path / "new" / scan.name / SAMPLES)["filled"] == ["mouth"]
    monkeypatch.setattr("gdna.data.prepare.with_filled_mouth", lambda scan, *_: scan)
    prepare_scan(scan, open_body(), tmp_path / "old", SIZES)
    used = np.unique(mouth_faces())
    walls = torch.from_numpy(vertices[used[open_body().template[used, 2] < 0.11]])  # metres: 2 cm behind the lips
    head = walls.mean(0)
    on_walls, off_head = {}, {}
    for name in ("old", "new"):
        points = from_fixed(read_samples(tmp_path / name / scan.name / SAMPLES).surface_points)
        on_walls[name] = int((torch.cdist(points, walls).amin(1) < 0.006).sum())
        off_head[name] = int(((points - head).norm(dim=1) > 0.3).sum())
    assert on_walls["old"] > 100
    assert on_walls["new"] < 0.05 * on_walls["old"]
    assert off_head["new"] == pytest.approx(off_head["old"], rel=0.03)  # the mouth's share goes to all the rest
