"""Fitting: correspondences, evidence, codes, refinement, residual, files and the verb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gdna import api
from gdna.apps import cli
from gdna.body.open_body import open_body
from gdna.data.inside import inside
from gdna.data.scan_params import ScanParams
from gdna.deform.implicit import attach_gradient
from gdna.errors import GdnaError
from gdna.evaluate.surface import Surface, nearest_points
from gdna.export.avatar_npz import load_avatar
from gdna.extract.pose import pose_mesh
from gdna.fit.cloud import estimate_normals
from gdna.fit.codes import best_start, draw_samples, fit_shape, trained_codes
from gdna.fit.evidence import gather
from gdna.fit.given_body import given_body, joint_error_mm
from gdna.fit.matching import match
from gdna.fit.measure import measure
from gdna.fit.meshwork import neighbour_matrix
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Guess, unwatched
from gdna.fit.refine import refine
from gdna.fit.residual import add_residual, smooth_displacements
from gdna.fit.samples import RootTable, Samples
from gdna.fit.types import Placement, RawScan
from gdna.fit.wearer import Wearer
from gdna.generate.modes import MODES, Scene
from gdna.generate.settings import EvalMode
from gdna.geometry.mesh import vertex_normals
from gdna.types import AvatarMesh, BodyParams, Codes, Motion

SMALL = FitSettings(steps=3, starts=2, detail_steps=2, samples=4000, points=400, mesh_resolution=48, report_points=2000)
HERE = Placement(1.0, np.eye(3), np.zeros(3))
STARTS = 7


@pytest.fixture(scope="module")
def model():
    return api.load()


def known_person(model):
    """As one of the training scans that are starts shows somebody: the first, in T-shirt and leggings. Loose cloth has
    places that two limbs could claim."""
    code = trained_codes(model.network)[0].detach()
    return model.person(model.betas[0], code, model.network.z_details.weight.mean(0))


@pytest.fixture(scope="module")
def params() -> BodyParams:
    """Standing with the arms down, one of them near the body."""
    rotations = torch.zeros(1, 24, 3)
    rotations[0, 16, 2], rotations[0, 17, 2], rotations[0, 18, 1] = -1.2, 0.9, -0.3
    return BodyParams(0.5 * torch.eye(1, open_body().num_betas), rotations, torch.zeros(1, 3))


@pytest.fixture(scope="module")
def wearer(params) -> Wearer:
    return Wearer.of(open_body(), params)


@pytest.fixture(scope="module")
def body(wearer) -> Surface:
    return Surface(wearer.vertices().double().numpy(), wearer.faces.numpy())


@pytest.fixture(scope="module")
def naked(wearer) -> AvatarMesh:
    """The body's own mesh as an avatar."""
    vertices = wearer.vertices_canonical
    normals = vertex_normals(vertices, wearer.faces)
    return AvatarMesh(vertices, wearer.faces, normals, wearer.skin_weights, wearer.joints_canonical, wearer.parents)


@pytest.fixture(scope="module")
def guess(model, wearer) -> Guess:
    """A training person of the model in the pose, and the scan that is its own surface."""
    person = known_person(model)
    subject = model.network.subject(Codes(person.z_shape[None], person.z_detail[None]), wearer.betas[None])
    evidence = gather(scan_of(model, wearer), HERE, Surface(wearer.vertices().double().numpy(), wearer.faces.numpy()),
                      4000, np.random.default_rng(0))  # fmt: skip
    return Guess(model.network, subject, wearer, evidence)


def scan_of(model, wearer: Wearer) -> RawScan:
    person = known_person(model)
    person = model.person(wearer.betas, person.z_shape, person.z_detail)
    posed = next(iter(pose_mesh(person.mesh(64), wearer.transforms()[None])))
    return RawScan("person", posed.vertices.double().numpy(), posed.faces.numpy(), None)


def test_wearer_is_the_body(params, wearer):
    posed = open_body()(params)
    skin = open_body().faces.unique()
    assert torch.allclose(wearer.vertices(), posed.vertices[0, skin], atol=1e-5)  # m, rounding
    assert torch.allclose(wearer.joints(), posed.joints[0], atol=1e-5)


