"""Synthetic people: cuts, closed solids, patterns, poses, outfits, files and one whole person."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from gdna.apps.config import Rest, Synthesize
from gdna.apps.synthesize import asked_for
from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.data.inside import components, inside
from gdna.errors import GdnaError
from gdna.synthesize.accessories import fit_accessory
from gdna.synthesize.assemble import Part, assemble, enclose, tuck_under
from gdna.synthesize.boots import fit_shoes
from gdna.synthesize.capsules import Capsules
from gdna.synthesize.closing import FrontEdges, Solid, close_sheet, fan_loops, open_loops
from gdna.synthesize.cloth import DrapeSettings
from gdna.synthesize.cutting import cut, even_out, whole
from gdna.synthesize.exactness import exactness, outside_by, wrongly_inside
from gdna.synthesize.folds import fold_statistic, mean_curvature
from gdna.synthesize.garments import arm_share, leg_share
from gdna.synthesize.hair import STYLES, grow_hair, knit_cap
from gdna.synthesize.mannequin import Mannequin, mannequin, start_rotations
from gdna.synthesize.outfits import HAIR, HATS, MODELLED_HAIR, SHOES, Outfit, cut_pattern, random_outfit
from gdna.synthesize.person import Limits, SynthesisSettings, load_scan, synthesize, to_scan
from gdna.synthesize.poses import MOTIONS, crosses, pose_path, rest_pose, sample_pose
from gdna.synthesize.quads import boundary_loops, boundary_mask, triangulate
from gdna.synthesize.scan_file import AT_REST, GENERATOR_VERSION, ScanTraits, read_traits
from gdna.synthesize.shapes import draw_shape, stature
from gdna.synthesize.solids import ball, tube, volume
from gdna.synthesize.styles import Looseness, Neckline, SkirtStyle, TopStyle, TrouserStyle
from gdna.synthesize.templates import POSES
from gdna.synthesize.wardrobe import GARMENTS
from gdna.types import BodyParams


def quad_tube(
    around: int = 24, along: int = 10, radius: float = 0.1, height: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
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
    vertices, quads = quad_tube()
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
    vertices, quads = quad_tube()
    with pytest.raises(ValueError, match="positive side"):
        cut(whole(quads, len(vertices)), vertices, np.full(len(vertices), -1.0))


def test_a_closed_sheet_is_a_solid() -> None:
    vertices, quads = quad_tube()
    solid = close_sheet(vertices, quads, recess=0.02)
    assert open_loops(solid.faces) == []
    assert np.array_equal(solid.faces[~solid.lining], triangulate(quads))
    points = np.random.default_rng(0).uniform([-0.12, -0.05, -0.12], [0.12, 0.55, 0.12], (4000, 3))
    radius = np.hypot(points[:, 0], points[:, 2])
    known = (np.abs(radius - 0.1) > 0.004) & (np.abs(points[:, 1]) > 0.025) & (np.abs(points[:, 1] - 0.5) > 0.025)
    expected = (radius < 0.1) & (points[:, 1] > 0) & (points[:, 1] < 0.5)
    assert np.array_equal(inside(solid.vertices, solid.faces, points)[known], expected[known])


def test_the_lid_over_an_open_front_runs_inside_the_body() -> None:
    vertices, quads = quad_tube(around=24, along=10)
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
    for name in (*SHOES, *MODELLED_HAIR, "fedora"):
        asset = fit_shoes(name, body)
        np.testing.assert_allclose(asset.skin_weights.sum(1), 1, atol=1e-9)
        distance = np.abs(asset.vertices[:, None] - body.vertices_canonical[::40]).max(-1).min(1)
        assert distance.max() < 0.2  # metres: nothing flies off
        assert asset.hides.any() == (name in SHOES)
    with pytest.raises(GdnaError, match="not shipped"):
        fit_accessory("skates", body.vertices_canonical, body.skin_weights)


def test_poses_keep_limbs_apart_and_move_every_joint(body: Mannequin) -> None:
    capsules = Capsules.of(body)
    drawn = [sample_pose(body, np.random.default_rng([3, k])) for k in range(40)]
    assert len({pose.kind for pose in drawn}) >= 8
    poses = np.stack([pose.rotations for pose in drawn])
    free = [(capsules.gaps(p) > capsules.room).all() for p in poses]
    assert np.mean(free) > 0.95
    spread = np.degrees(poses.std(0)).max(1)
    assert spread.min() > 1.5
    for name in ("left_elbow", "right_knee", "left_shoulder", "right_hip"):
        assert spread[JOINT_NAMES.index(name)] > 15
    assert np.array_equal(poses[5], sample_pose(body, np.random.default_rng([3, 5])).rotations)


def test_crossed_arms_cross(body: Mannequin) -> None:
    capsules = Capsules.of(body)
    pose = sample_pose(body, np.random.default_rng(0), ("arms crossed",))
    assert pose.kind == "arms crossed"
    assert crosses(pose.rotations, capsules)
    assert (capsules.gaps(pose.rotations) > capsules.room).all()
    assert set(MOTIONS.values()) - set(POSES) == {"punching", "jumping"}


def test_the_path_runs_from_the_start_to_the_pose(body: Mannequin) -> None:
    target = sample_pose(body, np.random.default_rng(1)).rotations
    path = pose_path(target, 20)
    assert np.array_equal(path[-1], target)
    np.testing.assert_allclose(path[0], start_rotations(), atol=1e-9)
    turns = Rotation.from_rotvec(path[1:].reshape(-1, 3)) * Rotation.from_rotvec(path[:-1].reshape(-1, 3)).inv()
    assert np.degrees(turns.magnitude()).max() < 25  # a frame


def test_outfits_are_drawn_from_everything() -> None:
    outfits = [random_outfit(np.random.default_rng([0, k]), k % 3 / 2, 20.0 + k % 60) for k in range(400)]
    names = {style.name for outfit in outfits for style in outfit.garments}
    assert names == set(GARMENTS)
    assert {o.shoes for o in outfits} == {None, *SHOES}
    assert {o.hair for o in outfits} == {None, *HAIR}
    assert {o.hat for o in outfits} == {None, *HATS}
    assert random_outfit(np.random.default_rng(7), 0.5) == random_outfit(np.random.default_rng(7), 0.5)


@pytest.mark.parametrize("name", GARMENTS)
def test_every_kind_of_garment_can_be_cut(name: str, body: Mannequin) -> None:
    style = GARMENTS[name](np.random.default_rng(1), 0.7)
    garment = cut_pattern(body, style).garment
    assert garment.name == name == style.name
    assert garment.across is not None
    assert garment.along is not None
    assert 0.99 < garment.across.min() <= garment.across.max() < 1.45
    assert 0.99 < garment.along.min() <= garment.along.max() < 1.3


def test_cuffs_are_held_and_cloth_gives_way_above_them(body: Mannequin) -> None:
    style = TopStyle(sleeve=0.97, cuffs=True, loose=Looseness(0.0, 0.1))
    garment = cut_pattern(body, style).garment
    assert garment.along is not None
    past_elbow = np.abs(garment.vertices[:, 0]) > 1.05 * body.joint("left_elbow")[0]
    cuffs = garment.pinned & past_elbow
    assert cuffs.sum() > 20
    np.testing.assert_allclose(garment.along[cuffs], 1)
    skin = cKDTree(body.vertices[np.unique(body.skin_quads)])
    assert skin.query(garment.vertices[cuffs])[0].max() < 0.025  # metres: vertices of the skin are up to 2 cm apart
    assert garment.along[past_elbow].max() > 1.09


def test_hair_is_solid_and_sits_on_the_head(body: Mannequin) -> None:
    for name in (*STYLES, "knit cap"):
        rng = np.random.default_rng(0)
        asset = knit_cap(body, rng) if name == "knit cap" else grow_hair(name, body, rng)
        assert open_loops(asset.faces) == []
        assert volume(asset.vertices, asset.faces) > 1e-4  # cubic metres: faces look outward
        crown = body.vertices_canonical[np.unique(body.skin_quads)].max(0)[1]
        top = asset.vertices[:, 1].max() - crown
        assert 0 < top < 0.1  # metres over the head; a receding style leaves the crown bare
        np.testing.assert_allclose(asset.skin_weights.sum(1), 1, atol=1e-9)


def test_balls_and_tubes_look_outward() -> None:
    fall = np.linspace(0, 1, 12)[:, None]
    pipe = tube(np.concatenate([0 * fall, -fall, 0.1 * fall], 1), np.full(12, 0.1), 32)
    expected = np.pi * 0.1**2 * np.sqrt(1.01)
    assert abs(volume(pipe.vertices, pipe.faces) / expected - 1) < 0.02  # a polygon of 32 sides for a circle
    egg = ball(np.ones(3), np.array([0.1, 0.2, 0.3]), 30, 40, 0.0, 0)
    assert abs(volume(egg.vertices, egg.faces) / (4 / 3 * np.pi * 0.006) - 1) < 0.02


def test_no_two_bodies_are_equal_and_their_measures_are_true() -> None:
    shapes = [draw_shape(np.random.default_rng([0, k])) for k in range(40)]
    betas = np.stack([shape.betas for shape in shapes])
    gaps = np.linalg.norm(betas[:, None] - betas[None], axis=-1) + 10 * np.eye(40)
    assert gaps.min() > 0.5
    heights = np.array([shape.height for shape in shapes])
    assert heights.min() >= 1.45
    assert heights.max() <= 2.05
    assert np.ptp(heights) > 0.35
    ages = np.array([shape.age for shape in shapes])
    assert ages.min() < 25
    assert ages.max() > 65
    assert abs(stature(shapes[0].betas) - shapes[0].height) < 1e-9


def test_mean_curvature_of_known_surfaces() -> None:
    vertices, quads = quad_tube(around=160, along=60, radius=0.1, height=0.25)
    faces = triangulate(quads)
    inner = ~boundary_mask(quads, len(vertices))
    # a cylinder of 0.1 m: 1 / 0.2 = 5 per metre; neighbours along and around it are not drawn evenly
    assert np.abs(mean_curvature(vertices, faces)[inner].mean() / 5 - 1) < 0.15
    wavy = vertices * [1, 1, 1] + 0.003 * np.sin(2 * np.pi * vertices[:, 1:2] / 0.03) * vertices * [10, 0, 10]
    smooth, folded = fold_statistic(vertices, faces), fold_statistic(wavy, faces)
    assert smooth.folded == 0
    assert folded.folded > 0.3
    assert folded.p90 > 3 * smooth.p90


def test_what_comes_out_of_a_union_and_holes_are_found() -> None:
    vertices, faces = sphere(0.1)
    points = np.array([[0.0, 0, 0], [0.0, 0.07, 0], [0.0, 0.11, 0], [0.0, 0.0, 0.3]])
    np.testing.assert_allclose(outside_by(points, vertices, faces), [0, 0, 0.01, 0.2], atol=1e-3)
    inner, _ = sphere(0.05)
    shell = np.concatenate([vertices, inner]), np.concatenate([faces, faces[:, ::-1] + len(vertices)])
    assert not wrongly_inside(*shell, points).any()
    turned = faces.copy()
    turned[vertices[faces].mean(1)[:, 0] > 0] = turned[vertices[faces].mean(1)[:, 0] > 0][:, ::-1]
    assert wrongly_inside(vertices, turned, np.random.default_rng(0).uniform(-0.06, 0.06, (40, 3))).any()


ANYTHING = Limits(stretch=np.inf, tangled=1.0, outside=1.0, deepest=np.inf)
QUICK = SynthesisSettings(
    frames=5, drape=DrapeSettings(levels=0, settle=(1,), takes_over=(0.0,), warm_up=1), limits=ANYTHING
)


def test_a_person_is_whole_exact_and_repeatable(tmp_path, monkeypatch) -> None:
    outfit = Outfit((TrouserStyle(), TopStyle()), "shoes02", "short03")
    monkeypatch.setattr("gdna.synthesize.person.random_outfit", lambda rng, femininity, age: outfit)
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


@pytest.mark.slow
def test_a_dressed_person_is_exact_solid_and_folded(monkeypatch) -> None:
    """At the limits that hold for every scan that is kept; one level coarser than scans are, which is quicker."""
    loose = Looseness(0.05, 0.04, 0.05, grain=1)
    outfit = Outfit((TrouserStyle(straight=0.7, loose=loose), TopStyle(loose=loose)), "shoes02", "crop")
    monkeypatch.setattr("gdna.synthesize.person.random_outfit", lambda rng, femininity, age: outfit)
    coarse = DrapeSettings(levels=1, takes_over=(0.0, 0.6), settle=(0, 8))
    scan = synthesize(3, 1, SynthesisSettings(frames=20, drape=coarse))
    found = exactness(scan)
    assert found.outside < 1e-3  # of the body's surface
    assert found.deepest <= 0.002  # metres
    assert abs(found.outside - scan.traits.outside) < 1e-4
    vertices, faces = scan.vertices.astype(np.float64), scan.faces.astype(np.int64)
    low, high = vertices.min(0), vertices.max(0)
    assert not wrongly_inside(vertices, faces, np.random.default_rng(0).uniform(low, high, (150, 3))).any()
    garment = scan.faces[np.array(scan.label_names)[scan.face_labels] == "trousers"]
    pattern = cut_pattern(mannequin(scan.betas), outfit.garments[0]).garment
    draped = fold_statistic(vertices, garment.astype(np.int64))
    assert draped.p90 > 1.3 * fold_statistic(pattern.vertices, triangulate(pattern.quads)).p90


def test_a_shell_is_widened_until_what_it_covers_lies_in_it() -> None:
    vertices, quads = quad_tube(radius=0.1, height=0.4)
    faces = triangulate(quads)
    points = np.array([[0.104, 0.2, 0.0], [0.0, 0.25, -0.106], [0.05, 0.2, 0.05], [0.13, 0.2, 0.0]])
    wide = enclose(vertices, faces, points)
    reached = inside(*fan_loops(wide, faces), points)
    assert reached.tolist() == [True, True, True, False]  # the last is too far outside to be its own
    assert np.linalg.norm(wide - vertices, axis=1).max() < 0.015  # metres
    far = np.linalg.norm(vertices[:, None] - points[None, :2], axis=-1).min(1) > 0.15
    assert np.array_equal(wide[far], vertices[far])


def test_traits_are_plain_words_and_numbers_and_come_back() -> None:
    traits = ScanTraits(30.0, 0.5, 1.7, 0.4, 0.6, 0.7, "standing", ("cotton", "denim"), 1, 1.2, 0.0, 0.0)
    assert read_traits(json.loads(json.dumps(asdict(traits)))) == traits
    assert traits.generator_version == GENERATOR_VERSION


def test_a_pose_that_fails_is_drawn_anew_and_told(monkeypatch) -> None:
    outfit = Outfit((TrouserStyle(),), None, None)
    monkeypatch.setattr("gdna.synthesize.person.random_outfit", lambda rng, femininity, age: outfit)
    verdicts = iter(["torn", None])
    monkeypatch.setattr("gdna.synthesize.person._Dressed.fault", lambda dressed, limits: next(verdicts))
    second = synthesize(1, 2, QUICK)
    assert second.traits.redraws == 1
    monkeypatch.setattr("gdna.synthesize.person._Dressed.fault", lambda dressed, limits: "torn")
    with pytest.raises(GdnaError, match=r"no pose worked out .*torn"):
        synthesize(1, 2, replace(QUICK, tries=2))


def test_a_person_at_rest_stands_where_cloth_is_draped_from(monkeypatch) -> None:
    outfit = Outfit((TrouserStyle(), TopStyle()), "shoes02", "short03")
    monkeypatch.setattr("gdna.synthesize.person.random_outfit", lambda rng, femininity, age: outfit)
    rest, moving = synthesize(5, 7, QUICK, pose_index=AT_REST), synthesize(5, 7, QUICK)
    assert (rest.name, rest.pose_index, rest.traits.pose) == ("0007_rest", -1, "at rest")
    assert np.array_equal(rest.joint_rotations, start_rotations().astype(np.float32))
    assert np.array_equal(rest.betas, moving.betas)
    assert rest.garments == moving.garments
    first, next_one = (rest_pose(np.random.default_rng(0), attempt).rotations for attempt in (0, 1))
    assert 0 < np.degrees(np.abs(next_one - first)).max() <= 1.5
    assert np.array_equal(rest_pose(np.random.default_rng(1), 0).rotations, first)


def test_scans_at_rest_come_beside_the_others_or_alone():
    keys = Synthesize(count=2, extra_poses=1, extra_people=1, rest=Rest.too)
    names = ["0000_rest", "0000", "0000_pose1", "0001_rest", "0001"]
    assert [scan.name for scan in asked_for(keys)] == names
    folders = [str(scan.folder("people").parent) for scan in asked_for(keys)]
    assert folders == ["people_rest", "people", "people_poses", "people_rest", "people"]
    assert [scan.name for scan in asked_for(replace(keys, rest=Rest.only))] == ["0000_rest", "0001_rest"]
    assert [scan.name for scan in asked_for(replace(keys, rest=Rest.none))] == ["0000", "0000_pose1", "0001"]
