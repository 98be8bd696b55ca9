"""Fitting: styles, what must be empty, noise, depth images and clouds through the verb, a folder's summary."""

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
from gdna.data.inside import inside, winding_number
from gdna.errors import GdnaError
from gdna.evaluate.surface import Surface, nearest_points
from gdna.export.avatar_npz import load_avatar
from gdna.extract.pose import pose_mesh
from gdna.fit.cloud import agreed, estimate_normals
from gdna.fit.codes import Unknowns, fit_shape
from gdna.fit.dipoles import Dipoles
from gdna.fit.evidence import Evidence, _of_solid, gather
from gdna.fit.folder_report import note_failure, write_summary
from gdna.fit.framing import framed
from gdna.fit.person_settings import FitSettings
from gdna.fit.phantoms import _outside, emptiness, find_phantoms
from gdna.fit.progress import Guess, unwatched
from gdna.fit.refine import HELD_COPIES, _held_points, refine
from gdna.fit.settings import RegisterSettings
from gdna.fit.showing import Showing
from gdna.fit.smoothing import NOISY, aloof, calmed, roughness, smoothed
from gdna.fit.types import Placement, RawScan
from gdna.fit.wearer import Wearer
from gdna.geometry.mesh import sample_surface, vertex_normals
from gdna.types import BodyParams, Codes

HERE = Placement(1.0, np.eye(3), np.zeros(3))
SMALL = FitSettings(steps=3, starts=2, detail_steps=2, samples=4000, points=400, mesh_resolution=48, report_points=2000)


@pytest.fixture(scope="module")
def model():
    return api.load(device="cpu")


@pytest.fixture(scope="module")
def params(model) -> BodyParams:
    rotations = torch.zeros(1, 24, 3)
    rotations[0, 16, 2], rotations[0, 17, 2] = -1.2, 0.9
    return BodyParams(torch.zeros(1, model.body.num_betas), rotations, torch.zeros(1, 3))


@pytest.fixture(scope="module")
def wearer(model, params) -> Wearer:
    return Wearer.of(model.body, params)


@pytest.fixture(scope="module")
def skin(wearer) -> Surface:
    return Surface(wearer.vertices().double().numpy(), wearer.faces.numpy())


@pytest.fixture(scope="module")
def scan(model, wearer) -> Surface:
    """A training person of the model in the pose."""
    person = model.training_person(2)
    person = model.person(wearer.betas, person.z_shape, person.z_detail)
    posed = next(iter(pose_mesh(person.mesh(64), wearer.transforms()[None])))
    return Surface(posed.vertices.double().numpy(), posed.faces.numpy())


@pytest.fixture(scope="module")
def evidence(scan, skin) -> Evidence:
    return gather(RawScan("p", scan.vertices, scan.faces, None), HERE, skin, 4000, np.random.default_rng(0))


def test_styles_of_a_code_make_the_code_s_volume(model):
    generator, code = model.network.generator, model.network.z_shapes.weight[:2]
    styles = generator.styles_of(code)
    assert torch.equal(generator.of_styles(styles), generator(code))
    assert not torch.equal(generator.of_styles(styles + 0.1), generator(code))


def test_styles_travel_with_the_person(tmp_path, model):
    plain = model.training_person(1)
    styles = plain.layer_styles + 0.3
    person = replace(plain, styles=styles)
    person.save(tmp_path / "a.npz")
    again = model.load_person(tmp_path / "a.npz")
    assert torch.equal(again.styles, styles)
    assert torch.equal(again.mesh(32).vertices, person.mesh(32).vertices)
    assert not torch.equal(again.mesh(32).vertices, plain.mesh(32).vertices)
    assert again.with_codes(z_detail=plain.z_detail).styles is not None
    assert again.with_codes(z_shape=plain.z_shape).styles is None  # another code brings its own
    assert torch.allclose(plain.blend(person, 0.5).styles, plain.layer_styles + 0.15, atol=1e-5)
    assert plain.blend(model.training_person(2), 0.5).styles is None
    plain.save(tmp_path / "b.npz")
    assert load_avatar(tmp_path / "b.npz").styles is None
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", **{**arrays, "styles": arrays["styles"][:-1]})
    with pytest.raises(GdnaError, match="styles of"):
        model.load_person(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **{**arrays, "styles": np.full(896, np.nan, np.float32)})
    with pytest.raises(GdnaError, match="styles is float32"):
        model.load_person(tmp_path / "a.npz")


