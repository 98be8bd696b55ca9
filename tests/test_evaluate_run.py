"""`gdna evaluate` on a small model: what is written, what is said where something is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gdna.fields.generator
import gdna.generate.whole
from gdna.apps import cli
from gdna.body.open_body import open_body
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.prepared import PreparedSet
from gdna.data.scan import write_scan
from gdna.errors import GdnaError
from gdna.evaluate.features import FeatureNetwork
from gdna.evaluate.health import SurfaceHealth
from gdna.evaluate.maps import decode, prepared_images, prepared_views, render_pairs
from gdna.evaluate.merge import merged
from gdna.evaluate.metrics import scan_iou
from gdna.evaluate.page import render_page
from gdna.evaluate.people import draw_people, generated_images, near_poses, posed_person
from gdna.evaluate.plots import bars, strips
from gdna.evaluate.reconstruct import CodeFitSettings, fit_codes, reconstruct
from gdna.evaluate.report import Column, read_column
from gdna.evaluate.runner import EvaluationData, Share, evaluate, measure
from gdna.evaluate.sets import ScanSet, evenly, one_each, trained_set, unseen_sets
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.stability import clip_of, stability
from gdna.evaluate.variety import Changed
from gdna.generate.animation import animate
from gdna.generate.loading import load
from gdna.generate.whole import MOST_HANDLES, TRIES, Meshed
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import save_checkpoint
from gdna.model.config import DeformerConfig, MlpConfig, ModelConfig, NormalConfig, OccupancyConfig
from gdna.model.pose_offsets import pose_numbers
from gdna.types import BodyParams, PosedMesh, Scan

TINY = ModelConfig(
    num_people=4,
    stage="fine",
    network=OccupancyConfig(width=32, logit_scale=1.0),
    norm_network=NormalConfig(width=32, depth=4, skip_in=2),
    deformer=DeformerConfig(5, init_bones=(0, 16), disp_network=MlpConfig(32, 2), lbs_network=MlpConfig(32, 2)),
)
TRAINED, POSED = ("0000", "0001", "0002", "0003"), ("0001_pose1",)
STRANGERS = ("0100", "0101", "0102", "0103", "0001_pose2")  # the last one has another body than person 0001
SMALL = EvaluateSettings(
    people=4, scans=1, samples=2, views=2, points=500, mesh_resolution=24, fit_steps=2, parts=("scans", "people")
)
SIZES = PrepareSettings(points=800, surface_points=400, held_out=200, views=2, image_size=64)


@pytest.fixture(scope="module", autouse=True)
def _small_generator():
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gdna.fields.generator, "CHANNELS", (8, 8, 8, 64))
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Naked people as scans, prepared, and an untrained model (people near a ball) that claims to know four of them."""
    folder, body = tmp_path_factory.mktemp("evaluation"), open_body()
    used, faces = np.unique(body.faces.numpy(), return_inverse=True)
    betas = torch.from_numpy(body.population_betas[: len(TRAINED)])
    groups = {"trained": TRAINED, "poses": POSED, "strangers": STRANGERS}
    generator = torch.Generator().manual_seed(0)
    for group, names in groups.items():
        for name in names:
            who = int(name[:4]) % 100
            own = betas[who] + (group == "strangers") * 0.5
            rotations = 0.1 * torch.randn(24, 3, generator=generator)
            posed = body(BodyParams(own[None], rotations[None], torch.zeros(1, 3)))
            scan = Scan(name, posed.vertices[0].numpy()[used], faces.reshape(-1, 3), own.numpy(), rotations.numpy())
            prepare_scan(scan, body, folder / f"{group}_processed", SIZES)
            write_scan(folder / group, scan)
    torch.manual_seed(0)
    network = AvatarModel(TINY)
    torch.nn.init.normal_(network.z_shapes.weight)
    torch.nn.init.normal_(network.z_details.weight)
    extra = {"names": list(TRAINED), "betas": betas.tolist()}
    save_checkpoint(folder / "outputs/tiny/checkpoints/last.safetensors", network, extra)
    return folder


@pytest.fixture(scope="module")
def model(workplace):
    return load(workplace / "outputs/tiny", "cpu")


@pytest.fixture(scope="module")
def data(workplace, model) -> EvaluationData:
    trained = trained_set(model, TRAINED, workplace / "trained_processed", {})
    folders = [(workplace / "poses_processed", {}), (workplace / "strangers_processed", {})]
    return EvaluationData({"trained": [trained], **unseen_sets(model, TRAINED, folders)})


