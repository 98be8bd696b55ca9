"""Shape codes that see the pose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS, SMPLX_PARENTS, canonical_rotations
from gdna.errors import GdnaError
from gdna.evaluate.metrics import codes_of
from gdna.geometry.rotations import rotation_y
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_model, save_checkpoint
from gdna.model.config import MlpConfig, ModelConfig, NormalConfig, OccupancyConfig, from_dict
from gdna.model.pose_offsets import POSE_NUMBERS, PoseOffsets, pose_numbers
from gdna.train.beginning import begin_with
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
    torch.manual_seed(0)
    model = AvatarModel(config)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.z_shapes.weight, std=0.3)
    torch.nn.init.normal_(model.scan_offsets.weight, std=0.1)
    model.scan_offsets.person.copy_(PEOPLE)
    if model.pose_offsets is not None:
        torch.nn.init.normal_(model.pose_offsets.out.weight, std=influence)
        model.pose_offsets.mean.copy_(pose_numbers(POSES, PARENTS).mean(0))
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
    assert torch.equal(blind.codes(PEOPLE, POSES, SCANS).shape, aware.codes(PEOPLE, POSES, SCANS).shape)
    assert torch.equal(blind.codes(PEOPLE, scans=SCANS).shape, aware.codes(PEOPLE, POSES, SCANS).shape)


def test_a_person_has_the_own_code_at_the_mean_pose_and_others_elsewhere():
    model = network(AWARE, influence=0.3)
    own, shown = model.codes(PEOPLE).shape, model.codes(PEOPLE, POSES).shape
    assert torch.equal(own, model.z_shapes(PEOPLE))
    assert (shown - own).abs().amax(1).min() > 1e-3
    with torch.no_grad():
        model.pose_offsets.mean.copy_(pose_numbers(POSES, PARENTS)[1])
        assert torch.equal(model.codes(PEOPLE, POSES).shape[1], own[1])
    torch.testing.assert_close(
        model.codes(PEOPLE, POSES, SCANS).shape - model.codes(PEOPLE, POSES).shape,
        model.scan_offsets(SCANS, 3), atol=1e-6, rtol=0,
    )  # fmt: skip
    with pytest.raises(GdnaError, match="give bone transforms"):
        model.codes(PEOPLE, scans=SCANS)


def test_gradients_reach_it_and_no_code_through_it():
    offsets = PoseOffsets(8)
    shape = torch.randn(4, 8, requires_grad=True)
    offsets(pose_numbers(POSES, PARENTS), shape).square().sum().backward()
    assert not offsets.out.weight.grad.any()  # of a square at zero
    offsets(pose_numbers(POSES, PARENTS), shape).sum().backward()
    assert offsets.out.weight.grad.abs().max() > 0
    torch.nn.init.normal_(offsets.out.weight)
    offsets(pose_numbers(POSES, PARENTS), shape).sum().backward()
    assert offsets.hidden.weight.grad.abs().max() > 0
    assert shape.grad is None


def test_measuring_asks_for_the_poses_shape():
    model = network(AWARE, influence=0.3)
    for scan in (None, 2):
        number = None if scan is None else torch.tensor([scan])
        expected = model.codes(torch.tensor([0]), POSES[2:3], number).shape
        assert torch.equal(codes_of(model, 0, POSES[2], scan).shape, expected)


@pytest.mark.parametrize("half", [False, True])
def test_files_keep_it(tmp_path, half):
    model = network(AWARE, influence=0.3)
    save_checkpoint(tmp_path / "aware.safetensors", model, {}, half)
    again = load_model(tmp_path / "aware.safetensors")
    assert again.config == AWARE
    assert torch.equal(again.pose_offsets.mean, model.pose_offsets.mean)
    off = (again.codes(PEOPLE, POSES, SCANS).shape - model.codes(PEOPLE, POSES, SCANS).shape).abs().max()
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
    fresh = AvatarModel(AWARE)
    fresh.pose_offsets.mean.fill_(0.5)
    fresh.scan_offsets.person.copy_(PEOPLE)
    begin_with(fresh, start["blind"], NAMES)
    assert torch.equal(fresh.codes(PEOPLE, POSES, SCANS).shape, network(BLIND).codes(PEOPLE, scans=SCANS).shape)
    assert torch.equal(fresh.pose_offsets.mean, torch.full((POSE_NUMBERS,), 0.5))  # of the new run's scans
    begin_with(fresh, start["aware"], NAMES)
    known = network(AWARE, influence=0.3).codes(PEOPLE, POSES, SCANS).shape
    assert torch.equal(fresh.codes(PEOPLE, POSES, SCANS).shape, known)
    with pytest.raises(GdnaError, match=r"give model\.shape_pose=local"):
        begin_with(AvatarModel(BLIND), start["aware"], NAMES)
