"""Normals that see the pose: local, blind to where the person faces, and nothing at the start."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS, SMPLX_PARENTS, canonical_rotations
from gdna.data.prepared import turn_to_view
from gdna.errors import GdnaError
from gdna.extract.avatar_mesh import extract_avatar
from gdna.extract.pose import pose_mesh
from gdna.fields.pose import PoseHead, joint_bends
from gdna.geometry.mesh import fuse_normals, vertex_normals
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.model.avatar_model import AvatarModel, bone_tree
from gdna.model.checkpoint import load_model, save_checkpoint
from gdna.model.config import MlpConfig, ModelConfig, NormalConfig, OccupancyConfig, from_dict
from gdna.objectives import normal_loss
from gdna.train.fine_losses import posed_normals
from gdna.types import BodyParams, Subject

BLIND = replace(
    ModelConfig(),
    stage="fine",
    num_betas=40,
    dim_shape=8,
    dim_detail=6,
    network=OccupancyConfig(width=64, bias=0.6),
    norm_network=NormalConfig(width=48),
)
BLIND = replace(BLIND, deformer=replace(BLIND.deformer, disp_network=MlpConfig(32, 2), lbs_network=MlpConfig(32, 2)))
AWARE = replace(BLIND, norm_network=replace(BLIND.norm_network, pose="local"))
KNEE, THIGH = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("left_hip")
SINGLE = 1e-5  # of unit vectors that went through rotations in single precision


def pose(**angles: float) -> torch.Tensor:
    """Bone transforms (1, 24, 4, 4) of the canonical pose with joints bent about x, radians."""
    rotations = canonical_rotations().clone()
    for name, angle in angles.items():
        turn = torch.zeros(3)
        turn[0] = angle
        assert not rotations[JOINT_NAMES.index(name)].any()
        rotations[JOINT_NAMES.index(name)] = turn
    body = open_body()
    return body(BodyParams(torch.zeros(1, 40), rotations[None], torch.zeros(1, 3))).bone_transforms


def network(config: ModelConfig, seed: int = 0, influence: float = 0.0) -> AvatarModel:
    torch.manual_seed(seed)
    model = AvatarModel(config)
    torch.manual_seed(seed + 1)
    torch.nn.init.normal_(model.z_details.weight)
    if model.normal.head is not None:
        torch.nn.init.normal_(model.normal.head.out.weight, std=influence)
    return model


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, Subject]:
    """Neutral points, hidden values and their person."""
    torch.manual_seed(3)
    blind = network(BLIND)
    with torch.no_grad():
        subject = blind.subject(blind.codes(torch.tensor([0])), torch.zeros(1, 40))
        points = torch.rand(1, 80, 3) - 0.5
        return points, blind.occupancy_neutral(points, subject)[1], subject


# --- what the pose is


def test_bends_are_the_joints_rotations():
    bends = joint_bends(pose(left_knee=0.7, head=-0.2), PARENTS)[0].unflatten(1, (3, 3))
    expected = torch.zeros(24, 3, 3)
    for name, angle in (("left_knee", 0.7), ("head", -0.2)):
        turn = axis_angle_to_matrix(torch.tensor([angle, 0.0, 0.0]))
        # canonical -> posed rotations carry canonical axes: the hip's opening turns the knee's axis
        opened = axis_angle_to_matrix(canonical_rotations()[THIGH]) if name == "left_knee" else torch.eye(3)
        expected[JOINT_NAMES.index(name)] = opened @ turn @ opened.T - torch.eye(3)
    torch.testing.assert_close(bends, expected, atol=SINGLE, rtol=0)


def test_the_canonical_pose_is_zero_and_views_do_not_matter():
    head = PoseHead(8, PARENTS)
    torch.testing.assert_close(head.table(pose()), torch.zeros(1, 24, 64), atol=SINGLE, rtol=0)
    bent = pose(left_knee=0.9, right_elbow=0.5, spine2=0.3).expand(4, -1, -1, -1)
    turned = turn_to_view(bent, torch.arange(4), 4)
    assert (turned - bent)[1:].abs().amax((1, 2, 3)).min() > 0.5
    torch.testing.assert_close(head.table(turned), head.table(bent), atol=10 * SINGLE, rtol=0)


def test_a_bent_knee_changes_thigh_and_shin_only():
    head = PoseHead(8, PARENTS)
    change = (head.table(pose(left_knee=1.0, head=0.4)) - head.table(pose(head=0.4)))[0].abs().amax(1)
    moved = (change > 1e-3).nonzero()[:, 0].tolist()
    assert moved == [THIGH, KNEE]
    assert change[[i for i in range(24) if i not in moved]].max() < SINGLE


def test_normals_change_where_the_weights_of_the_bent_bones_are(scene):
    points, hidden, subject = scene
    model = network(AWARE, influence=0.5)
    weights = torch.zeros(1, 80, 24)
    weights[:, :40, JOINT_NAMES.index("right_elbow")] = 1.0
    weights[:, 40:60, KNEE] = 1.0
    weights[:, 60:, KNEE] = torch.linspace(1, 0, 20)
    weights[:, 60:, 0] = torch.linspace(0, 1, 20)
    model.skin_weights = lambda points, subject: weights
    with torch.no_grad():
        straight, bent = (
            model.normal(points, hidden, subject.detail, model.normal.head.local_pose(weights, transforms))[0]
            for transforms in (pose(), pose(left_knee=1.2))
        )
        change = (straight - bent).norm(dim=-1)
        assert change[:40].max() < SINGLE
        assert change[40:60].min() > 1e-2
        assert change[-1] < SINGLE
        # as the weight falls evenly, so does what is seen of the pose: no step anywhere
        seen = model.normal.head.local_pose(weights, pose(left_knee=1.2))[0, 60:]
        torch.testing.assert_close(seen.diff(dim=0), seen.diff(dim=0).mean(0).expand(19, -1), atol=SINGLE, rtol=1e-3)


# --- how it starts and learns


def test_it_starts_as_the_field_that_is_blind(scene):
    points, hidden, subject = scene
    blind, aware = network(BLIND), network(AWARE)
    tensors = aware.state_dict()
    assert {k for k in tensors if k not in blind.state_dict()} == {
        f"normal.head.{name}" for name in ("own", "below", "key.weight", "key.bias", "out.weight")
    }
    assert all(torch.equal(tensors[name], tensor) for name, tensor in blind.state_dict().items())
    bent = pose(left_knee=1.2, spine1=0.4)
    with torch.no_grad():
        assert torch.equal(*(m.normals_posed(points, hidden, bent, subject) for m in (blind, aware)))


def test_gradients_are_the_derivatives():
    torch.manual_seed(0)
    head = PoseHead(5, PARENTS, channels=4).double()
    torch.nn.init.normal_(head.out.weight)
    weights = torch.rand(1, 7, 24, dtype=torch.float64).softmax(-1)
    transforms = pose(left_knee=0.8, left_elbow=0.4).double()
    given = torch.randn(1, 7, 3, dtype=torch.float64), torch.randn(1, 7, 5, dtype=torch.float64)
    inputs = tuple(t.requires_grad_(True) for t in (*given, transforms))

    def ask(output, hidden, bones, *parameters):
        return head.normals(head.posable(output, hidden), head.local_pose(weights, bones))

    assert torch.autograd.gradcheck(ask, (*inputs, *head.parameters()), eps=1e-7, atol=1e-5, fast_mode=True)


def test_two_poses_of_one_person_are_learned_by_the_field_that_sees_them(scene):
    """Ripples over the shin in the bent pose only: a blind field can at best learn their mean."""
    points, _, _ = scene
    transforms = torch.cat([pose(), pose(left_knee=1.3)])
    points = points.expand(2, -1, -1)
    ripples = 0.6 * torch.sin(15 * points[..., 1]) * torch.tensor([0.0, 1.0])[:, None]
    still = torch.nn.functional.normalize(points + torch.stack([ripples * 0, ripples, ripples * 0], -1), dim=-1)
    fabric, left = Fabric(accelerator="cpu"), {}
    for name, config in (("blind", BLIND), ("aware", AWARE)):
        model = network(config)
        weights = torch.zeros(2, 80, 24)
        weights[..., KNEE] = 1.0
        model.skin_weights = lambda points, subject, weights=weights: weights
        codes = model.codes(torch.zeros(2, dtype=torch.long))
        subject = Subject(torch.zeros(2, 40), codes.shape, codes.detail.detach(), torch.zeros(2, 64, 2, 2, 2))
        wanted = torch.einsum("bij,bnj->bni", transforms[:, KNEE, :3, :3], still)
        optimizer = torch.optim.Adam(model.normal.parameters(), 1e-2)
        for _ in range(150):
            normals = posed_normals(model, points, transforms, subject, fabric)
            loss = normal_loss(normals, wanted, torch.ones(2, 80, dtype=torch.bool))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        left[name] = float(loss.detach())
    assert left["aware"] < 0.5 * left["blind"]  # 1 - cosine


# --- checkpoints and settings


def test_checkpoints_are_strict_about_it(tmp_path):
    model = network(AWARE, influence=0.3)
    save_checkpoint(tmp_path / "aware.safetensors", model, {})
    again = load_model(tmp_path / "aware.safetensors")
    assert again.config.norm_network.pose == "local"
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())
    liar = network(BLIND)
    liar.config = AWARE
    save_checkpoint(tmp_path / "liar.safetensors", liar, {})
    with pytest.raises(GdnaError, match=r"normal\.head\.own 24x9x64 is missing"):
        load_model(tmp_path / "liar.safetensors")
    model.config = BLIND
    save_checkpoint(tmp_path / "other.safetensors", model, {})
    with pytest.raises(GdnaError, match=r"unexpected tensor normal\.head"):
        load_model(tmp_path / "other.safetensors")
    assert from_dict({"norm_network": {"multires": 6}}).norm_network.pose == "none"  # files of before


def test_what_cannot_be_is_refused():
    with pytest.raises(GdnaError, match=r"pose: found 'everything', expected 'none' or 'local'"):
        replace(BLIND, norm_network=NormalConfig(pose="everything"))
    with pytest.raises(GdnaError, match="a body of 23 bones; trees are known of 24, 52, 55 bones"):
        AvatarModel(replace(AWARE, num_bones=23))
    assert bone_tree(55) == SMPLX_PARENTS


# --- meshes


def test_a_meshs_frames_have_the_normals_of_their_pose():
    model = network(AWARE, influence=0.5).requires_grad_(False)
    subject = model.subject(model.codes(torch.tensor([0])), torch.zeros(1, 40))
    box = torch.tensor([[-0.3, -0.6, -0.15], [0.3, 0.1, 0.15]])
    mesh = extract_avatar(model, subject, box, torch.zeros(24, 3), PARENTS, 16)
    poses = torch.cat([pose(), pose(left_knee=1.2, right_shoulder=0.5), pose(spine1=0.6)])
    frames = list(pose_mesh(mesh, poses))
    alone = next(
        iter(pose_mesh(mesh, poses[1:2]))
    ).normals  # nothing was overwritten; one or three poses round differently
    torch.testing.assert_close(frames[1].normals, alone, atol=SINGLE, rtol=0)
    own = vertex_normals(mesh.vertices, mesh.faces)
    neutral = model.to_neutral(mesh.vertices[None], subject.betas)
    _, hidden = model.occupancy_neutral(neutral, subject)
    still = mesh.normals_in(poses)
    # the mesh asks just before its vertices' last move, of some millimetres with cells of 6 cm
    for transforms, normals in zip(poses, still, strict=True):
        local_pose = model.normal.head.local_pose(mesh.skin_weights[None], transforms[None])
        expected = fuse_normals(model.normal(neutral, hidden, subject.detail, local_pose)[0], own)
        assert (normals - expected).norm(dim=-1).mean() < 5e-3
    torch.testing.assert_close(still[0], mesh.normals, atol=SINGLE, rtol=0)
    assert (still[1] - still[0]).norm(dim=-1).max() > 0.05
    blind = replace(mesh, normals=still[1], normals_in=None)
    torch.testing.assert_close(next(iter(pose_mesh(blind, poses[1:2]))).normals, frames[1].normals, atol=SINGLE, rtol=0)
