"""Generation: who is seen in which mode, films, people in files, and the lines of the README's program."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gdna
from gdna.apps import cli
from gdna.body.open_body import open_body
from gdna.errors import GdnaError
from gdna.generate import loading, whole
from gdna.generate.animation import animate
from gdna.generate.filming import film, with_details_of
from gdna.generate.modes import MODES, Scene, back_and_forth
from gdna.generate.settings import Base, EvalMode
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import save_checkpoint
from gdna.model.config import ModelConfig, NormalConfig, OccupancyConfig
from gdna.render.camera import Orthographic
from gdna.types import AvatarMesh, BodyParams

PEOPLE = 3
README = Path(__file__).resolve().parents[1] / "README.md"
SMALL = ModelConfig(
    num_people=PEOPLE, stage="fine", network=OccupancyConfig(width=64), norm_network=NormalConfig(width=32)
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """An experiment's folder with an untrained model: its people are near a ball, each a little different."""
    torch.manual_seed(0)
    network = AvatarModel(SMALL)
    torch.nn.init.normal_(network.z_shapes.weight)
    torch.nn.init.normal_(network.z_details.weight)
    folder = tmp_path_factory.mktemp("work") / "outputs" / "tiny"
    betas = torch.randn(PEOPLE, 40).clamp(-2, 2)
    save_checkpoint(folder / "checkpoints" / "last.safetensors", network, {"betas": betas.tolist()})
    return folder


@pytest.fixture(scope="module")
def model(experiment):
    return gdna.load(experiment, device="cpu")


def scene(model, seed=0, frames=12, start=None):
    return Scene(
        model,
        gdna.motion("walk"),
        start,
        frames,
        segment=4,
        random_betas=True,
        novelty=0.3,
        generator=torch.Generator().manual_seed(seed),
    )


def frames_of(mode, model, **changes):
    return list(MODES[mode](scene(model, **changes)))


def varying(frames):
    """What is not the same in all frames."""
    values = {name: [getattr(f.person, name) for f in frames] for name in ("betas", "z_shape", "z_detail")}
    values["pose"] = [f.joint_rotations for f in frames]
    return {name for name, tensors in values.items() if not all(torch.equal(t, tensors[0]) for t in tensors)}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (EvalMode.interp, {"betas", "z_shape", "z_detail", "pose"}),
        (EvalMode.z_shape, {"z_shape"}),
        (EvalMode.z_detail, {"z_detail"}),
        (EvalMode.betas, {"betas"}),
        (EvalMode.thetas, {"pose"}),
        (EvalMode.sample, {"betas", "z_shape", "z_detail", "pose"}),
    ],
)
def test_each_mode_changes_what_it_says(model, mode, expected):
    frames = frames_of(mode, model)
    assert len(frames) == 12
    assert varying(frames) == expected


@pytest.mark.parametrize("mode", [EvalMode.interp, EvalMode.z_shape, EvalMode.sample])
def test_the_seed_decides(model, mode):
    first, again, other = (frames_of(mode, model, seed=seed) for seed in (3, 3, 6))
    assert all(torch.equal(a.person.z_shape, b.person.z_shape) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.person.z_shape, b.person.z_shape) for a, b in zip(first, other, strict=True))


def test_interpolation_passes_through_training_people(model):
    frames = frames_of(EvalMode.interp, model)
    known = model.network.z_shapes.weight.detach()
    nearest = [int((known - f.person.z_shape).norm(dim=1).argmin()) for f in frames]
    keys = [n for n, frame in enumerate(frames) if frame.key]
    assert keys == [0, 4, 8]
    for n in keys:
        assert torch.equal(frames[n].person.z_shape, known[nearest[n]])
        assert torch.equal(frames[n].person.betas, model.betas[nearest[n]])
    halfway = torch.lerp(frames[0].person.z_detail, frames[4].person.z_detail, 0.5)
    torch.testing.assert_close(frames[2].person.z_detail, halfway)


def test_a_training_person_can_be_had_as_a_pose_leaves_it(model):
    pose = torch.zeros(24, 3)
    pose[4, 0] = 1.0  # a knee
    plain = model.training_person(1)
    assert torch.equal(model.training_person(1, joint_rotations=pose).z_shape, plain.z_shape)
    network = AvatarModel(replace(model.network.config, shape_pose="local"))
    network.load_state_dict(model.network.state_dict(), strict=False)
    torch.nn.init.normal_(network.pose_offsets.weight)
    aware = replace(model, network=network)
    assert torch.equal(aware.training_person(1).z_shape, plain.z_shape)
    posed = aware.training_person(1, joint_rotations=pose)
    parameters = BodyParams(plain.betas[None], pose[None], torch.zeros(1, 3))
    transforms = model.body(parameters).bone_transforms
    torch.testing.assert_close(posed.z_shape, network.codes_in(torch.tensor([1]), transforms).shape[0].detach())
    assert (posed.z_shape - plain.z_shape).abs().max() > 1e-3


