"""Synthetic people: cuts, closed solids, patterns, poses, outfits, files and one whole person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.data.inside import components, inside
from gdna.errors import GdnaError
from gdna.synthesize.accessories import fit_accessory
from gdna.synthesize.assemble import Part, assemble, tuck_under
from gdna.synthesize.capsules import Capsules
from gdna.synthesize.closing import FrontEdges, Solid, close_sheet, open_loops
from gdna.synthesize.cloth import DrapeSettings
from gdna.synthesize.cutting import cut, even_out, whole
from gdna.synthesize.garments import Neckline, SkirtStyle, TopStyle, TrouserStyle, arm_share, leg_share
from gdna.synthesize.mannequin import Mannequin, mannequin, start_rotations
from gdna.synthesize.person import SynthesisSettings, draw_betas, load_scan, synthesize, to_scan
from gdna.synthesize.poses import pose_path, sample_pose
from gdna.synthesize.quads import boundary_loops, boundary_mask, triangulate
from gdna.synthesize.wardrobe import HAIR, HATS, SHOES, Outfit, cut_pattern, random_outfit
from gdna.types import BodyParams


def tube(around: int = 24, along: int = 10, radius: float = 0.1, height: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """An open tube of quads about the y axis, seen counter-clockwise from outside."""
    angle, y = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.linspace(0, height, along), indexing="ij")
    vertices = np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], -1).reshape(-1, 3)
    index = np.arange(around * along).reshape(around, along)
    right = np.roll(index, -1, 0)
    quads = np.stack([index[:, :-1], right[:, :-1], right[:, 1:], index[:, 1:]], -1).reshape(-1, 4)
    return vertices, quads


def sphere(radius: float) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


@pytest.fixture(scope="module")
def body() -> Mannequin:
    return mannequin(np.zeros(open_body().num_betas))


def test_a_cut_puts_the_rim_on_the_line_and_leaves_no_teeth() -> None:
    vertices, quads = tube()
    field = vertices[:, 1] - 0.2 - 0.8 * vertices[:, 0]  # a slanted plane: it runs across the rows
    source = whole(quads, len(vertices))
    piece = even_out(cut(source, vertices, field), source, vertices)
    points = piece.binding @ vertices
    np.testing.assert_allclose(np.asarray(piece.binding.sum(1)).ravel(), 1, atol=1e-12)
    rim = boundary_mask(piece.quads, len(points))
    low = rim & (points[:, 1] < 0.4)
    assert np.abs((piece.binding @ field)[low]).max() < 1e-9
    assert ((piece.binding @ field)[~rim] > 0).all()
    corners = points[piece.quads]
    area = np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1) / 2
    assert area.min() > 0.1 * np.median(area)
    assert len(boundary_loops(piece.quads)) == 2


def test_a_cut_that_keeps_nothing_says_so() -> None:
    vertices, quads = tube()
    with pytest.raises(ValueError, match="positive side"):
        cut(whole(quads, len(vertices)), vertices, np.full(len(vertices), -1.0))


def test_a_closed_sheet_is_a_solid() -> None:
    vertices, quads = tube()
    solid = close_sheet(vertices, quads, recess=0.02)
    assert open_loops(solid.faces) == []
    assert np.array_equal(solid.faces[~solid.lining], triangulate(quads))
    points = np.random.default_rng(0).uniform([-0.12, -0.05, -0.12], [0.12, 0.55, 0.12], (4000, 3))
    radius = np.hypot(points[:, 0], points[:, 2])
    known = (np.abs(radius - 0.1) > 0.004) & (np.abs(points[:, 1]) > 0.025) & (np.abs(points[:, 1] - 0.5) > 0.025)
    expected = (radius < 0.1) & (points[:, 1] > 0) & (points[:, 1] < 0.5)
    assert np.array_equal(inside(solid.vertices, solid.faces, points)[known], expected[known])


def test_the_lid_over_an_open_front_runs_inside_the_body() -> None:
    vertices, quads = tube(around=24, along=10)
    ahead = np.hypot(vertices[:, 0], vertices[:, 2] - 0.1) < 0.03
    quads = quads[~ahead[quads].any(1)]
    used, flat = np.unique(quads, return_inverse=True)
    vertices, quads = vertices[used], flat.reshape(-1, 4)
    loop = boundary_loops(quads)[0]
    edge = loop[np.abs(vertices[loop, 2] - vertices[loop, 2].max()) < 1e-9]
    left, right = edge[vertices[edge, 0] > 0], edge[vertices[edge, 0] < 0]
    ends = np.array([[side[vertices[side, 1].argmin()], side[vertices[side, 1].argmax()]] for side in (left, right)]).T
    core = FrontEdges(ends, lambda points: points * [0.2, 1, 0.2])
    solid = close_sheet(vertices, quads, 0.01, core)
    assert open_loops(solid.faces) == []
    before_the_front = np.array([[0.0, 0.25, 0.09], [0.0, 0.25, 0.06]])
    assert not inside(solid.vertices, solid.faces, before_the_front).any()
    assert inside(solid.vertices, solid.faces, np.array([[0.0, 0.25, -0.08], [0.08, 0.25, 0.0]])).all()


def test_covered_points_are_taken_under_cloth() -> None:
    points, _ = sphere(0.1)
    cloth, cloth_faces = sphere(0.098)  # the skin sticks out by 2 mm everywhere
    covered = points[:, 1] > 0
    moved = tuck_under(points, covered, cloth, cloth_faces, np.zeros(len(cloth), bool))
    assert np.linalg.norm(moved[covered], axis=1).max() < 0.0965
    assert np.array_equal(moved[~covered], points[~covered])


def test_hidden_faces_are_marked() -> None:
    parts = []
    for label, radius in (("body", 0.1), ("shirt", 0.12)):
        mesh = sphere(radius)
        parts.append(Part(label, Solid(*mesh, np.zeros(len(mesh[1]), bool))))
    whole_person = assemble(parts)
    labels = np.array(whole_person.label_names)[whole_person.face_labels]
    assert not whole_person.visible[labels == "body"].any()
    assert whole_person.visible[labels == "shirt"].all()


PATTERNS = {
    "t-shirt": (TopStyle(), 4),
    "tank top": (TopStyle(sleeve=0.0, neckline=Neckline(-0.05, 0.0, 0.09, 0.03)), 4),
    "open jacket": (TopStyle(sleeve=0.96, ease=0.025, collar=0.03, opening=0.06), 3),
    "dress": (TopStyle(hem=-0.4, flare=0.3), 4),
    "trousers": (TrouserStyle(), 3),
    "shorts": (TrouserStyle(leg=0.35, straight=0.8), 3),
    "skirt": (SkirtStyle(), 2),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_lie_over_the_skin_and_end_where_they_should(name: str, body: Mannequin) -> None:
    import igl

    style, openings = PATTERNS[name]
    pattern = cut_pattern(body, style)
    garment = pattern.garment
    assert len(boundary_loops(garment.quads)) == openings
    assert 300 < len(garment.vertices) < 2500
    assert np.array_equal(np.unique(garment.quads), np.arange(len(garment.vertices)))
    np.testing.assert_allclose(garment.skin_weights.sum(1), 1, atol=1e-9)
    kind = igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    distance = igl.signed_distance(garment.vertices, body.vertices, body.skin_faces, sign_type=kind)[0]
    assert np.percentile(distance, 1) > 0.002  # metres
    assert garment.pinned.any()
    assert (pattern.front is not None) == (name == "open jacket")


def test_sleeves_and_trouser_legs_are_as_long_as_asked(body: Mannequin) -> None:
    shirt = cut_pattern(body, TopStyle(sleeve=0.5)).garment
    cuffs = [loop for loop in boundary_loops(shirt.quads) if np.abs(shirt.vertices[loop, 0].mean()) > 0.2]
    shoulder, wrist = body.joint("left_shoulder"), body.joint("left_wrist")
    along = (wrist - shoulder) / np.linalg.norm(wrist - shoulder) ** 2
    for loop in cuffs:
        mirrored = shirt.vertices[loop] * [np.sign(shirt.vertices[loop, 0].mean()), 1, 1]
        np.testing.assert_allclose((mirrored - shoulder) @ along, 0.5, atol=0.06)
    assert len(cuffs) == 2
    assert arm_share(body).max() > 1
    assert leg_share(body).max() > 1


def test_shoes_cover_the_feet_and_names_are_checked(body: Mannequin) -> None:
    for name in (*SHOES, *HAIR, *HATS):
        asset = fit_accessory(name, body.vertices_canonical, body.skin_weights)
        np.testing.assert_allclose(asset.skin_weights.sum(1), 1, atol=1e-9)
        distance = np.abs(asset.vertices[:, None] - body.vertices_canonical[::40]).max(-1).min(1)
        assert distance.max() < 0.2  # metres: nothing flies off
        assert asset.hides.any() == name.startswith("shoes")
    with pytest.raises(GdnaError, match="not shipped"):
        fit_accessory("boots", body.vertices_canonical, body.skin_weights)


def test_poses_keep_limbs_apart_and_move_every_joint(body: Mannequin) -> None:
    capsules = Capsules.of(body)
    poses = np.stack([sample_pose(body, np.random.default_rng([3, k])) for k in range(24)])
    free = [(capsules.gaps(p) > capsules.room).all() for p in poses]
    assert np.mean(free) > 0.95
    spread = np.degrees(poses.std(0)).max(1)
    assert spread.min() > 1.5
    for name in ("left_elbow", "right_knee", "left_shoulder", "right_hip"):
        assert spread[JOINT_NAMES.index(name)] > 15
    assert np.array_equal(poses[5], sample_pose(body, np.random.default_rng([3, 5])))


def test_the_path_runs_from_the_start_to_the_pose(body: Mannequin) -> None:
    target = sample_pose(body, np.random.default_rng(1))
    path = pose_path(target, 20)
    assert np.array_equal(path[-1], target)
    np.testing.assert_allclose(path[0], start_rotations(), atol=1e-9)
    turns = Rotation.from_rotvec(path[1:].reshape(-1, 3)) * Rotation.from_rotvec(path[:-1].reshape(-1, 3)).inv()
    assert np.degrees(turns.magnitude()).max() < 25  # a frame


def test_outfits_are_drawn_from_everything() -> None:
    outfits = [random_outfit(np.random.default_rng([0, k]), k % 3 / 2) for k in range(200)]
    names = {style.name for outfit in outfits for style in outfit.garments}
    assert names >= {
        "t-shirt",
        "long sleeve",
        "tank top",
        "open jacket",
        "closed jacket",
        "trousers",
        "shorts",
        "skirt",
        "dress",
    }
    assert {o.shoes for o in outfits} == {None, *SHOES}
    assert {o.hair for o in outfits} == {None, *HAIR}
    assert random_outfit(np.random.default_rng(7), 0.5) == random_outfit(np.random.default_rng(7), 0.5)


def test_no_two_bodies_are_equal() -> None:
    betas = np.stack([draw_betas(np.random.default_rng([0, k]))[0] for k in range(50)])
    assert np.abs(betas).max() <= 2.5
    gaps = np.linalg.norm(betas[:, None] - betas[None], axis=-1) + 10 * np.eye(50)
    assert gaps.min() > 0.5


QUICK = SynthesisSettings(frames=5, drape=DrapeSettings(levels=0, settle=(1,), takes_over=(0.0,), warm_up=1))


def test_a_person_is_whole_exact_and_repeatable(tmp_path, monkeypatch) -> None:
    outfit = Outfit((TrouserStyle(), TopStyle()), "shoes02", "short03")
    monkeypatch.setattr("gdna.synthesize.person.random_outfit", lambda rng, femininity: outfit)
    scan = synthesize(5, 7, QUICK, pose_index=1)
    assert scan.name == "0007_pose1"
    assert scan.garments == ("trousers", "t-shirt", "short03", "shoes02")
    assert open_loops(scan.faces.astype(np.int64)) == []
    labels = np.array(scan.label_names)[scan.face_labels]
    assert len(components(scan.faces, len(scan.vertices))) == 10  # body, eyes, shoes, socks, two garments, hair
    # hands and face are the body's own
    rotations, betas = torch.from_numpy(scan.joint_rotations)[None], torch.from_numpy(scan.betas)[None]
    posed = open_body()(BodyParams(betas, rotations, torch.zeros(1, 3)))
    np.testing.assert_allclose(scan.joints, posed.joints[0].numpy(), atol=1e-6)
    weights = open_body().skin_weights[:13380].numpy()
    bare = weights[:, [JOINT_NAMES.index(n) for n in ("head", "left_hand", "right_hand")]].sum(1) > 0.9
    skin = cKDTree(scan.vertices[np.unique(scan.faces[labels == "body"])])
    assert skin.query(posed.vertices[0, :13380].numpy()[bare])[0].max() < 1e-6  # metres
    # the same again, and through a file
    again = synthesize(5, 7, QUICK, pose_index=1)
    assert np.array_equal(scan.vertices, again.vertices)
    scan.save(tmp_path / scan.name)
    loaded = load_scan(tmp_path / scan.name)
    assert np.abs(loaded.vertices - scan.vertices).max() <= 2.6e-5
    for name in ("faces", "face_labels", "visible", "betas", "joint_rotations", "joints"):
        assert np.array_equal(getattr(loaded, name), getattr(scan, name))
    assert replace(loaded, vertices=scan.vertices).label_names == scan.label_names
    assert to_scan(loaded).faces.shape == scan.faces.shape
    # another pose of the same person
    other = synthesize(5, 7, QUICK)
    assert other.name == "0007"
    assert np.array_equal(other.betas, scan.betas)
    assert not np.array_equal(other.joint_rotations, scan.joint_rotations)
    assert other.garments == scan.garments


def test_a_missing_scan_is_named(tmp_path) -> None:
    with pytest.raises(GdnaError, match="no synthetic scan"):
        load_scan(tmp_path)
