"""A body back out of scans: the open body posed, turned, in another unit, with crude clothes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.errors import GdnaError
from gdna.fit.cleaning import person_points
from gdna.fit.depth import Intrinsics, depth_points
from gdna.fit.framing import up_rotations
from gdna.fit.limbs import HEAD, nudged, turned_round, with_builds
from gdna.fit.nearest import nearest_both
from gdna.fit.normals import steadied
from gdna.fit.pose_library import library_poses, mirrored, pose_prior
from gdna.fit.puppet import Puppet, State
from gdna.fit.reading import read_raw_scan
from gdna.fit.register import register_body
from gdna.fit.sampling import surface_points
from gdna.fit.settings import RegisterSettings
from gdna.fit.solve import Solver, Stage, Target
from gdna.fit.types import RawScan, Registration
from gdna.fit.verdict import judge
from gdna.geometry.mesh import vertex_normals
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.types import BodyParams, PosedBody

QUICK = RegisterSettings(starts=8, limb_rounds=1, final_points=1500)


@lru_cache(maxsize=1)
def person() -> tuple[RawScan, PosedBody]:
    """Somebody waving, in clothes 8 mm thick but for hands, feet and head; posed space."""
    body = open_body()
    rotations = torch.zeros(1, 24, 3)
    angles = {
        "left_shoulder": (0, 0, 40),
        "left_elbow": (0, -60, 0),
        "right_shoulder": (0, 10, -55),
        "left_knee": (25, 0, 0),
    }
    for name, degrees in angles.items():
        rotations[0, JOINT_NAMES.index(name)] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    betas = torch.zeros(1, body.num_betas)
    betas[0, :3] = torch.tensor([0.8, -0.6, 0.5])
    posed = body(BodyParams(betas, rotations, torch.zeros(1, 3)))
    bare = [
        JOINT_NAMES.index(n) for n in JOINT_NAMES if n.rpartition("_")[2] in ("hand", "wrist", "foot", "head", "neck")
    ]
    thickness = 0.008 * (1 - body.skin_weights[:, bare].sum(1))
    faces = body.faces[: body.num_skin_faces]
    vertices = posed.vertices[0] + thickness[:, None] * vertex_normals(posed.vertices[0], faces)
    return RawScan("waving", vertices.double().numpy(), faces.numpy(), None), posed


def joint_errors(registration: Registration, joints: np.ndarray) -> np.ndarray:
    """Metres, between the body's joints and where they are: points of the file, in metres."""
    mine = open_body()(registration.body).joints[0].double().numpy()
    return np.linalg.norm(mine - registration.placement(joints), axis=1)


def test_a_body_is_found_in_any_axis_unit_and_yaw():
    raw, posed = person()
    turn = up_rotations("+z")[0].double().numpy().T @ Rotation.from_rotvec([0, 2.2, 0]).as_matrix()
    points = 1000 * raw.points @ turn.T + np.array([400.0, -900.0, 100.0])
    joints = 1000 * posed.joints[0].double().numpy() @ turn.T + np.array([400.0, -900.0, 100.0])
    found = register_body(RawScan("waving", points, raw.faces, None), open_body(), QUICK)
    errors = joint_errors(found, joints)
    assert errors.mean() < 0.02  # metres: the goal; thickness here is not what the body expects
    assert found.placement.scale == pytest.approx(1e-3)
    assert found.sure, found.reason
    assert found.body.translation.abs().max() == 0
    root = axis_angle_to_matrix(found.body.joint_rotations[0, 0])
    assert abs(float(root[0, 2])) < 0.05  # the yaw is the placement's
    assert 0 < found.residual_mm < 15


def test_half_a_person_is_not_sure():
    raw, _ = person()
    upper = RawScan("half", raw.points, raw.faces[raw.points[raw.faces].mean(1)[:, 1] > -0.15], None)
    found = register_body(upper, open_body(), replace(QUICK, unit="m", up="+y", limb_rounds=0))
    assert not found.sure
    assert "knee" in found.reason


def test_too_few_points_are_refused():
    with pytest.raises(GdnaError, match="few: 50 points"):
        register_body(RawScan("few", np.random.default_rng(0).normal(size=(50, 3)), None, None), open_body())
    with pytest.raises(GdnaError, match="unit=ft"):
        RegisterSettings(unit="ft")
    with pytest.raises(GdnaError, match="up=y"):
        RegisterSettings(up="y")