def test_betas_go_to_minus_two_and_two_and_back(model):
    firsts = torch.stack([f.person.betas[0] for f in frames_of(EvalMode.betas, model, frames=200)])
    assert len(firsts) == 40
    assert firsts[[0, 9, 19, 29, 39]].tolist() == [0, -2, 0, 2, 0]
    assert [float(f.person.betas[0]) for f in frames_of(EvalMode.betas, model, frames=1)] == [0]


def test_modes_start_from_the_given_person(model):
    someone = model.sample(1, seed=5)[0]
    for mode in MODES:
        assert torch.equal(frames_of(mode, model, start=someone)[0].person.z_shape, someone.z_shape), mode


@pytest.mark.parametrize("mode", [EvalMode.z_detail, EvalMode.betas, EvalMode.thetas])
def test_the_base_person_is_a_trained_one_unless_the_mean_is_asked_for(model, mode):
    trained, mean = (MODES[mode](replace(scene(model), base_kind=kind)) for kind in (Base.typical, Base.mean))
    someone, nobody = next(iter(trained)).person, next(iter(mean)).person
    known = model.network.z_shapes.weight
    who = int((known - someone.z_shape).norm(dim=1).argmin())
    assert torch.equal(someone.z_shape, known[who])
    assert torch.equal(someone.betas[1:], model.betas[who, 1:])  # the mode betas changes the first
    torch.testing.assert_close(nobody.z_shape, known.mean(0))
    assert not nobody.betas.any()


def test_a_clip_runs_back_and_forth():
    assert back_and_forth(4, 9) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(1, 3) == [0, 0, 0]
    assert back_and_forth(2, 4) == [0, 1, 0, 1]


def test_bone_transforms_from_canonical_joints_are_the_bodys():
    body, motion = open_body(), gdna.motion("dance_a")
    betas = torch.randn(1, body.num_betas, generator=torch.Generator().manual_seed(0))
    posed = body(BodyParams(betas.expand(5, -1), motion.joint_rotations[:5], motion.translation[:5]))
    one = torch.zeros(1, 3)
    avatar = AvatarMesh(one, one.long(), one, torch.ones(1, 24) / 24, posed.joints_canonical[0], body.parents)
    clip = replace(motion, joint_rotations=motion.joint_rotations[:5], translation=motion.translation[:5])
    played = animate(avatar, clip)
    # the joints went through a chain of 8 rotations and back in float32
    torch.testing.assert_close(played.bone_transforms, posed.bone_transforms, rtol=0, atol=2e-6)
    assert (len(played), len(played[1:3]), len(list(played))) == (5, 2, 5)


def test_new_details_are_what_a_new_mesh_would_have(model):
    one, other = model.training_person(0), model.training_person(1)
    mixed = replace(one, z_detail=other.z_detail)
    quick, fresh = with_details_of(one.mesh(32, "coarse"), mixed), mixed.mesh(32, "coarse")
    assert torch.equal(quick.faces, fresh.faces)
    # a mesh asks just before its vertices' last move, of a few millimetres with cells of 7 cm
    torch.testing.assert_close(quick.normals, fresh.normals, rtol=0, atol=0.03)
    assert (quick.normals - fresh.normals).abs().mean() < 2e-3
    assert (quick.normals - one.mesh(32, "coarse").normals).abs().max() > 1e-4


def test_pictures_do_not_depend_on_workers(model):
    frames = [*frames_of(EvalMode.sample, model, frames=2), *frames_of(EvalMode.thetas, model, frames=3)]
    camera = Orthographic(image_size=32)
    alone, together = (list(film(frames, 24, camera, workers)) for workers in (1, 2))
    assert len(alone) == 5
    assert all(np.array_equal(a.image, b.image) for a, b in zip(alone, together, strict=True))


def test_in_the_place_of_the_torn_comes_the_next_seeds_person(model, monkeypatch):
    frames, camera = frames_of(EvalMode.sample, model, frames=3, seed=0), Orthographic(image_size=16)
    torn = frames[1].person.mesh(24, "coarse").vertices
    monkeypatch.setattr(whole, "is_torn", lambda avatar: torch.equal(avatar.vertices, torn))
    seen = [shot.seen for shot in film(frames, 24, camera)]
    assert [s.thrown for s in seen] == [0, 1, 0]
    assert torch.equal(seen[1].person.z_shape, model.sample(3, seed=1)[1].z_shape)
    assert seen[2].person is frames[2].person
    monkeypatch.setattr(whole, "is_torn", lambda avatar: True)
    assert [shot.seen.thrown for shot in film(frames[:1], 24, camera)] == [whole.TRIES]
    assert [shot.seen.thrown for shot in film(frames_of(EvalMode.thetas, model, frames=2), 24, camera)] == [0, 0]


