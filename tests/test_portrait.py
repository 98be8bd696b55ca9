"""Pictures with shadows: what light does to a ball on a white floor is known."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gdna.render.portrait import STUDIO, portrait
from gdna.types import PosedMesh

SCRIPT = importlib.util.spec_from_file_location("sheet", Path(__file__).parents[1] / "scripts/sheet.py")
sheet = importlib.util.module_from_spec(SCRIPT)
SCRIPT.loader.exec_module(sheet)


def ball(radius: float, *place: float) -> PosedMesh:
    mesh = trimesh.creation.icosphere(4, radius)
    vertices = torch.tensor(mesh.vertices).float()
    return PosedMesh(vertices + torch.tensor(place), torch.tensor(mesh.faces), vertices / radius)


def light(image: np.ndarray) -> np.ndarray:
    return image.astype(float).mean(-1)


def test_a_ball_on_the_floor():
    image = light(portrait(ball(0.5, 3.0, 1.0, -2.0), 96))
    ground = round(STUDIO.ground * 96)
    assert image[0].min() == image[:, 0].min() == image[-1].min() == 255  # shadows end before the picture does
    above, below = image[ground - 44 : ground - 34, 44:52].mean(), image[ground - 8 : ground - 3, 44:52].mean()
    left, right = image[ground - 30 : ground - 18, 32:38].mean(), image[ground - 30 : ground - 18, 58:64].mean()
    assert above > below + 40
    assert left > right + 20  # the lamp stands on the left
    floor = image[ground - 4 : ground + 2]
    assert floor[:, 72:82].min() < 235 < floor[:, 14:24].min()  # its shadow falls to the right


def test_where_the_person_stands_makes_no_difference():
    here, there = (portrait(ball(0.5, *place), 48) for place in ((0.0, 0.5, 0.0), (3.0, -1.0, 7.0)))
    assert np.abs(here.astype(int) - there).mean() < 0.2


def test_something_above_takes_light_away_and_nothing_shadows_itself():
    lamp_only = replace(STUDIO, sky=(0.0, 0.0, 0.0), bounce=(0.0, 0.0, 0.0), lamp_direction=(0.0, 1.0, 0.3))
    alone, lid = ball(0.3, 0.0, 0.3, 0.0), ball(0.3, 0.0, 1.4, 0.33)
    both = PosedMesh(
        torch.cat([alone.vertices, lid.vertices]),
        torch.cat([alone.faces, lid.faces + len(alone.vertices)]),
        torch.cat([alone.normals, lid.normals]),
    )
    size = 120
    ground, pixel = round(STUDIO.ground * size), 2 * STUDIO.half_width / size
    rows = slice(ground - round(0.5 / pixel), ground - round(0.35 / pixel))
    columns = slice(size // 2 - 8, size // 2 + 8)
    plain, covered = (light(portrait(mesh, size, studio=lamp_only))[rows, columns] for mesh in (alone, both))
    assert plain.min() > 100
    assert np.abs(np.diff(plain, axis=1)).max() < 12  # no stripes of its own shadow
    assert covered.mean() < 0.6 * plain.mean()


def test_random_poses_face_the_camera():
    one, other = (sheet.random_poses(30, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, other)
    root = sheet.axis_angle_to_matrix(one[:, 0])
    heading = torch.atan2(root[:, 0, 2], root[:, 2, 2])
    assert heading.abs().max() < sheet.MOST_TURNED + 1e-3
    assert heading.std() > 0.2


@pytest.mark.parametrize("columns", [2, 3])
def test_a_sheet_has_a_place_for_everybody(columns):
    images = [np.full((4, 4, 3), k, np.uint8) for k in range(6)]
    found = sheet.arranged(images, columns, 4)
    assert found.shape == (24 // columns, 4 * columns, 3)
    assert found[-1, -1, 0] == 5
    lapped = sheet.arranged(images, columns, 3)
    assert lapped.shape == (4 + 3 * (6 // columns - 1), 4 + 3 * (columns - 1), 3)
    assert lapped[3, 3, 0] == 0  # of four pictures the darkest