def _puppet_state(count: int = 2) -> tuple[Puppet, State]:
    puppet = Puppet.of(open_body(), 200, 5, torch.ones(24))
    poses = torch.from_numpy(library_poses()[40 : 40 + count].astype(np.float32))
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(count, 5, generator=generator)
    translation = torch.randn(count, 3, generator=generator)
    return puppet, State(axis_angle_to_matrix(poses), betas, translation, torch.ones(count))


def test_the_puppet_is_the_body():
    puppet, state = _puppet_state()
    poses = torch.from_numpy(library_poses()[40:42].astype(np.float32))
    betas = torch.cat([state.betas, torch.zeros(2, open_body().num_betas - 5)], 1)
    body = open_body()(BodyParams(betas, poses, state.translation))
    posed = puppet.pose(state)
    torch.testing.assert_close(posed.joints, body.joints, atol=1e-5, rtol=0)  # metres: float32 through a chain of bones
    nearest = cKDTree(body.vertices[0].numpy()).query(posed.points[0].numpy())[0]
    assert nearest.max() < 0.035  # metres: half the longest edge of the mesh


def test_the_jacobian_is_the_derivative():
    puppet, state = _puppet_state()
    double = {f: getattr(puppet, f) for f in puppet.__dataclass_fields__}
    puppet = Puppet(
        **{k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in double.items()}
    )
    state = State(*(getattr(state, n).double() for n in state.__dataclass_fields__))
    posed = puppet.pose(state)
    jacobian = puppet.jacobian(state, posed)

    def moved(change: torch.Tensor) -> torch.Tensor:
        turned = axis_angle_to_matrix(change[:72].view(24, 3)) @ state.rotations
        other = State(
            turned, state.betas + change[76:], state.translation + change[72:75], state.scale * change[75].exp()
        )
        return puppet.pose(other).points

    for column in (0, 4, 3 * 4, 3 * 16 + 1, 3 * 21 + 2, 73, 75, 76, 80):
        step = torch.zeros(81, dtype=torch.float64)
        step[column] = 1e-5
        numeric = (moved(step) - moved(-step)) / 2e-5
        torch.testing.assert_close(
            jacobian[..., column], numeric, atol=1e-6, rtol=0
        )  # metres a unit: central differences


def test_steps_lower_the_energy():
    raw, posed = person()
    points, normals = surface_points(raw, 800)
    target = Target(torch.from_numpy(points).float(), torch.from_numpy(normals).float(), None)
    solver = Solver(Puppet.of(open_body(), 400, 5, torch.ones(24)), target, pose_prior())
    start = State(axis_angle_to_matrix(torch.zeros(1, 24, 3)), torch.zeros(1, 5), torch.zeros(1, 3), torch.ones(1))
    stage = Stage(0.1, 0.3, 0.5, free_scale=False)
    state = start
    for _ in range(6):
        state = solver.step(state, stage)
    assert float(solver.energy(state, stage)) < 0.8 * float(solver.energy(start, stage))
    assert float((solver.puppet.pose(state).joints - posed.joints).norm(dim=-1).mean()) < 0.1


def test_turned_round_keeps_hands_in_place_and_turns_the_face():
    puppet, state = _puppet_state(1)
    straight = State(state.rotations, state.betas * 0, state.translation * 0, state.scale)
    before, after = puppet.pose(straight).joints[0], puppet.pose(turned_round(straight)).joints[0]
    left, right = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")
    assert float((before[left] - after[right]).norm()) < 0.12  # metres: the spine lies behind the axis of the turn
    assert float((before[left] - after[left]).norm()) > 0.3
    ahead = torch.stack([s.rotations[0, 0, :, 2] for s in (straight, turned_round(straight))])
    assert float((ahead[0] * ahead[1]).sum()) == pytest.approx(-1, abs=1e-5)


