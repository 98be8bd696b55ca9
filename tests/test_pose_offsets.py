"""Shape codes that see the pose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS, SMPLX_PARENTS, canonical_rotations
from gdna.data.batches import CoarseBatch
from gdna.errors import GdnaError
from gdna.evaluate.metrics import codes_of
from gdna.geometry.rotations import axis_angle_to_matrix, rigid, rotation_y
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_model, save_checkpoint
from gdna.model.config import MlpConfig, ModelConfig, NormalConfig, OccupancyConfig, from_dict
from gdna.model.pose_offsets import POSE_NUMBERS, STEP, PoseOffsets, pose_numbers
from gdna.model.scan_offsets import origin_shares
from gdna.train.beginning import begin_with
from gdna.train.settings import LossSettings
from gdna.train.shown import CodeNoise, ShownShapes, shown_shapes
from gdna.types import BodyParams

BLIND = replace(
    ModelConfig(),
    num_people=3,
    num_scans=4,
    num_betas=4,
    dim_shape=8,
    dim_detail=6,
    network=OccupancyConfig(width=64),
    norm_network=NormalConfig(width=48),
)
BLIND = replace(BLIND, deformer=replace(BLIND.deformer, disp_network=MlpConfig(32, 2), lbs_network=MlpConfig(32, 2)))
AWARE = replace(BLIND, shape_pose="local")
PEOPLE, SCANS = torch.tensor([0, 1, 0, 2]), torch.arange(4)
NAMES = ("ann", "bob", "ann_pose1", "cat")
SINGLE = 1e-5  # of rotations in single precision


def poses(*angles: dict[str, float]) -> torch.Tensor:
    """Bone transforms (B, 24, 4, 4) of the canonical pose with joints bent about x, radians."""
    rotations = canonical_rotations().repeat(len(angles), 1, 1)
    for row, bent in zip(rotations, angles, strict=True):
        for name, angle in bent.items():
            row[JOINT_NAMES.index(name), 0] = angle
    params = BodyParams(torch.zeros(len(angles), 40), rotations, torch.zeros(len(angles), 3))
    return open_body()(params).bone_transforms


POSES = poses({}, {"left_knee": 0.8}, {"pelvis": 0.6, "right_elbow": 1.0}, {"spine2": 0.4})


def network(config: ModelConfig, influence: float = 0.0) -> AvatarModel:
    """In which the second of Ann's two scans shows her at rest, for who asks."""
    torch.manual_seed(0)
    model = AvatarModel(config)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.z_shapes.weight, std=0.3)
    torch.nn.init.normal_(model.scan_offsets.weight, std=0.1)
    at_rest = torch.tensor([False, False, True, False]) & (config.person_code == "rest")
    share = origin_shares(PEOPLE, at_rest)
    model.scan_offsets.set_people(PEOPLE, share)
    if model.pose_offsets is not None:
        torch.nn.init.normal_(model.pose_offsets.weight, std=influence / STEP)
        model.pose_offsets.set_people(pose_numbers(POSES, PARENTS), PEOPLE, share)
    return model


def test_the_poses_numbers_are_bends_and_tilt():
    numbers = pose_numbers(POSES, PARENTS)
    assert numbers.shape == (4, POSE_NUMBERS)
    assert numbers[0].abs().max() < SINGLE  # the canonical pose
    knee = slice(9 * 3, 9 * 4)  # the fourth of the joints, hips first
    assert numbers[1, knee].norm() == pytest.approx(2 * math.sqrt(2) * math.sin(0.4), abs=SINGLE)
    assert numbers[1].norm() == pytest.approx(float(numbers[1, knee].norm()), abs=SINGLE)
    tilt = torch.tensor([0.0, torch.cos(torch.tensor(0.6)) - 1, -torch.sin(torch.tensor(0.6))])
    torch.testing.assert_close(numbers[2, -3:], tilt, atol=SINGLE, rtol=0)


def test_the_poses_numbers_do_not_see_place_and_facing_or_head_and_hands():
    moved = POSES.clone()
    moved[:, :, :3] = rotation_y(1.1) @ moved[:, :, :3]
    moved[:, :, :3, 3] += 0.7
    torch.testing.assert_close(pose_numbers(moved, PARENTS), pose_numbers(POSES, PARENTS), atol=SINGLE, rtol=0)
    still = pose_numbers(poses({"head": 0.5, "neck": 0.3, "left_wrist": 0.8, "right_foot": 0.4}), PARENTS)
    assert still.abs().max() < SINGLE
    fingers = torch.eye(4).expand(1, 55, 4, 4)
    assert not pose_numbers(fingers, SMPLX_PARENTS).any()