class Colours(torch.nn.Module):
    """Mean colours of the picture's four quarters."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


NETWORK = FeatureNetwork("colours", Colours())


@pytest.fixture(scope="module")
def evaluation(model, data):
    return evaluate(
        model, data, replace(SMALL, parts=("scans", "people", "health", "skinning", "variety", "motion")), NETWORK
    )


# --- which scans are whose


def test_scans_are_told_apart_by_name_and_body(data):
    assert data.sets["trained"][0].person == (0, 1, 2, 3)
    assert [s.data.names for s in data.sets["poses"]] == [POSED]
    assert data.sets["poses"][0].person == (1,)
    assert [s.data.names for s in data.sets["held_out"]] == [tuple(sorted(STRANGERS))]
    assert set(data.sets["held_out"][0].person) == {-1}


def test_training_scans_may_be_fewer_but_not_none(model, workplace):
    assert len(trained_set(model, TRAINED, workplace / "trained_processed", {}, limit=2)) == 2
    with pytest.raises(GdnaError, match="none of the 4 scans"):
        trained_set(model, TRAINED, workplace / "strangers_processed", {})
    with pytest.raises(GdnaError, match="2 people for 4 codes"):
        trained_set(model, TRAINED[:2], workplace / "trained_processed", {})


def test_different_people_come_before_other_poses():
    names = ("a", "a_pose1", "a_pose2", "b", "c_pose1", "c_pose2", "d")
    assert one_each(names, 4) == [0, 3, 4, 6]
    assert one_each(names, 2) == [0, 4]
    assert one_each(names, 5) == [0, 1, 3, 4, 6]
    assert one_each(names, 99) == list(range(7))


def test_evenly():
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 10) == evenly(3, None) == [0, 1, 2]


# --- maps and people


def test_a_body_drawn_as_its_scan_was_has_the_scans_maps(data):
    """The same mesh through the same views: one step of a byte."""
    prepared = data.sets["trained"][0].data
    views = prepared_views(prepared.folder, "0002", 2)
    body = open_body()
    used, faces = np.unique(body.faces.numpy(), return_inverse=True)
    mesh = PosedMesh(prepared.vertices_posed[2], torch.from_numpy(faces.reshape(-1, 3)), torch.zeros(len(used), 3))
    for pair, image in zip(render_pairs(mesh, views), prepared_images(prepared.folder, "0002", views), strict=True):
        scan = decode(image)
        both = scan.mask & pair.raw.mask
        assert (scan.mask ^ pair.raw.mask).float().mean() < 2e-3
        near = (scan.normals - pair.raw.normals)[both].abs().amax(1) < 2 / 255
        assert near.float().mean() > 0.99


def test_torn_people_make_room_before_they_are_compared(model, data, evaluation, monkeypatch):
    """Everybody is drawn twice: the pictures are those of the next seed's people in the same poses."""
    torn = iter([True, False] * SMALL.people)
    monkeypatch.setattr(gdna.generate.whole, "is_torn", lambda avatar: next(torn))
    again = evaluate(model, data, replace(SMALL, parts=("people",)), NETWORK)
    assert again.summary()["people_drawn_again"] == SMALL.people
    assert again.summary()["frechet_floor"] == evaluation.summary()["frechet_floor"]
    scans = data.sets["trained"][0]
    poses = scans.data.joint_rotations[: SMALL.people]
    first = draw_people(model, poses, SMALL.people, SMALL.seed)[0][1]
    instead = draw_people(model, poses, SMALL.people, SMALL.seed + 1)[0][0]
    views = prepared_views(scans.data.folder, TRAINED[0], SMALL.views)
    raw, predicted = generated_images(posed_person(instead, first, SMALL.mesh_resolution), views)
    assert np.array_equal(again.pictures.generated[0], raw[0])
    assert np.array_equal(again.pictures.generated[1], predicted[0])


def test_people_take_every_pose_before_one_comes_again(model, data):
    poses = data.sets["trained"][0].data.joint_rotations
    drawn = draw_people(model, poses, 6, seed=3)
    taken = [next(i for i, pose in enumerate(poses) if torch.equal(pose, own)) for _, own in drawn]
    assert sorted(taken[:4]) == [0, 1, 2, 3]
    again = draw_people(model, poses, 6, seed=3)
    assert all(torch.equal(a.z_shape, b.z_shape) for (a, _), (b, _) in zip(drawn, again, strict=True))