@pytest.mark.slow
def test_styles_explain_more_than_the_code(model, wearer, evidence):
    """From the same start, after the same steps."""
    settings = replace(SMALL, steps=32, starts=0, points=1200)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for own in errors:
        fit = fit_shape(model.network, wearer, evidence, replace(settings, styles=own), 0.0,
                        lambda p, own=own: errors[own].append(p.error))  # fmt: skip
        assert (fit.styles is not None) == own
    assert np.mean(errors[True][-6:]) < np.mean(errors[False][-6:])


def test_unknowns_begin_at_their_code(model, wearer):
    code = model.network.z_shapes.weight[3]
    unknowns = Unknowns(model.network, code, wearer, True, 1.0)
    assert torch.allclose(unknowns.features(), model.network.generator(code[None]), atol=1e-4)
    assert torch.equal(unknowns.current().joint_rotations, wearer.joint_rotations)
    paces = [pace(0) for pace in unknowns.paces(100)]
    assert paces[:2] == [1, 1]
    assert paces[2] < 0.1


def test_phantoms_lie_where_the_scan_is_not(model, wearer, evidence):
    network, rng = model.network, np.random.default_rng(0)
    mean = model.mean_person()
    subject = network.subject(mean.codes, wearer.betas[None])
    found = find_phantoms(network, subject, wearer, evidence, 2000, rng)
    logits = network.occupancy_neutral(found.neutral[None], subject)[0][0]
    random = find_phantoms(network, subject, wearer, evidence, 2000, np.random.default_rng(1)).neutral[1000:]
    assert logits[:1000].min() > network.occupancy_neutral(random[None], subject)[0].median()  # the worst come first
    person = model.training_person(2)  # whose scan it is: hardly anything of it is outside
    own = network.subject(person.codes, wearer.betas[None])
    worst = find_phantoms(network, own, wearer, evidence, 2000, rng).neutral[:1000]
    grown = replace(own, features=own.features + 0.3 * torch.randn(own.features.shape, generator=torch.Generator()))
    more = find_phantoms(network, grown, wearer, evidence, 2000, rng).neutral[:1000]
    losses = [emptiness(network.occupancy_neutral(p[None], s)[0][0]) for p, s in ((worst, own), (more, grown))]
    assert losses[0] < losses[1]
    assert emptiness(torch.zeros(0)) == 0


def test_noise_is_told_and_taken_away():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(25_000, 3))
    normals = ball / np.linalg.norm(ball, axis=1, keepdims=True)
    for sigma in (0.0, 0.003, 0.005):
        points = 0.3 * normals + sigma * rng.normal(size=normals.shape)
        noise = roughness(points, normals, rng)
        assert noise == pytest.approx(sigma, abs=0.0004 + 0.1 * sigma)  # m
        if noise > NOISY:
            scattered = normals + 0.7 * rng.normal(size=normals.shape)  # as faces of a noisy mesh look
            moved, directions = smoothed(points, scattered, noise)
            left = np.abs(np.linalg.norm(moved, axis=1) - 0.3).mean()
            assert left < 0.35 * np.abs(np.linalg.norm(points, axis=1) - 0.3).mean()
            assert (directions * normals).sum(1).mean() > 0.98


def test_a_noisy_mesh_is_calmed_and_its_layers_stay_apart():
    ball, rng = trimesh.creation.icosphere(5), np.random.default_rng(0)
    normals = np.asarray(ball.vertices)
    vertices = np.concatenate([0.15 * normals, 0.142 * normals])  # edges of 5 mm, layers 8 mm apart
    faces = np.concatenate([ball.faces, np.asarray(ball.faces) + len(normals)])
    noisy = vertices + 0.003 * rng.normal(size=vertices.shape)
    outer, inner = np.linalg.norm(calmed(noisy, faces, 0.0017), axis=1).reshape(2, -1)
    assert np.abs(outer - 0.15).mean() < 0.5 * np.abs(np.linalg.norm(noisy[: len(normals)], axis=1) - 0.15).mean()
    assert outer.mean() == pytest.approx(0.15, abs=5e-4)  # m: it does not shrink
    assert (outer > inner).mean() > 0.99
    assert np.abs(calmed(vertices, faces, 0.0) - vertices).max() < 1e-9