def test_nearest_points_of_both_backends_agree():
    generator = torch.Generator().manual_seed(0)
    scan, bodies = torch.randn(90, 6, generator=generator), torch.randn(3, 70, 6, generator=generator)
    fused, reference = nearest_both(scan, bodies, "fused"), nearest_both(scan, bodies, "reference")
    for name in ("body", "scan"):
        assert torch.equal(getattr(fused, name), getattr(reference, name))
        # square units: the reference subtracts products of float32
        torch.testing.assert_close(
            getattr(fused, f"{name}_squared"), getattr(reference, f"{name}_squared"), atol=2e-5, rtol=0
        )
    with pytest.raises(GdnaError, match="quick"):
        nearest_both(scan, bodies, "quick")


def test_a_body_that_is_not_a_number_has_no_nearest_and_ends():
    found = nearest_both(torch.zeros(2, 3), torch.full((1, 4, 3), torch.nan), "fused")
    assert int(found.body.max()) < 4


def test_the_spacing_of_points_is_no_distance():
    puppet, state = _puppet_state(1)
    state = State(state.rotations, state.betas * 0, state.translation * 0, state.scale)
    seen = Puppet.of(open_body(), 400, 5, torch.ones(24), seed=1).pose(state)  # other points of the same skin
    solver = Solver(puppet, Target(seen.points[0], seen.normals[0], None), pose_prior())
    stage = Stage(0.04, 0.1, 0.0, free_scale=False)
    cost = float(solver.energy(state, stage))
    solver.spacing_body, solver.spacing_scan = 0 * solver.spacing_body, 0 * solver.spacing_scan
    assert cost < 0.6 * float(solver.energy(state, stage))


def test_an_arm_that_is_not_there_is_told_though_the_trunk_is_near():
    puppet = Puppet.of(open_body(), 1500, 5, torch.ones(24))
    down = torch.zeros(1, 24, 3)
    for name, degrees in (("left_shoulder", -80.0), ("right_shoulder", 80.0)):
        down[0, JOINT_NAMES.index(name), 2] = np.deg2rad(degrees)
    state = State(axis_angle_to_matrix(down), torch.zeros(1, 5), torch.zeros(1, 3), torch.ones(1))
    posed = puppet.pose(state)
    arm = torch.isin(puppet.owner, torch.tensor([JOINT_NAMES.index(f"left_{n}") for n in ("elbow", "wrist", "hand")]))
    cost = torch.zeros(1)
    for kept, told in ((torch.ones_like(arm), False), (~arm, True)):
        solver = Solver(puppet, Target(posed.points[0][kept], posed.normals[0][kept], None), pose_prior())
        assert ("left_elbow" in judge(solver, state, None, cost).reason) == told