def test_no_surface_is_an_error(model):
    empty = AvatarModel(SMALL).requires_grad_(False)
    empty.occupancy.logit_scale = 0.0  # every logit is zero, and inside is above
    with pytest.raises(GdnaError, match="no surface"):
        replace(model, network=empty).mean_person().mesh(16)


def test_a_person_comes_back_from_its_file(model, tmp_path):
    person = model.sample(2, seed=1)[1]
    person.save(tmp_path / "person.npz")
    again = model.load_person(tmp_path / "person.npz")
    for name in ("betas", "z_shape", "z_detail"):
        assert torch.equal(getattr(again, name), getattr(person, name))


def test_a_person_of_another_model_is_refused(model, tmp_path):
    model.mean_person().save(tmp_path / "person.npz")
    other = replace(model, network=AvatarModel(replace(SMALL, dim_detail=8)))
    with pytest.raises(GdnaError, match="load it with the model that made it"):
        other.load_person(tmp_path / "person.npz")


@pytest.mark.parametrize("mode", EvalMode, ids=lambda mode: mode.name)
def test_every_mode_writes_film_and_sheet(mode, experiment, monkeypatch, capsys):
    import av

    monkeypatch.chdir(experiment.parents[1])
    assert cli.main(["generate", "expname=tiny", f"eval_mode={mode.name}", *SMALL_FILM]) == 0
    folder = experiment / "videos"
    assert f"outputs/tiny/videos/{mode.name}_seed42.mp4" in capsys.readouterr().out
    with av.open(str(folder / f"{mode.name}_seed42.mp4")) as video:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in video.decode(video=0)]
    assert shapes == [(32, 64, 3)] * 2
    assert (folder / f"{mode.name}_seed42.png").is_file()


SMALL_FILM = ["frames=2", "mesh_resolution=32", "image_size=32", "device=cpu"]


def test_the_command_says_how_many_were_torn(experiment, monkeypatch, capsys):
    monkeypatch.chdir(experiment.parents[1])
    monkeypatch.setattr(whole, "is_torn", lambda avatar: True)
    assert cli.main(["generate", "expname=tiny", "eval_mode=sample", *SMALL_FILM, "frames=1", "save=[npz]"]) == 0
    assert f"torn:   {whole.TRIES} random people" in capsys.readouterr().out
    model = gdna.load(experiment, device="cpu")
    saved = model.load_person(experiment / "videos" / "sample_seed42" / "person_000.npz")
    assert torch.equal(saved.z_shape, model.sample(1, seed=42 + whole.TRIES)[0].z_shape)  # whom the film shows


def test_people_are_saved_and_generated_again(experiment, monkeypatch, capsys):
    monkeypatch.chdir(experiment.parents[1])
    ask = ["generate", "expname=tiny", "eval_mode=sample", *SMALL_FILM]
    assert cli.main([*ask, "save=[glb,ply,npz]", "save_limit=1", "out=there"]) == 0
    folder = experiment.parents[1] / "there" / "sample_seed42"
    assert sorted(p.name for p in folder.iterdir()) == ["person_000.glb", "person_000.npz", "person_000.ply"]
    npz = folder / "person_000.npz"
    assert cli.main(["generate", "expname=tiny", "eval_mode=thetas", f"load={npz}", "save=[npz]", *SMALL_FILM]) == 0
    again = experiment / "videos" / "thetas_seed42" / "person_000.npz"
    with np.load(npz) as first, np.load(again) as second:
        assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_the_program_of_the_readme(experiment, monkeypatch, tmp_path):
    program = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    monkeypatch.setattr(loading, "shipped_model", lambda: experiment / "checkpoints" / "last.safetensors")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program.replace("resolution=128", "resolution=32"), names)
    assert names["image"].shape == (256, 512, 3)
    assert (tmp_path / "person.glb").stat().st_size > 1000
    assert torch.equal(names["again"].z_detail, names["people"][0].z_detail)
    assert "dance_a" in gdna.motions()


def test_models_that_do_not_fit_are_refused(experiment, tmp_path):
    with pytest.raises(GdnaError, match="no checkpoints/last"):
        gdna.load(tmp_path)
    smpl = tmp_path / "smpl.safetensors"
    save_checkpoint(smpl, AvatarModel(replace(SMALL, num_betas=10)), {})
    with pytest.raises(GdnaError, match="trained on bodies of 10 betas, the body at hand has 40"):
        gdna.load(smpl, device="cpu")
    with pytest.raises(GdnaError, match="device=quantum"):
        gdna.load(experiment, device="quantum")


def test_without_betas_in_the_checkpoint_everyone_has_the_mean_body(tmp_path):
    save_checkpoint(tmp_path / "plain.safetensors", AvatarModel(SMALL), {})
    model = gdna.load(tmp_path / "plain.safetensors", device="cpu")
    assert model.name == "plain"
    assert not model.sample(1)[0].betas.any()