def test_before_it_learns_the_model_is_the_one_that_is_blind_to_the_pose():
    blind, aware = network(BLIND), network(AWARE)
    for name, tensor in blind.state_dict().items():
        assert torch.equal(aware.state_dict()[name], tensor)
    own = blind.codes(PEOPLE).shape
    assert torch.equal(aware.codes_in(PEOPLE, POSES).shape, own)
    assert torch.equal(blind.codes_in(PEOPLE, POSES).shape, own)


def test_a_person_has_the_own_code_at_the_mean_of_the_scans_poses_and_others_elsewhere():
    model = network(AWARE, influence=0.3)
    own, shown = model.z_shapes(PEOPLE), model.codes_in(PEOPLE, POSES).shape
    torch.testing.assert_close(shown[[1, 3]], own[[1, 3]])  # people of one scan, in its pose
    assert (shown - own)[[0, 2]].abs().amax(1).min() > 1e-3
    assert (model.codes_in(PEOPLE, POSES.roll(1, 0)).shape - own).abs().amax(1).min() > 1e-3
    half_way = pose_numbers(POSES[[0, 2]], PARENTS).mean(0, keepdim=True)
    torch.testing.assert_close(model.pose_offsets.mean[:1], half_way)
    assert torch.equal(model.codes(PEOPLE).shape, own)  # all that knows no pose
    assert torch.equal(model.codes(PEOPLE, SCANS).shape, own + model.scan_offsets(SCANS, 3))  # scans have their own


def test_gradients_reach_it():
    offsets, poses = PoseOffsets(3, 8), pose_numbers(POSES, PARENTS)
    offsets(poses, torch.zeros(4, POSE_NUMBERS)).sum().backward()
    torch.testing.assert_close(offsets.weight.grad, STEP * poses.sum(0).expand(8, -1))


def shown(model: AvatarModel, coin: float, **weights: float) -> ShownShapes:
    """What a step without noise shows of the four scans."""
    batch = CoarseBatch(
        SCANS, PEOPLE, torch.zeros(4, 4), POSES, torch.zeros(4, 1, 3), torch.zeros(4, 1, 3), torch.zeros(4, 1)
    )
    noise = CodeNoise(torch.zeros(4, POSE_NUMBERS), torch.full((4,), coin))
    return shown_shapes(model, batch, noise, LossSettings(**weights))


def test_scans_may_be_shown_by_their_person_and_pose_alone():
    model = network(AWARE, influence=0.3)
    full, alone = model.codes(PEOPLE, SCANS).shape, model.codes_in(PEOPLE, POSES).shape
    assert torch.equal(shown(model, 0.5).shown, full)
    left_out = shown(model, 0.1, offset_dropout=0.3)
    assert torch.equal(left_out.full, full)
    assert torch.equal(left_out.shown[[0, 2]], alone[[0, 2]])
    assert torch.equal(left_out.shown[[1, 3]], full[[1, 3]])  # nothing sets them apart
    blind = network(BLIND)
    assert torch.equal(shown(blind, 0.1, offset_dropout=0.3).shown[[0, 2]], blind.z_shapes(PEOPLE)[[0, 2]])
    assert shown(blind, 0.1).pose_loss == 0


def test_the_regression_finds_what_poses_do_and_leaves_codes_alone():
    """Codes that are a function of the pose, and what is people's own: it is found, for poses never seen."""
    torch.manual_seed(0)
    people, poses = 40, 3
    angles = 0.5 * torch.randn(people * poses + 60, 24, 3)
    rotations = axis_angle_to_matrix(angles)
    transforms = rigid(rotations, torch.zeros(len(angles), 3)[:, None].expand(-1, 24, -1))
    numbers, person = pose_numbers(transforms, PARENTS), torch.arange(people).repeat_interleave(poses)
    effect = 0.05 * torch.randn(POSE_NUMBERS, 8)
    model = AvatarModel(replace(AWARE, num_people=people, num_scans=people * poses))
    known = numbers[: people * poses]
    model.scan_offsets.person.copy_(person)
    model.pose_offsets.set_people(known, person, origin_shares(person, torch.zeros_like(person, dtype=torch.bool)))
    with torch.no_grad():
        model.z_shapes.weight.copy_(0.1 * torch.randn(people, 8) + model.pose_offsets.mean @ effect)
        model.scan_offsets.weight.copy_(known @ effect)
    batch = CoarseBatch(
        torch.arange(len(known)), person, torch.zeros(len(known), 4), transforms[: len(known)],
        *(torch.zeros(len(known), 1, 3) for _ in range(2)), torch.zeros(len(known), 1)
    )  # fmt: skip
    optimizer, generator = torch.optim.Adam(model.pose_offsets.parameters(), lr=5e-2), torch.Generator().manual_seed(0)
    for _ in range(300):
        noise = CodeNoise.draw(len(known), POSE_NUMBERS, generator)
        optimizer.zero_grad()
        shown_shapes(model, batch, noise, LossSettings()).pose_loss.backward()
        optimizer.step()
    assert model.z_shapes.weight.grad is None
    assert model.scan_offsets.weight.grad is None
    new, who = slice(people * poses, None), torch.arange(60) % people
    change = model.codes_in(who, transforms[new]).shape - model.z_shapes(who)
    expected = (numbers[new] - model.pose_offsets.mean[who]) @ effect
    assert (change - expected).square().mean() < 0.6 * expected.square().mean()


