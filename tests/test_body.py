"""The open body: exactness of its skinning, its tree, its axes and its population."""

from __future__ import annotations

import pytest
import torch

from gdna.body.interface import BodyModel
from gdna.body.open_body import OpenBody, open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS, blend_skinning, canonical_rotations, rigid_inverse
from gdna.body.smpl import Smpl
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.types import BodyParams


def params(count: int, seed: int = 0, pose: float = 0.3) -> BodyParams:
    g = torch.Generator().manual_seed(seed)
    return BodyParams(
        torch.randn(count, open_body().num_betas, generator=g),
        pose * torch.randn(count, 24, 3, generator=g),
        torch.randn(count, 3, generator=g),
    )


def test_bodies_are_body_models_whatever_the_python():
    """By name: from 3.12 on, `isinstance` with a protocol finds no buffers, and shape checks would refuse them."""
    assert BodyModel in OpenBody.__mro__
    assert BodyModel in Smpl.__mro__


def test_canonical_vertices_skinned_by_bone_transforms_are_the_posed_vertices():
    body = open_body()
    posed = body(params(2))
    again = blend_skinning(posed.vertices_canonical, body.skin_weights, posed.bone_transforms)
    torch.testing.assert_close(again, posed.vertices, atol=1e-6, rtol=0)


def test_bone_transforms_carry_canonical_joints_to_posed_joints():
    posed = open_body()(params(3))
    linear, shift = posed.bone_transforms[..., :3, :3], posed.bone_transforms[..., :3, 3:]
    carried = linear @ posed.joints_canonical[..., None] + shift
    torch.testing.assert_close(carried[..., 0], posed.joints, atol=2e-6, rtol=0)


def test_canonical_pose_gives_identity_transforms():
    body = open_body()
    still = BodyParams(torch.zeros(1, body.num_betas), canonical_rotations()[None], torch.zeros(1, 3))
    posed = body(still)
    torch.testing.assert_close(posed.bone_transforms, torch.eye(4).expand(1, 24, 4, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(posed.vertices[0], body.vertices_neutral, atol=1e-6, rtol=0)


def test_a_batch_equals_its_singles():
    body, batch = open_body(), params(3)
    together = body(batch).vertices
    for i in range(3):
        torch.testing.assert_close(body(batch[i : i + 1]).vertices[0], together[i], atol=2e-6, rtol=0)


def test_root_rotation_and_translation_move_the_whole_body():
    body = open_body()
    base = params(1, pose=0.0)
    root = torch.tensor([0.2, 0.9, -0.1])
    turned = BodyParams(base.betas, base.joint_rotations.clone(), base.translation)
    turned.joint_rotations[0, 0] = root
    a, b = body(base), body(turned)
    pivot = a.joints[0, 0]
    expected = (a.vertices[0] - pivot) @ axis_angle_to_matrix(root).T + pivot
    torch.testing.assert_close(b.vertices[0], expected, atol=2e-6, rtol=0)


def test_axes_units_and_tree():
    body = open_body()
    skin = body.vertices_neutral[body.faces.unique()]
    height = float(skin[:, 1].max() - skin[:, 1].min())
    assert 1.5 < height / 0.95 < 2.0  # legs are spread in the canonical pose, so a little less than the height
    names = dict(zip(JOINT_NAMES, body.joints_neutral, strict=True))
    assert names["left_wrist"][0] > 0.5
    assert names["right_wrist"][0] < -0.5
    assert names["left_foot"][2] > names["left_ankle"][2]  # toes point to +z
    assert abs(float(names["left_wrist"][1] - names["left_shoulder"][1])) < 0.02  # T-pose
    assert all(p < j for j, p in enumerate(PARENTS))


def test_skin_weights_rows_sum_to_one_and_follow_bones():
    body = open_body()
    torch.testing.assert_close(body.skin_weights.sum(1), torch.ones(len(body.template)), atol=1e-5, rtol=0)
    hand = (body.vertices_neutral - body.joints_neutral[20]).norm(dim=1).argmin()
    assert int(body.skin_weights[hand].argmax()) in (18, 20, 22)


def test_body_is_closed_but_for_eyes_and_mouth_and_faces_point_outward():
    body = open_body()
    v, f = body.vertices_neutral.double(), body.faces
    volume = (v[f[:, 0]] * torch.cross(v[f[:, 1]], v[f[:, 2]], dim=1)).sum() / 6
    assert 0.03 < float(volume) < 0.12  # cubic metres; negative if faces pointed inward


def test_population_is_plausible():
    body = open_body()
    betas = torch.from_numpy(body.population_betas)
    assert betas.shape == (1024, 40)
    assert float(betas.std(0).mean()) == pytest.approx(1.0, abs=0.1)
    zero = torch.zeros(64, 24, 3)
    skin = body(BodyParams(betas[:64], zero, torch.zeros(64, 3))).vertices[:, body.faces.unique()]
    heights = skin[..., 1].amax(1) - skin[..., 1].amin(1)
    assert float(heights.min()) > 1.4
    assert float(heights.max()) < 2.1
    assert float(heights.std()) > 0.04
    assert float(torch.corrcoef(torch.stack([betas[:64, 0], heights]))[0, 1]) > 0.5  # the first beta grows with height


def test_gradients_reach_pose_and_shape():
    body = open_body()
    p = params(1)
    betas, rotations = p.betas.requires_grad_(), p.joint_rotations.requires_grad_()
    body(BodyParams(betas, rotations, p.translation)).vertices.square().mean().backward()
    assert betas.grad is not None
    assert rotations.grad is not None
    assert torch.isfinite(rotations.grad).all()
    assert rotations.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("betas", "joints", "message"),
    [(9, 24, "betas: found 9 numbers a body, this body model takes 40"), (40, 22, "joint_rotations: found 22")],
)
def test_wrong_sizes_are_named(betas: int, joints: int, message: str):
    with pytest.raises(GdnaError, match=message):
        open_body()(BodyParams(torch.zeros(1, betas), torch.zeros(1, joints, 3), torch.zeros(1, 3)))


def test_rigid_inverse():
    transforms = open_body()(params(2)).bone_transforms
    eye = torch.eye(4).expand_as(transforms)
    torch.testing.assert_close(rigid_inverse(transforms) @ transforms, eye, atol=2e-6, rtol=0)
