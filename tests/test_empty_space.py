"""What the coarse stage knows to be empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import PreparedBody
from gdna.objectives import bone_points, inside_loss, outside_loss
from gdna.train.empty_space import CELL, LOOSE, MARGIN, REACH, SOFTNESS, EmptySpace, PosedSkin, landmarks
from gdna.train.schedule import generator_for
from gdna.types import BodyParams, Scan

SIZES = PrepareSettings(points=6000, surface_points=200, held_out=10, views=1, image_size=16)


def posed_skin(rotations: torch.Tensor, betas: torch.Tensor) -> tuple[PosedSkin, torch.Tensor]:
    """One body in one pose, and the place of its left ankle's and right ankle's middle, posed."""
    body = open_body()
    posed = body(BodyParams(betas[None], rotations[None], torch.zeros(1, 3)))
    skin = body.faces.unique()
    transforms = body.skin_weights[skin] @ posed.bone_transforms[0, :, :3].flatten(1)
    shifts = posed.vertices_canonical[0, skin] - body.vertices_neutral[skin]
    ankles = posed.joints[0, [JOINT_NAMES.index("left_ankle"), JOINT_NAMES.index("right_ankle")]]
    return PosedSkin(posed.vertices[0, skin], transforms, shifts), ankles.mean(0)


def prepared_body() -> PreparedBody:
    body = open_body()
    skin = body.faces.unique()
    return PreparedBody(
        body.vertices_neutral[skin], body.skin_weights[skin], body.joints_neutral, torch.tensor(body.parents)
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Three bodies without clothes, far from the canonical pose, of different shapes."""
    folder, body = tmp_path_factory.mktemp("bodies"), open_body()
    used, faces = np.unique(body.faces.numpy(), return_inverse=True)
    rotations = 0.25 * torch.randn(3, 24, 3, generator=torch.Generator().manual_seed(3))
    betas = torch.from_numpy(body.population_betas[:3])
    posed = body(BodyParams(betas, rotations, torch.zeros(3, 3)))
    for i in range(3):
        vertices = posed.vertices[i].numpy()[used]
        scan = Scan(f"{i:04d}", vertices, faces.reshape(-1, 3), betas[i].numpy(), rotations[i].numpy())
        prepare_scan(scan, body, folder, SIZES)
    return PreparedSet.open(folder)


@pytest.fixture(scope="module")
def empty(data: PreparedSet) -> EmptySpace:
    return EmptySpace.of(data)


def test_skin_is_carried_back_to_the_neutral_body() -> None:
    rotations = 0.3 * torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    skin, _ = posed_skin(rotations, torch.from_numpy(open_body().population_betas[5]))
    body = prepared_body()
    back = skin.to_neutral(skin.vertices_posed, landmarks(body))
    # metres: single precision, and coincident vertices of other weights
    assert float((back - body.vertices_neutral).norm(dim=1).quantile(0.999)) < 1e-5


def test_empty_cells_keep_off_the_body_and_go_around_it(data: PreparedSet, empty: EmptySpace) -> None:
    points = empty.draw(1, 20_000, generator_for(0))[0]
    skin = data.body.vertices_neutral
    distance = torch.cdist(points, skin).amin(1)
    # metres: cells around a filled one, counted from anywhere in either
    assert float(distance.min()) > (REACH - 1) * CELL
    assert float((distance < 0.15).float().mean()) > 0.05
    low, high = skin.amin(0) - MARGIN, skin.amax(0) + MARGIN + CELL
    assert ((points >= low) & (points <= high)).all()
    extent = points.amax(0) - points.amin(0)
    assert (extent > 0.98 * (high - low - CELL)).all()