def test_measuring_asks_for_the_poses_shape_where_there_is_no_scan():
    model, person = network(AWARE, influence=0.3), torch.tensor([0])
    assert torch.equal(codes_of(model, 0, POSES[1]).shape, model.codes_in(person, POSES[1:2]).shape)
    assert torch.equal(codes_of(model, 0, POSES[2], 2).shape, model.codes(person, torch.tensor([2])).shape)


def test_where_people_are_shown_at_rest_poses_count_from_there(tmp_path):
    model = network(replace(AWARE, person_code="rest"), influence=0.3)
    torch.testing.assert_close(model.pose_offsets.mean[0], pose_numbers(POSES[2:3], PARENTS)[0])
    own = model.z_shapes(PEOPLE)
    torch.testing.assert_close(model.codes_in(PEOPLE, POSES).shape[2], own[2])
    torch.testing.assert_close(model.codes(PEOPLE, SCANS).shape[2], own[2])
    assert (model.codes_in(PEOPLE, POSES).shape - own)[0].abs().max() > 1e-3
    codes = shown(model, 0.1, offset_dropout=1.0).shown
    torch.testing.assert_close(codes[[0, 2]], model.codes_in(PEOPLE, POSES).shape[[0, 2]])
    codes[0].sum().backward()
    assert not model.z_shapes.weight.grad.any()  # what hangs otherwise in the first scan says nothing of her at rest
    save_checkpoint(tmp_path / "rest.safetensors", model, {"names": NAMES})
    again = load_model(tmp_path / "rest.safetensors")
    assert torch.equal(again.codes(PEOPLE, SCANS).shape, model.codes(PEOPLE, SCANS).shape)


@pytest.mark.parametrize("half", [False, True])
def test_files_keep_it(tmp_path, half):
    model = network(AWARE, influence=0.3)
    save_checkpoint(tmp_path / "aware.safetensors", model, {}, half)
    again = load_model(tmp_path / "aware.safetensors")
    assert again.config == AWARE
    assert torch.equal(again.pose_offsets.mean, model.pose_offsets.mean)
    off = (again.codes_in(PEOPLE, POSES).shape - model.codes_in(PEOPLE, POSES).shape).abs().max()
    assert off < (5e-3 if half else 1e-12)  # of codes of about one, through two layers in half precision
    assert from_dict({"num_people": 3}).shape_pose == "none"  # files of before
    with pytest.raises(GdnaError, match="shape_pose: found 'all', expected 'none' or 'local'"):
        replace(BLIND, shape_pose="all")
    with pytest.raises(GdnaError, match="a body of 23 bones; trees are known of 24, 52, 55 bones"):
        AvatarModel(replace(AWARE, num_bones=23))


def test_a_run_begins_with_either_kind_of_model(tmp_path):
    start = {name: tmp_path / f"{name}.safetensors" for name in ("blind", "aware")}
    for name, model in (("blind", network(BLIND)), ("aware", network(AWARE, influence=0.3))):
        save_checkpoint(start[name], model, {"names": NAMES})
    fresh = network(AWARE)
    begin_with(fresh, start["blind"], NAMES)
    assert torch.equal(fresh.codes(PEOPLE, SCANS).shape, network(BLIND).codes(PEOPLE, SCANS).shape)
    assert torch.equal(fresh.codes_in(PEOPLE, POSES).shape, fresh.codes(PEOPLE).shape)
    begin_with(fresh, start["aware"], NAMES)
    assert torch.equal(fresh.codes_in(PEOPLE, POSES).shape, network(AWARE, influence=0.3).codes_in(PEOPLE, POSES).shape)
    rested = network(replace(BLIND, person_code="rest"))
    rested.scan_offsets.weight.data.zero_()
    begin_with(rested, start["blind"], ("ann", "bob", "ann_rest", "cat"))  # one scan of hers is new
    known = [0, 1, 3]
    before = network(BLIND).codes(PEOPLE, SCANS).shape
    assert torch.allclose(rested.codes(PEOPLE, SCANS).shape[known], before[known], atol=1e-6)
    moved = network(AWARE)
    moved.pose_offsets.mean.fill_(0.5)  # of other scans
    begin_with(moved, start["aware"], NAMES)
    assert torch.equal(moved.pose_offsets.mean, torch.full((3, POSE_NUMBERS), 0.5))
    begin_with(network(BLIND), start["aware"], NAMES)