def test_near_poses_are_those_of_others_nearest_to_the_clothes_own(model, data):
    scans = data.members("trained", 10)
    numbers = pose_numbers(scans[0][0].data.bone_transforms, model.body.parents)
    drawn = model.draw(6, torch.Generator().manual_seed(0), novelty=0.0)
    for person, pose in zip(drawn, near_poses(drawn, scans), strict=True):
        own = int((model.network.z_shapes.weight - person.z_shape).norm(dim=1).argmin())
        others = [i for i in range(len(scans)) if scans[i][0].person[i] != own]
        nearest = min(others, key=lambda i: float((numbers[i] - numbers[own]).norm()))
        assert torch.equal(pose, scans[0][0].data.joint_rotations[nearest])
    alone = [pair for pair in scans if pair[0].person[pair[1]] == 0]
    assert near_poses([model.training_person(0), model.training_person(1)], alone) == [None, None]


def test_a_person_in_a_scans_pose_either_way(model, data):
    """From joint rotations, or from the scan's bone transforms: the same mesh."""
    prepared = data.sets["trained"][0].data
    person = model.training_person(1)
    one = posed_person(person, prepared.joint_rotations[1], 24)
    other = reconstruct(person, prepared.bone_transforms[1], 24)
    torch.testing.assert_close(one.vertices, other.vertices, atol=1e-5, rtol=0)  # m, single precision


# --- codes


def test_shape_codes_are_found_that_explain_scans_better(model, workplace):
    prepared = PreparedSet.open(workplace / "strangers_processed", None, "cpu", "coarse")
    search, scans = model.network.search_settings(), (0, 2)

    def losses(codes) -> list[float]:
        batch = prepared.draw_coarse(torch.tensor(scans), torch.Generator().manual_seed(9), 500)
        with torch.no_grad():
            subject = model.network.subject(codes, batch.betas)
            query = model.network.occupancy_posed(batch.points_posed, batch.bone_transforms, subject, search)
        logits = query.logits.clamp_min(-9)
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.occupancy, reduction="none")
        return each.mean(1).tolist()

    before = fit_codes(model, prepared, scans, CodeFitSettings(steps=0))
    after = fit_codes(model, prepared, scans, CodeFitSettings(steps=40, points=200))
    assert torch.equal(before.shape[0], model.network.z_shapes.weight.mean(0))
    assert all(a < b for a, b in zip(losses(after), losses(before), strict=True))
    again = fit_codes(model, prepared, scans, CodeFitSettings(steps=40, points=200))
    assert torch.equal(after.shape, again.shape)
    alone = fit_codes(model, prepared, scans[:1], CodeFitSettings(steps=8, points=200))
    assert 0 <= scan_iou(model.network, prepared, 0, alone, search).uniform <= 1


def test_scans_looked_for_side_by_side_do_not_see_each_other(model, workplace, monkeypatch):
    """All points of a scan in the step: then the same codes come of one scan alone."""
    prepared = PreparedSet.open(workplace / "strangers_processed", None, "cpu", "coarse")
    monkeypatch.setattr(
        "gdna.data.prepared.draw_integers", lambda high, shape, *_: torch.arange(shape[1]).repeat(shape[0], 1)
    )
    settings = CodeFitSettings(steps=3, points=400)
    together, alone = (fit_codes(model, prepared, scans, settings).shape for scans in ((0, 3, 2), (3,)))
    # sums are in another order, of which Adam's first steps, all of one size, make the most
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=5e-3)
    assert (together[0] - together[1]).abs().max() > 0.05


# --- the whole


def test_every_part_has_its_numbers(evaluation):
    summary = evaluation.summary()
    assert all(np.isfinite(value) for value in summary.values())
    for suffix in ("train", "unseen_pose", "held_out"):
        assert 0 <= summary[f"iou_{suffix}"] <= 1
        assert 0 < summary[f"normal_error_deg_{suffix}"] < 180
    assert summary["frechet_raw"] > summary["frechet_floor"]  # a ball is no person
    assert evaluation.people.frechet_name == "Frechet distance (colours)"
    assert {f"{name}_near_poses" for name in ("frechet", "kernel", "precision", "recall")} <= summary.keys()
    assert summary["frechet_near_poses"] != summary["frechet_raw"]
    assert summary["samples"] == 2
    assert 0 < summary["skin_misplaced_weight_train"] < 1
    assert summary["z_detail_silhouette_px"] == 0  # details are normals only
    assert summary["z_detail_normals_deg"] > 0
    for name in ("pose", "change", "flicker"):  # a field that is blind to the pose
        assert summary[f"motion_{name}_deg"] < 1e-4  # rounding
    assert 0.1 < summary["motion_turn_deg"] < 20
    assert evaluation.scans["trained"][0].surface is None
    assert any("not at hand" in note for note in evaluation.notes)