def test_registration_sees_a_noisy_mesh_calmed(skin):
    """In millimetres; normals are those of the person, not of the noise."""
    noisy = 1000 * (skin.vertices + 0.008 * np.random.default_rng(0).normal(size=skin.vertices.shape))
    frame = framed(RawScan("noisy", noisy, skin.faces, None), RegisterSettings(), torch.device("cpu"))
    points = frame.points.double().numpy() + frame.centre * frame.unit
    distance, face, _ = nearest_points(points, skin)
    assert np.sqrt(distance).mean() < 0.005  # m
    cosine = (frame.normals.double().numpy() * skin.normals()[face]).sum(1)
    assert cosine.mean() > 0.8


def test_holes_are_told_from_what_is_shown(skin):
    chest = np.linalg.norm(skin.vertices[skin.faces].mean(1) - [0.0, 0.1, 0.1], axis=1) < 0.12
    assert 20 < chest.sum() < len(chest) / 2
    raw = RawScan("hole", skin.vertices, skin.faces[~chest], None)
    found = gather(raw, HERE, skin, 60_000, np.random.default_rng(0))
    middle = skin.vertices[skin.faces].mean(1)
    over = middle + 0.01 * skin.normals()
    inner = np.linalg.norm(middle - [0.0, 0.1, 0.1], axis=1) < 0.08
    assert Showing.of(over[inner], found).shown.mean() < 0.1
    showing = Showing.of(over[~chest], found)
    assert showing.shown.mean() > 0.9
    assert np.median(showing.above) == pytest.approx(0.01, abs=1e-3)


def test_refining_holds_what_the_scan_does_not_show(model, wearer, scan, skin):
    middle = scan.vertices[scan.faces].mean(1)
    hole = middle[:, 2] < middle[:, 2].mean()  # no back
    raw = RawScan("front", scan.vertices, scan.faces[~hole], None)
    found = gather(raw, HERE, skin, 20_000, np.random.default_rng(0))
    person = model.training_person(2)
    subject = model.network.subject(Codes(person.z_shape[None], person.z_detail[None]), wearer.betas[None])
    start = Guess(model.network, subject, wearer, found)
    held = _held_points(start, np.random.default_rng(0))
    assert len(held.logits) > 500
    assert found.solids is None
    assert held.neutral[:, 2].median() < middle[:, 2].mean()
    assert (held.logits > 0).float().mean() > 0.6  # many lie under the surface
    assert held.change(held.logits) < held.change(-held.logits)
    refined = refine(start, replace(SMALL, refine_steps=30, points=1000), unwatched)
    answers = refined.network.occupancy_neutral(held.neutral[None], refined.subject)[0][0]
    assert ((answers > 0) == (held.logits > 0)).float().mean() > 0.9


def test_what_is_held_moves_as_the_surface_around_the_hole(model, wearer, scan, skin):
    """The scan is a centimetre fatter than the codes: so is what is held over its hole."""
    fat = scan.vertices + 0.01 * vertex_normals(torch.from_numpy(scan.vertices), torch.from_numpy(scan.faces)).numpy()
    middle = fat[scan.faces].mean(1)
    hole = np.linalg.norm(middle - middle[middle[:, 2].argmax()], axis=1) < 0.12
    found = gather(RawScan("fat", fat, scan.faces[~hole], None), HERE, skin, 20_000, np.random.default_rng(0))
    person = model.training_person(2)
    subject = model.network.subject(Codes(person.z_shape[None], person.z_detail[None]), wearer.betas[None])
    held = _held_points(Guess(model.network, subject, wearer, replace(found, solids=None)), np.random.default_rng(0))
    around = slice(None, HELD_COPIES * 100)  # the first lie around the hole, the others under the surface
    before = model.network.occupancy_neutral(held.neutral[None, around], subject)[0][0]
    assert (
        (held.logits[around] > 0) & (before < 0)
    ).float().mean() > 0.2  # outside the codes' surface, yet held inside
    assert ((held.logits[around] < 0) & (before > 0)).float().mean() < 0.05


def test_strays_beside_a_surface_are_told():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(20_000, 3))
    ball *= 0.5 / np.linalg.norm(ball, axis=1, keepdims=True)
    strays = rng.normal(size=(100, 3))
    strays *= rng.uniform(0.51, 0.53, (100, 1)) / np.linalg.norm(strays, axis=1, keepdims=True)
    found = aloof(np.concatenate([ball, strays]))
    assert found[len(ball) :].mean() > 0.9
    assert found[: len(ball)].mean() < 0.001
    noisy = ball * rng.normal(1.0, 0.01, (len(ball), 1))
    assert aloof(noisy).mean() < 0.02  # 5 mm of noise are none