def test_matches_are_correspondences_of_the_search(model, guess):
    points = torch.from_numpy(guess.evidence.surface_points[:300]).float()
    subject, transforms = guess.subject, guess.wearer.transforms()[None]
    matches = match(points, guess.wearer, model.network.weights_at(subject))
    assert matches.found.float().mean() > 0.97
    with torch.no_grad():
        search = replace(model.network.search_settings(), backend="reference")
        query = model.network.occupancy_posed(points[None], transforms, subject, search)
        mine = model.network.to_neutral(matches.points_canonical[None], subject.betas)[0]
    both = matches.found & query.found[0]
    same = (mine - query.points_neutral[0])[both].norm(dim=-1) < 1e-3  # m: roots closer than this count as one
    assert same.float().mean() > 0.95  # elsewhere the search found another limb


def test_matches_follow_the_bones_as_the_implicit_gradient_says(model, guess):
    points = torch.from_numpy(guess.evidence.surface_points[:50]).float()
    weights_at = model.network.weights_at(guess.subject)
    matches = match(points, guess.wearer, weights_at)
    matches = matches[matches.found.nonzero()[:, 0]]
    transforms = guess.wearer.transforms().requires_grad_()
    direction = torch.randn(matches.points_canonical.shape, generator=torch.Generator().manual_seed(0))
    mine = matches.carried_back(transforms)
    plain = attach_gradient(matches.points_canonical[None], matches.points_posed[None], transforms[None], weights_at)[0]
    assert torch.allclose(mine, plain, atol=2e-4)  # m: what a match may miss by
    gradients = [torch.autograd.grad((x * direction).sum(), transforms)[0] for x in (mine, plain)]
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < 1e-3  # rounding: a few of the Jacobians are nearly singular


def test_table_takes_the_largest_root_of_some_samples():
    table = RootTable(torch.tensor([[0, -1], [1, 4], [2, -1], [3, 5]]))
    values = torch.tensor([1.0, 2.0, 3.0, 9.0, 7.0, 4.0], requires_grad=True)
    assert table.largest(values).tolist() == [1.0, 7.0, 3.0, 9.0]
    rows, taken = table.take(torch.tensor([3, 1, 1]))
    assert taken.largest(values[rows]).tolist() == [9.0, 7.0, 7.0]
    (gradient,) = torch.autograd.grad(table.largest(values).sum(), values)
    assert gradient.tolist() == [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]


def test_points_between_limbs_have_two_roots(model, guess):
    joints = guess.wearer.joints()
    between = 0.5 * (joints[1] + joints[2]) + torch.linspace(-0.05, 0.05, 40)[:, None] * torch.tensor([1.0, 0, 0])
    between[:, 1] -= 0.3  # between the thighs
    samples = Samples.of(
        between.double().numpy(), np.zeros(40, bool), guess.wearer, model.network.weights_at(guess.subject)
    )
    assert (samples.table.rows >= 0).all(1).float().mean() > 0.8


def test_evidence_of_a_closed_mesh(body):
    raw = RawScan("body", body.vertices, body.faces, None)
    found = gather(raw, HERE, body, 2000, np.random.default_rng(0))
    assert found.solids is not None
    assert len(found.near_points) == 2000
    assert (inside(body.vertices, body.faces, found.near_points) == found.near_inside).all()
    outward = found.surface_points + 0.004 * found.surface_normals
    assert inside(body.vertices, body.faces, outward).mean() < 0.02