def test_other_builds_keep_the_head_and_nudges_turn_one_joint():
    puppet, state = _puppet_state(1)
    builds = with_builds(state, puppet)
    heads = puppet.pose(builds).joints[:, HEAD]
    torch.testing.assert_close(heads, puppet.pose(state).joints[:, HEAD].expand_as(heads), atol=1e-5, rtol=0)
    changes = builds.betas - state.betas
    torch.testing.assert_close(changes[: len(changes) // 2], -changes[len(changes) // 2 :])
    zero = puppet.joints_zero + torch.einsum("ks,sja->kja", changes[4:5], puppet.joints_zero_basis)
    legs = [torch.linalg.norm(joints[4] - joints[1]) for joints in (puppet.joints_zero, zero[0])]
    assert 0.01 < float(legs[1] - legs[0]) < 0.04  # metres: a thigh, of 10 cm in four bones
    turned = nudged(state)
    changed = ((turned.rotations - state.rotations).abs() > 1e-6).flatten(2).any(2)
    assert changed.sum(1).tolist() == [1] * len(turned.scale)
    assert len(torch.unique(turned.rotations.flatten(1).round(decimals=4), dim=0)) == len(turned.scale)


def test_library_and_prior():
    poses = library_poses()
    assert np.isfinite(poses).all()
    np.testing.assert_allclose(mirrored(mirrored(poses)), poses)
    prior = pose_prior()
    flat = torch.from_numpy(poses[:, 1:22].reshape(len(poses), -1).astype(np.float32))
    whitened = (flat - prior.mean) @ prior.whitening.T
    assert 0.3 < float((whitened**2).mean()) < 1.0  # 1, less what the prior was widened
    assert float(((flat > prior.high) | (flat < prior.low)).float().mean()) < 0.02


def test_stray_points_and_floor_go():
    raw, _ = person()
    rng = np.random.default_rng(0)
    points, _ = surface_points(raw, 8000)
    low, high = points.min(0), points.max(0)
    ground = np.stack([rng.uniform(-1.2, 1.2, 3000), np.full(3000, low[1] - 0.01), rng.uniform(-1.2, 1.2, 3000)], 1)
    strays = rng.uniform(low - 0.3, high + 0.3, (1000, 3))
    kept = person_points(np.concatenate([points, ground, strays]))
    assert kept[:8000].mean() > 0.9  # soles go with the floor
    assert kept[8000:11000].mean() < 0.02
    assert kept[11000:].mean() < 0.2


def test_noisy_normals_are_steadied():
    rng = np.random.default_rng(0)
    outward = rng.normal(size=(4000, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    noisy = outward + 1.2 * rng.normal(size=outward.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    assert (steadied(outward, noisy) * outward).sum(1).mean() > 0.95 > (noisy * outward).sum(1).mean() + 0.2
    assert steadied(outward, outward) is outward


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl"])
def test_meshes_are_read(tmp_path: Path, suffix: str):
    raw, _ = person()
    trimesh.Trimesh(np.concatenate([raw.points, [[9, 9, 9]]]), raw.faces, process=False).export(
        tmp_path / f"a.{suffix}"
    )
    read = read_raw_scan(tmp_path / f"a.{suffix}")
    assert read.faces is not None
    assert len(read.faces) == len(raw.faces)
    assert np.abs(read.points).max() < 3  # the vertex that no face uses is gone
    points, normals = surface_points(read, 2000)
    flipped = surface_points(RawScan("a", read.points, read.faces[:, ::-1].copy(), None), 2000)[1]
    assert normals is not None
    assert (normals * (points - points.mean(0))).sum(1).mean() > 0
    assert (normals * flipped).sum(1).mean() > 0.9  # faces either way round


def test_clouds_are_read(tmp_path: Path):
    points, normals = surface_points(person()[0], 1000)
    rows = np.concatenate([points, normals], 1)
    np.savetxt(tmp_path / "a.xyz", rows)
    np.save(tmp_path / "b.npy", points)
    np.savez(tmp_path / "c.npz", points=points, normals=normals)
    header = "ply\nformat {}\nelement vertex 1000\n" + "".join(
        f"property float {n}\n" for n in ("x", "y", "z", "nx", "ny", "nz")
    )
    (tmp_path / "d.ply").write_bytes(
        (header.format("binary_little_endian 1.0") + "end_header\n").encode() + rows.astype("<f4").tobytes()
    )
    for name, has_normals in (("a.xyz", True), ("b.npy", False), ("c.npz", True), ("d.ply", True)):
        read = read_raw_scan(tmp_path / name)
        np.testing.assert_allclose(read.points, points, atol=1e-6)
        assert (read.normals is not None) == has_normals
    np.savetxt(tmp_path / "e.xyz", np.concatenate([points, np.full((1000, 3), 128.0)], 1))
    assert read_raw_scan(tmp_path / "e.xyz").normals is None  # colours


def test_depth_images_are_read(tmp_path: Path):
    from PIL import Image

    columns = np.indices((60, 80))[1]
    depth = np.where((columns > 20) & (columns < 60), 2.0 + 0.001 * columns, 0.0)
    Image.fromarray(np.round(depth * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(GdnaError, match=r"a\.json"):
        read_raw_scan(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"fx": 100, "fy": 100, "cx": 39.5, "cy": 29.5}))
    read = read_raw_scan(tmp_path / "a.png")
    assert read.eye is not None
    assert read.normals is not None
    assert (read.normals[:, 2] < -0.9).all()  # toward the camera
    points, _ = depth_points(depth, Intrinsics(100.0, 100.0, 39.5, 29.5))
    np.testing.assert_allclose(read.points, points, atol=1e-3)  # metres: a PNG's millimetres


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", b"", "empty"),
        ("a.ply", b"no ply", "no PLY header"),
        ("a.xyz", b"1 2\n3 4\n", "shape"),
        ("a.abc", b"1", "unknown kind"),
        ("a.xyz", b"nan nan nan\n" * 400, "0 finite points"),
        ("a.npy", b"x", "not readable|not a readable"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GdnaError, match=message) as caught:
        read_raw_scan(tmp_path / name)
    assert "\n" not in str(caught.value)