def test_flicker_is_what_does_not_last(model):
    """Normals that tilt by 3 degrees every frame change but do not flicker; those that tilt to and fro do."""
    mesh, clip = model.mean_person().mesh(24), clip_of("walk")
    axis = torch.linalg.cross(mesh.normals, torch.tensor([0.3, 0.5, 0.8]).expand_as(mesh.normals))
    axis = torch.nn.functional.normalize(axis, dim=-1)

    def tilted(degrees: torch.Tensor) -> torch.Tensor:
        angle = torch.deg2rad(degrees)[:, None, None]
        return mesh.normals * angle.cos() + axis * angle.sin()

    first = animate(mesh, clip).bone_transforms[:, 3, :3, 3].clone()  # tells frames apart

    def frame_numbers(bones: torch.Tensor) -> torch.Tensor:
        return torch.cdist(bones[:, 3, :3, 3], first).argmin(1).float()

    steady = stability(replace(mesh, normals_in=lambda bones: tilted(3 * frame_numbers(bones))), clip)
    restless = stability(replace(mesh, normals_in=lambda bones: tilted(3 * (frame_numbers(bones) % 2))), clip)
    assert steady.change_deg == pytest.approx(3, abs=0.01)
    assert steady.flicker_deg < 0.01
    assert restless.change_deg == pytest.approx(3, abs=0.01)
    assert restless.flicker_deg == pytest.approx(3, abs=0.01)
    assert restless.pose_deg == pytest.approx(1.5, abs=0.02)
    assert steady.turn_deg == restless.turn_deg > 0.1


def test_the_same_seed_gives_the_same_numbers(model, data):
    settings = replace(SMALL, parts=("people",))
    one, other = (evaluate(model, data, settings, NETWORK) for _ in range(2))
    assert one.summary() == other.summary()


def test_changed_codes_change_one_thing(model):
    base, other = model.sample(2, 0)
    changed = Changed.of(base, other)
    assert torch.equal(changed.betas.z_shape, base.z_shape)
    assert torch.equal(changed.betas.betas, other.betas)


def test_the_page_stands_alone(evaluation):
    text = render_page(evaluation, [Column("older", "Inception v3", {"iou_train": 0.5, "broken": 7.0})])
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)  # nothing is fetched
    assert text.count("data:image/png;base64,") == 7  # people, held-out scans, neighbours, three kinds of scans, codes
    assert "older" in text
    assert "0.500" in text
    assert "Feature networks differ" in text
    for section in ("Generated people", "Reconstruction", "What the codes change", "Health"):
        assert section in text


def test_plots_of_nothing_and_of_one():
    assert "<svg" in bars("none", {})
    assert "<svg" in strips("none", {"a": []})
    assert strips("one", {"a": [2.0]}, "mm").count("<circle") == 1


def test_names_are_escaped(evaluation):
    text = render_page(replace(evaluation, name="<script>"))
    assert "<script>" not in text


def test_nothing_to_measure(model):
    with pytest.raises(GdnaError, match="nothing to measure"):
        evaluate(model, EvaluationData(), SMALL, NETWORK)


def test_what_was_not_measured_does_not_hide_what_was(model, data):
    others = EvaluationData({"held_out": data.sets["held_out"]})
    alone = evaluate(model, others, replace(SMALL, parts=("people",)), NETWORK)
    assert alone.notes == ("People: no training scans; no floor and no neighbours.",)
    assert alone.people is not None
    assert alone.people.floor is None


def test_settings_that_cannot_be():
    with pytest.raises(GdnaError, match="expected some of scans, people"):
        EvaluateSettings(parts=("everything",))
    with pytest.raises(GdnaError, match="people=1: expected 4 or more"):
        EvaluateSettings(people=1)


# --- the command


def test_the_command_writes_numbers_and_a_page(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    command = [
        "evaluate", "expname=tiny", "parts=[scans,skinning]", "scans=1", "views=1", "points=200", "mesh_resolution=24",
        "fit_steps=1", "datamodule.dataset_path=trained_processed", "datamodule.scans_path=trained",
        "held_out=strangers_processed", "held_out_scans=strangers", "poses=poses_processed", "poses_scans=poses",
    ]  # fmt: skip
    assert cli.main(command) == 0
    written = workplace / "outputs/tiny/evaluation"
    report = json.loads((written / "evaluation.json").read_text())
    assert report["scans"]["poses"][0]["name"] == "0001_pose1"
    assert report["summary"]["chamfer_mm_held_out"] > 0
    assert read_column(written / "evaluation.json").summary == report["summary"]
    assert "IoU, uniform points" in capsys.readouterr().out
    command[2] = "parts=[skinning]"
    assert cli.main([*command, f"against=[{written}/evaluation.json]", "out=again"]) == 0
    assert (workplace / "again/evaluation.html").read_text().count("<th>tiny</th>") >= 2
    assert not list(workplace.rglob("*.part*"))


def test_a_json_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "other.json").write_text("{}")
    assert cli.main(["evaluate", f"against=[{tmp_path}/other.json]"]) == 2
    assert "not a JSON of this version's gdna evaluate" in capsys.readouterr().err