def test_normals_agree_where_hints_are_wrong():
    ball = np.random.default_rng(0).normal(size=(6000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    wrong = ball[:, 1] > 0.7
    hint = np.where(wrong[:, None], -ball, ball)
    normals = estimate_normals(ball, hint)
    assert ((normals * ball).sum(1) < 0)[wrong].all()
    assert ((agreed(ball, normals, hint) * ball).sum(1) > 0).all()


def test_points_say_what_is_inside_unless_they_leave_a_hole():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(8000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    ball = Dipoles.of(0.3 * normals, normals, rng)
    points = rng.uniform(-0.4, 0.4, (2000, 3))
    side, above = ball.side(points), np.linalg.norm(points, axis=1) - 0.3
    assert (side[np.abs(above) > 0.03] == -np.sign(above[np.abs(above) > 0.03])).all()
    assert (side[np.abs(above) < 0.005] == 0).all()  # m: too near
    solid = trimesh.creation.icosphere(4, radius=0.3)
    exact = winding_number(np.asarray(solid.vertices), np.asarray(solid.faces, np.int64), points[np.abs(above) > 0.03])
    assert ball.winding(points[np.abs(above) > 0.03]) == pytest.approx(exact, abs=0.1)
    assert ball.are_whole(rng)
    open_ball = normals[normals[:, 1] < 0.5]
    assert not Dipoles.of(0.3 * open_ball, open_ball, rng).are_whole(rng)


def test_a_whole_cloud_says_what_is_inside(scan, skin):
    points = sample_surface(
        torch.from_numpy(scan.vertices), torch.from_numpy(scan.faces), 12_000, torch.Generator().manual_seed(0)
    ).points.numpy()
    found = gather(RawScan("cloud", points, None, None), HERE, skin, 2000, np.random.default_rng(0))
    assert found.dipoles is not None
    assert found.doubt == 1
    high = np.array([[0.0, 0.1, 0.14], [0.0, 0.0, 0.0], [0.3, -0.4, 0.0]])  # in front of the chest, in it, beside a leg
    assert _outside(high, found).tolist() == (~inside(scan.vertices, scan.faces, high)).tolist()
    assert not _outside(high[[2]], replace(found, dipoles=None)).any()  # too far from the surface to be known
    assert (inside(scan.vertices, scan.faces, found.box_points) == found.box_inside).mean() > 0.99
    front = gather(
        RawScan("front", points[points[:, 2] > 0.03], None, None), HERE, skin, 2000, np.random.default_rng(0)
    )
    assert front.dipoles is None
    assert front.doubt > 1


def test_shells_of_one_thing_close_each_other():
    """Four quarters of a ball, which share no vertex: what none encloses alone is inside."""
    ball = trimesh.creation.icosphere(5, radius=0.3)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces, np.int64)
    quarter = (vertices[faces].mean(1)[:, [0, 2]] > 0) @ [1, 2]
    apart = np.concatenate([vertices] * 4), faces + len(vertices) * quarter[:, None]
    found = _of_solid(Surface(*apart), 4000, np.random.default_rng(0))
    truth = np.linalg.norm(found.box_points, axis=1) < 0.3
    clear = np.abs(np.linalg.norm(found.box_points, axis=1) - 0.3) > 0.005
    assert (found.box_inside == truth)[clear].mean() > 0.999


def test_noisy_points_are_smoothed(scan, skin):
    vertices, faces = torch.from_numpy(scan.vertices), torch.from_numpy(scan.faces)
    rng = np.random.default_rng(0)
    points = sample_surface(vertices, faces, 30_000, torch.Generator().manual_seed(0)).points.numpy()
    cloud = points + 0.005 * rng.normal(size=points.shape)
    found = gather(RawScan("noisy", cloud, None, None), HERE, skin, 40_000, rng)
    assert found.noise == pytest.approx(0.005, abs=0.0015)
    left = np.sqrt(nearest_points(found.surface_points, scan)[0]).mean()
    assert left < 0.6 * np.sqrt(nearest_points(cloud, scan)[0]).mean()
    truth = inside(scan.vertices, scan.faces, found.near_points)
    assert (truth == found.near_inside).mean() > 0.85
    clean = gather(RawScan("clean", points, None, None), HERE, skin, 40_000, rng)
    assert clean.noise < NOISY


def depth_image(surface: Surface, pixels: int = 160) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Millimetres seen by a camera 3 m in front of the person, by a splat of many points; 0: nothing."""
    rng = torch.Generator().manual_seed(0)
    points = sample_surface(torch.from_numpy(surface.vertices), torch.from_numpy(surface.faces), 400_000, rng).points
    x, y, z = (points * torch.tensor([1.0, -1.0, -1.0])).unbind(1)  # the camera looks along -z, its y points down
    y, z, focal = y - 0.3, z + 3.0, 1.2 * pixels
    middle = (pixels - 1) / 2
    column, row = (focal * x / z + middle).round().long(), (focal * y / z + middle).round().long()
    image = torch.full((pixels * pixels,), torch.inf, dtype=z.dtype)
    image.scatter_reduce_(0, row * pixels + column, z, "amin")
    millimetres = torch.where(image.isfinite(), 1000 * image, 0).view(pixels, pixels).numpy().astype(np.uint16)
    return millimetres, (focal, focal, middle, middle)


FAST = ["steps=2", "starts=1", "detail_steps=1", "samples=2000", "points=200", "mesh_resolution=48",
        "report_points=1000"]  # fmt: skip


@pytest.mark.slow
def test_a_depth_image_through_the_verb(tmp_path, scan):
    from PIL import Image

    image, intrinsics = depth_image(scan)
    Image.fromarray(image).save(tmp_path / "depth.png")
    camera = "intrinsics=[" + ",".join(f"{value:g}" for value in intrinsics) + "]"
    out = tmp_path / "out"
    assert cli.main(["fit", str(tmp_path / "depth.png"), camera, f"out={out}", *FAST]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["body"] == "found"
    assert report["iou"] is None  # one side says nothing of what is inside
    assert report["scan_to_pred_mm"] < 40  # of two steps


def test_a_cloud_through_the_verb(tmp_path, scan, params):
    points = sample_surface(
        torch.from_numpy(scan.vertices), torch.from_numpy(scan.faces), 20_000, torch.Generator().manual_seed(0)
    ).points.numpy()
    np.savetxt(tmp_path / "cloud.xyz", points)
    np.savez(tmp_path / "cloud.npz", betas=params.betas[0].numpy(), joint_rotations=params.joint_rotations[0].numpy())
    command = ["fit", str(tmp_path / "cloud.xyz"), f"body={tmp_path / 'cloud.npz'}", f"out={tmp_path / 'out'}"]
    assert cli.main([*command, *FAST]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["chamfer_mm"] < 25
    assert load_avatar(tmp_path / "out" / "avatar.npz").styles is not None


def test_a_folder_s_summary(tmp_path: Path):
    for name, chamfer, sure in (("a", 4.0, True), ("b", 6.0, False)):
        (tmp_path / name).mkdir()
        report = {"chamfer_mm": chamfer, "iou": None, "sure": sure, "reason": "" if sure else "a skirt"}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    note_failure(tmp_path / "c", "c.ply: broken")
    note_failure(tmp_path / "b", "the first time")
    found = write_summary(tmp_path)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert found["fitted"] == 2
    assert found["mean"]["chamfer_mm"] == 5
    assert found["mean"]["iou"] is None
    assert found["not_sure"] == {"b": "a skirt"}
    assert found["failed"] == {"c": "c.ply: broken"}


@pytest.mark.parametrize("key", ["preview=-1", "style_prior=-1"])
def test_bad_keys_are_one_line(tmp_path, capsys, key):
    (tmp_path / "scan.ply").write_bytes(b"")
    assert cli.main(["fit", str(tmp_path / "scan.ply"), key]) == 2
    assert key.split("=")[0] in capsys.readouterr().err


@pytest.mark.gpu
def test_a_fit_on_a_gpu_is_that_of_the_cpu(model, scan, params):
    raw = RawScan("p", scan.vertices, scan.faces, None)
    from gdna.data.scan_params import ScanParams

    known = ScanParams(params.betas[0].numpy(), params.joint_rotations[0].numpy(), np.zeros(3), 1.0)
    settings = replace(SMALL, steps=30, detail_steps=10, points=1000, refine=True, residual=True, refine_steps=20)
    fits = [api.fit(raw, known, settings, api.load(device=device)) for device in ("cpu", "cuda")]
    assert fits[1].posed.vertices.is_cuda
    assert abs(fits[0].measures.chamfer_mm - fits[1].measures.chamfer_mm) < 1.5  # the same samples, other rounding