@pytest.mark.parametrize("kind", ["half", "cloud", "depth"])
def test_evidence_of_open_scans_is_true(body, kind):
    rng = np.random.default_rng(0)
    eye = None
    middle = body.vertices[body.faces].mean(1)
    if kind == "half":
        faces = body.faces[middle[:, 2] > middle[:, 2].mean()]
        raw = RawScan(kind, body.vertices, faces, None)
    else:
        mesh = trimesh.Trimesh(body.vertices, body.faces, process=False)
        points, face = trimesh.sample.sample_surface(mesh, 20_000, seed=0)
        if kind == "depth":
            eye = np.array([0.0, 0.0, 3.0])
            points = points[(mesh.face_normals[face] * (eye - points)).sum(1) > 0.5]
            steps = np.linspace(0.005, 0.5, 60)[:, None, None]  # of 3 m, so 2.5 cm each
            blocked = inside(body.vertices, body.faces, (points + steps * (eye - points)).reshape(-1, 3))
            points = points[~blocked.reshape(60, -1).any(0)]
        strays = rng.uniform(points.min(0) - 0.3, points.max(0) + 0.3, (len(points) // 10, 3))
        raw = RawScan(kind, np.concatenate([points, strays]), None, None, eye)
    found = gather(raw, HERE, body, 3000, rng)
    assert found.solids is None
    truth = inside(body.vertices, body.faces, found.near_points)
    assert (truth == found.near_inside).mean() > 0.93  # fingers and toes are thinner than the samples' distance
    box = inside(body.vertices, body.faces, found.box_points)
    assert (box == found.box_inside).mean() > 0.97
    distance = np.sqrt(nearest_points(found.surface_points, body)[0])
    assert (distance < 0.02).mean() > 0.98  # m: the strays are gone


def test_a_body_elsewhere_is_an_error(body):
    raw = RawScan("person", body.vertices + 5.0, body.faces, None)
    with pytest.raises(GdnaError, match="do scan and body"):
        gather(raw, HERE, body, 1000, np.random.default_rng(0))


def test_cloud_normals_look_where_they_are_told():
    ball = np.random.default_rng(0).normal(size=(4000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    normals = estimate_normals(ball, ball + 0.3)
    assert ((normals * ball).sum(1) > 0.99).mean() > 0.99


def test_codes_explain_the_model_s_own_person(model, guess):
    settings = replace(SMALL, steps=6, starts=STARTS, points=600)
    start = draw_samples(guess.evidence, 800, guess.wearer, model.network, guess.subject, np.random.default_rng(0))
    found = best_start(model.network, guess.wearer, start, settings)
    assert torch.equal(found, known_person(model).z_shape)
    seen = []
    fit = fit_shape(model.network, guess.wearer, guess.evidence, settings, 1.0, seen.append)
    assert [p.step for p in seen] == list(range(1, 7))
    moved = (fit.wearer.joints() - guess.wearer.joints()).norm(dim=-1)
    assert moved.max() < 0.01  # m: the pose was right
    assert min(p.error for p in seen[-4:]) < 12  # % of samples, a third of which lie within 3 mm of the surface


def test_the_pose_is_corrected(model, guess):
    off = guess.wearer.moved(guess.wearer.joint_rotations, guess.wearer.translation + torch.tensor([0.01, 0.0, 0.0]))
    settings = replace(SMALL, steps=14, starts=STARTS, points=600)
    fit = fit_shape(model.network, off, guess.evidence, settings, 5.0, unwatched)
    before = (off.joints() - guess.wearer.joints()).norm(dim=-1).mean()
    after = (fit.wearer.joints() - guess.wearer.joints()).norm(dim=-1).mean()
    assert after < 0.6 * before
    still = fit_shape(model.network, off, guess.evidence, replace(settings, steps=1), 0.0, unwatched)
    assert torch.equal(still.wearer.translation, off.translation)


def test_refining_tunes_a_copy(model, guess):
    mean = model.mean_person()
    start = replace(guess, subject=model.network.subject(mean.codes, guess.wearer.betas[None]))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    errors: list[float] = []
    settings = replace(SMALL, refine_steps=20, points=1000)
    refined = refine(start, settings, lambda p: errors.append(p.error) if p.stage == "refine" else None)
    assert np.mean(errors[-4:]) < 0.8 * np.mean(errors[:2])
    after, tuned = model.network.state_dict(), refined.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    kept = [name for name in before if name.startswith(("skinning.", "warp.", "generator."))]
    assert all(torch.equal(before[name], tuned[name]) for name in kept)
    assert not torch.equal(before["occupancy.mlp.layers.0.weight_v"], tuned["occupancy.mlp.layers.0.weight_v"])


def test_residual_lands_on_the_scan_and_fills_holes(naked, wearer, body):
    normals = vertex_normals(torch.from_numpy(body.vertices), torch.from_numpy(body.faces)).numpy()
    thicker = body.vertices + 0.008 * normals
    middle = thicker[body.faces].mean(1)
    chest = np.linalg.norm(middle - wearer.joints()[9].numpy(), axis=1) < 0.16
    raw = RawScan("thicker", thicker, body.faces[~chest], None)
    evidence = gather(raw, HERE, body, 60_000, np.random.default_rng(0))
    mesh = add_residual(naked, wearer.transforms(), evidence, 0.05, unwatched)
    posed = next(iter(pose_mesh(mesh, wearer.transforms()[None]))).vertices.double().numpy()
    used = np.unique(body.faces)
    hidden = np.zeros(len(posed), bool)
    hidden[body.faces[chest]] = True
    shown = used[~hidden[used]]
    distance = np.sqrt(nearest_points(posed[shown], evidence.target)[0])
    assert np.median(distance) < 2e-4  # m; fingers that touch may be farther
    filled = np.linalg.norm(posed - thicker, axis=1)[hidden]
    assert np.median(filled) < 0.003  # m: the hole continues what is around it
    assert torch.equal(mesh.faces, naked.faces)
    assert torch.equal(mesh.skin_weights, naked.skin_weights)


def test_smooth_displacements_solve_their_equations():
    ball = trimesh.creation.icosphere(2)
    faces, rng = np.asarray(ball.faces), np.random.default_rng(0)
    wanted, weights = rng.normal(size=(len(ball.vertices), 3)), rng.random(len(ball.vertices))
    weights[:40] = 0
    edges = np.asarray(ball.edges_unique)
    system = np.diag(weights + 1e-6)
    for i, j in edges:
        system[[i, j], [i, j]] += 0.3
        system[[i, j], [j, i]] -= 0.3
    expected = np.linalg.solve(system, weights[:, None] * wanted)
    neighbours = neighbour_matrix(faces, len(wanted))
    assert neighbours.nnz == 2 * len(edges)
    found = smooth_displacements(wanted, weights, neighbours, 0.3, np.zeros_like(wanted))
    assert np.abs(found - expected).max() < 0.01  # of wishes of length about 1; conjugate gradients stop at 1e-3


def test_measures_of_a_perfect_fit(body):
    raw = RawScan("body", body.vertices, body.faces, None)
    evidence = gather(raw, HERE, body, 4000, np.random.default_rng(0))
    found = measure(body, evidence, 5000, 0)
    assert found.scan_to_pred_mm < 1e-3
    assert found.pred_to_scan_mm < 0.5  # the mouth's inside is no outer surface
    assert found.f_score_1cm > 0.99
    assert found.iou == 1.0
    cloud = replace(evidence, target=None, seen=None, solids=None)
    points = measure(body, cloud, 5000, 0)
    assert points.scan_to_pred_mm < 1e-3
    assert points.iou is None


def test_joint_error_is_in_the_scan_s_frame(params, wearer):
    truth = ScanParams(params.betas[0].numpy(), params.joint_rotations[0].numpy(), np.array([1.0, 2.0, 3.0]), 2.0)
    placement = given_body("person", truth, open_body()).placement
    assert joint_error_mm("person", truth, open_body(), wearer, placement) < 1e-3
    off = wearer.moved(wearer.joint_rotations, wearer.translation + torch.tensor([0.0, 0.02, 0.0]))
    assert joint_error_mm("person", truth, open_body(), off, placement) == pytest.approx(20, abs=0.01)


def test_given_body_of_another_model_is_an_error():
    with pytest.raises(GdnaError, match="10 betas and 24 joints"):
        given_body("person", ScanParams(np.zeros(10, np.float32), np.zeros((24, 3), np.float32), np.zeros(3), 1.0),
                   open_body())  # fmt: skip


def write_scan(folder: Path, raw: RawScan, params: BodyParams) -> Path:
    """In centimetres, somewhere, as a scanner leaves it; with its body's parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    shift = np.array([30.0, -10.0, 5.0])
    path = folder / f"{raw.name}.ply"
    trimesh.Trimesh(100 * raw.points + shift, raw.faces, process=False).export(path)
    np.savez(path.with_suffix(".npz"), betas=params.betas[0].numpy(), scale=100.0, translation=shift,
             joint_rotations=params.joint_rotations[0].numpy())  # fmt: skip
    return path


KEYS = ["steps=2", "starts=1", "detail_steps=1", "samples=2000", "points=200", "mesh_resolution=48",
        "report_points=1000", "refine_steps=1"]  # fmt: skip


def test_the_verb_leaves_an_avatar_that_moves(tmp_path, model, wearer, params, capsys):
    raw = scan_of(model, wearer)
    path, out = write_scan(tmp_path, raw, params), tmp_path / "out"
    body_file = path.with_suffix(".npz")
    command = ["fit", str(path), f"body={body_file}", f"true_body={body_file}", f"out={out}", "preview=0.1"]
    assert cli.main([*command, "refine=true", "residual=true", *KEYS]) == 0
    assert "Chamfer" in capsys.readouterr().out
    names = {p.name for p in out.iterdir()}
    assert names == {"avatar.npz", "avatar.glb", "fit.ply", "report.json", "report.png"}
    report = json.loads((out / "report.json").read_text())
    keys = {"chamfer_mm", "normal_consistency", "f_score_1cm", "iou", "joint_error_mm", "seconds", "sure"}
    assert keys <= set(report)
    assert report["joint_error_mm"] < 5
    assert report["chamfer_mm"] < 20  # of two steps, on cells of 4 cm
    fitted = trimesh.load(out / "fit.ply", process=False)
    heights = 100 * raw.points[:, 1] - 10.0
    expected = [heights.min(), heights.max()]
    assert np.abs(fitted.bounds[:, 1] - expected).max() < 5  # cm: it lies on the scan's file, but for a cell

    record = load_avatar(out / "avatar.npz")
    assert record.mesh is not None
    person = model.load_person(out / "avatar.npz")
    assert torch.equal(person.mesh().vertices, record.mesh.vertices)
    assert torch.allclose(record.mesh.skin_weights.sum(1), torch.ones(len(record.mesh.vertices)), atol=1e-5)
    film = ["generate", "eval_mode=thetas", "frames=2", "image_size=32", f"load={out / 'avatar.npz'}", "motion=walk"]
    assert cli.main([*film, f"out={tmp_path / 'film'}"]) == 0


def test_own_mesh_goes_with_the_codes_it_belongs_to(model, naked):
    person = replace(model.mean_person(), own_mesh=naked)
    assert torch.equal(person.mesh(16).vertices, naked.vertices)
    other = person.with_codes(z_shape=model.training_person(0).z_shape)
    assert other.own_mesh is None
    clip = Motion("still", torch.zeros(2, 24, 3), torch.zeros(2, 3), 1.0)
    scene = Scene(model, clip, person, 2, 1, False, 0.3, torch.Generator().manual_seed(0))
    assert all(frame.person.own_mesh is None for frame in MODES[EvalMode.z_shape](scene))
    assert all(frame.person.own_mesh is naked for frame in MODES[EvalMode.thetas](scene))


def test_a_damaged_mesh_in_an_avatar_is_an_error(tmp_path, model, naked):
    path = tmp_path / "avatar.npz"
    replace(model.mean_person(), own_mesh=naked).save(path)
    arrays = dict(np.load(path))
    for name, value, message in (
        ("mesh_faces", arrays["mesh_faces"] + len(naked.vertices), "mesh_faces names"),
        ("mesh_weights", arrays["mesh_weights"] * 2, "add up to 1"),
        ("mesh_normals", arrays["mesh_normals"][:-1], "not of one length"),
        ("mesh_joints", arrays["mesh_joints"][:-1], "joints"),
    ):
        np.savez(path, **{**arrays, name: value})
        with pytest.raises(GdnaError, match=message):
            load_avatar(path)
    np.savez(path, **{name: value for name, value in arrays.items() if name != "mesh_bones"})
    with pytest.raises(GdnaError, match="mesh_bones"):
        load_avatar(path)


def test_a_folder_goes_on_where_a_scan_fails(tmp_path, model, wearer, params, capsys):
    raw = scan_of(model, wearer)
    folder, out = tmp_path / "scans", tmp_path / "out"
    write_scan(folder, replace(raw, name="good"), params)
    bad = write_scan(folder, replace(raw, name="bad"), params)
    bad.write_bytes(b"ply\nnothing")
    command = ["fit", str(folder), f"body={folder}", f"out={out}", *KEYS]
    assert cli.main(command) == 2
    assert "bad failed" in capsys.readouterr().err
    assert (out / "good" / "report.json").is_file()
    assert not (out / "bad" / "report.json").exists()
    assert cli.main([*command, "tot=2", "id=1"]) == 0
    assert "1 of 1 scans are fitted already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "scan: not given"),
        (["fit", "nowhere.ply"], "nowhere.ply: not found"),
        (["fit", "{scan}", "body=nowhere.npz"], "body=nowhere.npz: no such file"),
        (["fit", "{scan}", "mesh_resolution=3"], "mesh_resolution=3"),
        (["fit", "{scan}", "points=1"], "points=1: expected 16 or more"),
        (["fit", "{folder}"], "no scans found"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, message):
    scan, folder = tmp_path / "scan.ply", tmp_path / "empty"
    folder.mkdir()
    scan.write_bytes(b"")
    assert cli.main([a.format(scan=scan, folder=folder) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_api_fits_scans_that_bring_their_body(model, wearer, params):
    raw = scan_of(model, wearer)
    known = ScanParams(params.betas[0].numpy(), params.joint_rotations[0].numpy(), np.zeros(3), 1.0)
    fitted = api.fit(raw, known, SMALL, model)
    assert fitted.sure
    assert fitted.person.own_mesh is None
    assert fitted.measures.f_score_1cm > 0.5
    assert len(fitted.on_scan().vertices) == len(fitted.avatar.vertices)