def test_scan_sets_know_their_length(data):
    assert [len(s) for s in data.sets["trained"]] == [4]
    assert isinstance(data.sets["trained"][0], ScanSet)


# --- several processes


def test_shares_add_up_to_the_whole(model, data):
    """Every scan and person once, in the same order, whoever measured them."""
    settings = replace(SMALL, parts=("scans", "people", "health", "skinning"), scans=3, samples=3)
    whole = evaluate(model, data, settings, NETWORK).as_json()
    parts = [measure(model, data, settings, NETWORK, share=Share(2, index)) for index in (0, 1)]
    assert parts[0].people is not None
    assert parts[1].people is None
    assert [len(part.health.people) for part in parts] == [2, 1]
    together = merged(parts)
    assert json.dumps(together.as_json()["scans"]["trained"]) == json.dumps(whole["scans"]["trained"])
    for part in ("people", "health", "skinning", "notes"):
        assert together.as_json()[part] == whole[part], part
    names = [[s["name"] for s in e["scans"]["held_out"]] for e in (whole, together.as_json())]
    assert names[0] == names[1]  # their codes are looked for in other company, from other random points
    assert len(together.pictures.scans["trained"]) == 3


def test_a_share_may_be_empty(model):
    settings = replace(SMALL, parts=("health",), samples=1, mesh_resolution=200, health_resolution=16)
    parts = [measure(model, EvaluationData(), settings, share=Share(3, index)) for index in range(3)]
    assert len(merged(parts).health.people) == 1
    with pytest.raises(GdnaError, match="nothing to measure: People"):
        merged([measure(model, EvaluationData(), replace(SMALL, parts=("people",)))])


def test_who_is_generated_is_looked_at_and_the_whole_field(model, monkeypatch):
    whole = SurfaceHealth(0, 0.0, 0, 0, 0, ())
    torn, legless = replace(whole, handles=MOST_HANDLES + 1), replace(whole, missing_bones=("left_knee",))
    floating = replace(whole, floaters=2, large_floaters=1, floater_cm3=4.0)
    answers, thrown, generated = iter([floating, whole, torn, legless, torn, torn]), iter([0, 2, TRIES]), []

    def meshed(person, resolution, instead):
        count = next(thrown)
        generated.append(instead(count) if count else person)
        return Meshed(generated[-1], person.mesh(resolution, "coarse"), count)

    monkeypatch.setattr("gdna.evaluate.health.check_surface", lambda *_: next(answers))
    monkeypatch.setattr("gdna.evaluate.health.meshed", meshed)
    settings = replace(SMALL, parts=("health",), samples=3, seed=7)
    evaluation = evaluate(model, EvaluationData(), settings)
    assert torch.equal(generated[1].z_shape, model.sample(3, seed=9)[1].z_shape)  # the second try of the second person
    counts = {
        "broken": 2,
        "with_floaters": 0,
        "with_missing_bones": 1,
        "with_many_handles": 1,
        "drawn_again": 2 + TRIES,
    }
    counts |= {"field_broken": 3, "field_with_floaters": 1, "field_with_large_floaters": 1, "field_floater_cm3": 0}
    counts |= {"field_with_missing_bones": 0, "field_with_many_handles": 2, "samples": 3}
    found = evaluation.summary()
    assert {name: found[name] for name in counts} == counts
    assert "2 of 3 generated people are torn, miss a limb or have a part that floats, after 7" in render_page(
        evaluation
    )


def test_two_processes_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["parts=[health,motion]", "samples=3", "people=4", "mesh_resolution=24", "device=cpu", "out=found"]
    assert cli.main(["evaluate", "devices=2", *arguments]) == 0
    content = json.loads((tmp_path / "found/evaluation.json").read_text())
    assert content["summary"]["samples"] == 3
    assert "motion_flicker_deg" in content["summary"]
    assert (tmp_path / "found/evaluation.html").is_file()
    assert cli.main(["evaluate", "devices=0", *arguments]) == 2
    assert "devices=0: expected 1 or more" in capsys.readouterr().err