def test_the_bodys_inside_is_not_empty(data: PreparedSet, empty: EmptySpace) -> None:
    """Nor is that of people of any shape, whose bones all lie in the neutral ones."""
    full = torch.zeros(tuple((empty.cells.amax(0) + 1).tolist()), dtype=torch.bool)
    full[tuple(empty.cells.unbind(1))] = True
    bones = bone_points(data.body.joints_neutral, tuple(data.body.parents.tolist()), 50, generator_for(0))
    cells = ((bones - empty.low) / CELL).floor().long()
    assert not full[tuple(cells.unbind(1))].any()


def test_every_scans_inside_counts(data: PreparedSet, empty: EmptySpace) -> None:
    alone = EmptySpace.of(PreparedSet.open(data.folder, ["0000"]))
    assert len(empty.cells) < len(alone.cells)
    again = EmptySpace.of(PreparedSet.open(data.folder))
    assert torch.equal(again.cells, empty.cells)


def test_a_skirts_cloth_between_the_legs_is_a_web() -> None:
    """Standing: legs 30 degrees closer than in the canonical pose. Between the ankles both legs count alike."""
    rotations = torch.zeros(24, 3)
    skin, between = posed_skin(rotations, torch.zeros(open_body().num_betas))
    across = torch.linspace(-0.05, 0.05, 41)[:, None] * torch.tensor([1.0, 0, 0])
    points = between + torch.tensor([0.0, 0.15, 0.15]) + across
    assert float(torch.cdist(points, skin.vertices_posed).amin()) > LOOSE
    back = skin.to_neutral(points, landmarks(prepared_body()))
    assert len(back) == len(SOFTNESS) * len(points)
    assert float(back[:, 0].amax() - back[:, 0].amin()) > 0.3  # metres: as wide as the canonical legs are apart
    assert float(back[:, 0].sort().values.diff().max()) < 2 * REACH * CELL


def test_loose_cloth_follows_no_hand() -> None:
    """A skirt below the fingers of a hanging arm is carried back with the thigh, 10 cm away, not with the hand."""
    body = prepared_body()
    bones = body.skin_weights[landmarks(body)].argmax(1)
    ends = [
        JOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right") for name in ("ankle", "foot", "wrist", "hand")
    ]
    assert not torch.isin(bones, torch.tensor(ends)).any()
    assert len(bones.unique()) == 24 - len(ends)
    rotations = torch.zeros(24, 3)
    rotations[JOINT_NAMES.index("left_shoulder"), 2] = -1.4  # arms down
    skin, _ = posed_skin(rotations, torch.zeros(open_body().num_betas))
    hand = skin.vertices_posed[body.skin_weights[:, JOINT_NAMES.index("left_hand")] > 0.9]
    hem = hand.mean(0) + torch.tensor([[0.0, -0.13, 0.0]])
    distance = torch.cdist(hem, skin.vertices_posed)
    assert float(distance.amin()) > LOOSE
    assert body.skin_weights[distance.argmin(), JOINT_NAMES.index("left_hand")] > 0.5
    back = skin.to_neutral(hem, landmarks(body))
    hands_neutral = body.vertices_neutral[body.skin_weights[:, JOINT_NAMES.index("left_hand")] > 0.9]
    assert float(torch.cdist(back, hands_neutral).amin()) > 0.3  # metres


def test_draws_are_of_the_generator() -> None:
    space = EmptySpace(torch.zeros(3), torch.tensor([[0, 0, 0], [4, 5, 6]]))
    points = space.draw(3, 500, generator_for(7))
    assert torch.equal(points, space.draw(3, 500, generator_for(7)))
    assert points.shape == (3, 500, 3)
    cells = (points / CELL).floor().long().flatten(0, 1)
    found, counts = cells.unique(dim=0, return_counts=True)
    assert found.tolist() == [[0, 0, 0], [4, 5, 6]]
    assert abs(int(counts[0]) - 750) < 100  # five standard deviations


def test_outside_is_the_mirror_of_inside() -> None:
    logits = torch.linspace(-30, 30, 13)[None]
    assert torch.allclose(outside_loss(logits), inside_loss(-logits))
    assert float(outside_loss(torch.full((1, 4), -20.0))) < 1e-8
