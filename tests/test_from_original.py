"""Those who come from the original: their folders, their files, their command lines."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import decimated, smpl_values, smplx_like, write_obj, write_prepared_by_original, write_smpl, write_thuman
from test_original import state_dict, write

from gdna.apps import cli
from gdna.apps.original_keys import translate
from gdna.apps.preprocess import poses_of
from gdna.body.open_body import open_body
from gdna.body.smpl import Smpl
from gdna.data.cache_file import cache_path, read_cache
from gdna.data.original_samples import adopt_original, original_names
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import SAMPLES, from_fixed, read_samples
from gdna.data.scan import ScanFiles, read_scan, write_scan
from gdna.data.scan_list import find_listed
from gdna.errors import GdnaError
from gdna.generate.loading import CHECKPOINT, load
from gdna.model.checkpoint import load_config, load_extra
from gdna.synthesize.scan_file import load_scan, to_scan
from gdna.types import BodyParams, Scan

TINY = (
    "model.network.width=64",
    "model.norm_network.width=64",
    "model.deformer.disp_network.width=16",
    "model.deformer.lbs_network.width=16",
    "model.deformer.max_steps=5",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=0",
    "datamodule.points_per_frame=100",
    "datamodule.passes_per_epoch=1",
    "datamodule.batch_size=2",
    "logger=none",
)
SMALL = ("points=2000", "surface_points=1000", "views=1")
STEP = 2.0**-14  # metres, of stored points


def gdna(*command: str) -> None:
    assert cli.main(list(command)) == 0, " ".join(command)


@pytest.fixture(scope="session")
def scans(open_scans: Path) -> list[Scan]:
    return [to_scan(load_scan(folder)) for folder in sorted(open_scans.glob("0*"))]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the original with SMPL in its place."""
    monkeypatch.chdir(tmp_path)
    write_smpl(tmp_path / "lib/smpl/smpl_model/SMPL_NEUTRAL.pkl")
    return tmp_path


def test_thuman_as_downloaded(home, scans, capsys):
    """The README of the original, with the verb in front."""
    write_thuman(home / "data", scans)
    gdna("preprocess", "--tot", "1", "--id", "0", *SMALL)
    assert "--tot 1: taken as tot=1" in capsys.readouterr().err
    for name, scan in zip(("0000", "0001"), scans, strict=True):
        samples = read_samples(home / "data/THuman2.0_processed" / name / SAMPLES)
        surface = from_fixed(samples.surface_points).numpy()
        low, high = surface.min(0), surface.max(0)
        # the file's translation and scale are taken out; metres: cells of the decimation
        np.testing.assert_allclose(low, decimated(scan)[0].min(0), atol=0.05)
        np.testing.assert_allclose(high, decimated(scan)[0].max(0), atol=0.05)
        np.testing.assert_allclose(samples.joint_rotations, scan.joint_rotations, atol=1e-6)
        np.testing.assert_allclose(samples.betas, scan.betas[:10], atol=1e-6)
    gdna("train", "expname=coarse", "datamodule=thuman", *TINY)
    assert load_config(home / "outputs/coarse" / CHECKPOINT).num_betas == 10
    gdna("train", "expname=fine", "datamodule=thuman", "+experiments=fine", "model.norm_network.multires=6",
         "model.lambda_gan=0", *TINY)  # fmt: skip
    gdna("test", "expname=fine", "+experiments=fine", "datamodule=thuman", "eval_mode=interp", "frames=1",
         "model.norm_network.multires=6", "mesh_resolution=32")  # fmt: skip
    assert (home / "outputs/fine/videos/interp_seed42.mp4").is_file()


def test_lists_of_renderpeople_and_3dpeople(home, scans):
    """Folders named as delivered; the finer of two meshes; parameters in a folder of their own."""
    coarse, fine = decimated(scans[0], 0.05), decimated(scans[0], 0.02)
    folder = home / "data/RenderPeople/rp_alvin_posed_016_OBJ"
    write_obj(folder / "rp_alvin_posed_016_30k.obj", *coarse)
    write_obj(folder / "rp_alvin_posed_016_100k.obj", *fine)
    params = home / "data/RenderPeople_smpl/rp_alvin_posed_016.npz"
    params.parent.mkdir()
    np.savez(params, **smpl_values(scans[0], 1.0, np.zeros(3)))
    listed = home / "renderpeople.csv"
    listed.write_text("id,dataset\nrp_alvin_posed_016,renderpeople\n")
    gdna("preprocess", "datamodule=renderpeople", f"datamodule.data_list={listed}", *SMALL)
    assert (home / "data/RenderPeople_processed/rp_alvin_posed_016" / SAMPLES).is_file()
    (found,) = find_listed(home / "data/RenderPeople", ["rp_alvin_posed_016"], params.parent)
    assert (found.mesh.stem, found.params) == ("rp_alvin_posed_016_100k", params)

    write_obj(home / "data/3DPeople/10004_w_Amaya/10004_w_Amaya.obj", *fine)
    np.savez(home / "data/3DPeople/10004_w_Amaya/10004_w_Amaya.npz", **smpl_values(scans[0], 1.0, np.zeros(3)))
    listed.write_text("id,dataset\n10004_w_Amaya,3dpeople\n")
    gdna("preprocess", "datamodule=3dpeople", f"datamodule.data_list={listed}", *SMALL)
    assert (home / "data/3DPeople_processed/10004_w_Amaya" / SAMPLES).is_file()


def test_a_list_that_names_what_is_not_there(tmp_path):
    write_obj(tmp_path / "a/a.obj", np.eye(3), np.array([[0, 1, 2]]))
    with pytest.raises(GdnaError, match="no mesh of b, which the list names"):
        find_listed(tmp_path, ["b"])
    with pytest.raises(GdnaError, match=r"a\.obj: no body parameters; expected a\.npz or a_smpl\.pkl"):
        find_listed(tmp_path, ["a"])
    with pytest.raises(GdnaError, match="no meshes found"):
        find_listed(tmp_path / "none", ["a"])


def test_scans_prepared_by_the_original_are_used_as_they_are(home, scans):
    folder = home / "data/THuman2.0_processed"
    values = [write_prepared_by_original(folder, f"{i:04d}", scan, 4000) for i, scan in enumerate(scans)]
    assert original_names(folder, new=True) == original_names(folder) == ["0000", "0001"]
    before = {path: path.read_bytes() for path in folder.rglob("*.np*") if path.is_file()}
    gdna("train", "expname=coarse", "datamodule=thuman", *TINY)
    assert original_names(folder, new=True) == []
    write_thuman(home / "data", scans)
    gdna("preprocess", "datamodule=thuman")  # leaves them alone, though it could prepare these scans itself
    assert all(path.read_bytes() == content for path, content in before.items())
    data = PreparedSet.open(folder, fields="coarse")
    kept = 4000 - 4000 // 20
    for index, value in enumerate(values):
        points, inside = value["pts_d"], value["occ_gt"][:, 0] > 0.5
        used = np.concatenate([np.arange(kept), 4000 + np.arange(kept)])
        np.testing.assert_allclose(from_fixed(data.coarse.points[index]), points[used], atol=STEP)
        np.testing.assert_array_equal(data.coarse.occupancy[index], inside[used])
        held_out = data.held_out(index)
        assert len(held_out.near_points) == len(held_out.uniform_points) == 4000 - kept
        np.testing.assert_allclose(held_out.near_points[0], points[kept], atol=STEP)
    fine = PreparedSet.open(folder, fields="fine")
    np.testing.assert_allclose(from_fixed(fine.fine.surface_points[1]), values[1]["surface_points"], atol=STEP)
    assert fine.num_views == 18
    maps = fine.normal_maps(torch.tensor([0]), torch.tensor([17]))
    torch.testing.assert_close(maps, torch.full_like(maps, 17 / 127.5 - 1))


def test_the_originals_correspondences_are_read(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 4, 4, 4))
    values[..., 3] = values[..., 3] > 0
    np.save(tmp_path / "0000.npy", values)
    cache = read_cache(cache_path(tmp_path, "0000"))
    np.testing.assert_array_equal(cache.mask, values[..., 3] == 1)
    np.testing.assert_allclose(cache.points_neutral, values[values[..., 3] == 1][:, :3], atol=1e-6)
    np.save(tmp_path / "0001.npy", values[0])
    with pytest.raises(GdnaError, match=r"0001\.npy: float64 of shape \(4, 4, 4\)"):
        read_cache(cache_path(tmp_path, "0001"))


def test_prepared_scans_that_lack_a_part(tmp_path, scans):
    body = Smpl(write_smpl(tmp_path / "SMPL_NEUTRAL.pkl"))
    write_prepared_by_original(tmp_path, "0000", scans[0], 100, views=0)
    with pytest.raises(GdnaError, match=r"0000_normal\.png: not found"):
        adopt_original(tmp_path, "0000", body)
    (tmp_path / "0000/surface.npz").unlink()
    with pytest.raises(GdnaError, match=r"surface\.npz: not found"):
        adopt_original(tmp_path, "0000", body)


def test_a_released_checkpoint_in_its_place(home, capsys):
    """`gdna test expname=renderpeople +experiments=fine` straight after the downloads."""
    place = home / "outputs/renderpeople/checkpoints"
    place.mkdir(parents=True)
    write(place / "last.ckpt", state_dict("fine"))
    command = ("expname=renderpeople", "+experiments=fine", "eval_mode=thetas", "frames=1", "mesh_resolution=32")
    frames = home / "data/aist_demo/seqs"
    frames.mkdir(parents=True)
    for frame in range(3):
        np.savez(frames / f"{frame:04d}.npz", pose=np.full(72, 0.05 * frame))
    gdna("test", *command, "motion=data/aist_demo/seqs")
    assert "a checkpoint of the original, imported as last.safetensors" in capsys.readouterr().err
    assert (home / "outputs/renderpeople/videos/thetas_seed42.mp4").stat().st_size > 0
    gdna("test", *command, "motion=data/aist_demo/seqs")
    assert "imported" not in capsys.readouterr().err


def test_import_checkpoint_verb(home, capsys):
    write(home / "my model.ckpt", state_dict("fine", 4, 6))
    (home / "outputs/raw/checkpoints").mkdir(parents=True)
    shutil.copy(home / "my model.ckpt", home / "outputs/raw/checkpoints/last.ckpt")
    with pytest.raises(GdnaError, match=r"run gdna import-checkpoint outputs/raw/checkpoints/last\.ckpt"):
        load(Path("outputs/raw"))
    (home / "list.csv").write_text("id,dataset\n" + "".join(f"{i:04d},thuman\n" for i in range(5)))
    gdna("import-checkpoint", "my model.ckpt", "out=outputs/thuman", "data_list=list.csv")
    model = home / "outputs/thuman" / CHECKPOINT
    assert load_config(model).norm_network.multires == 6
    assert load_extra(model)["names"][4] == "0004"
    (home / "list.csv").write_text("0000\n")
    assert cli.main(["import-checkpoint", "my model.ckpt", "data_list=list.csv"]) == cli.BAD_INPUT
    assert "5 codes, but 1 scans are listed" in capsys.readouterr().err
    assert cli.main(["import-checkpoint"]) == cli.BAD_INPUT
    assert cli.main(["import-checkpoint", "nothing.ckpt"]) == cli.BAD_INPUT


def test_the_fine_stage_begins_with_an_imported_coarse_model(home, scans):
    """starting_path=....ckpt; what the coarse model's numbers mean goes along."""
    folder = home / "data/THuman2.0_processed"
    for i in range(5):
        write_prepared_by_original(folder, f"{i:04d}", scans[i % 2], 3000, views=1)
    write(home / "coarse.ckpt", state_dict("coarse"))
    gdna("train", "expname=fine", "datamodule=thuman", "+experiments=fine", "starting_path=coarse.ckpt",
         "model.lambda_gan=0", "datamodule.batch_size=5", "datamodule.points_per_frame=50",
         "datamodule.passes_per_epoch=1", "trainer.max_epochs=1", "trainer.accelerator=cpu",
         "trainer.check_val_every_n_epoch=0", "logger=none")  # fmt: skip
    config = load_config(home / "outputs/fine" / CHECKPOINT)
    assert (config.stage, config.network.logit_scale, config.deformer.weights_at) == ("fine", 1.0, "canonical")
    assert load_extra(home / "outputs/fine" / CHECKPOINT)["names"] == [f"{i:04d}" for i in range(5)]


def test_one_subject_in_many_poses(tmp_path, monkeypatch):
    """All scans share one code; betas play no part."""
    monkeypatch.chdir(tmp_path)
    body, g = open_body(), torch.Generator().manual_seed(0)
    betas = torch.randn(1, body.num_betas, generator=g).expand(3, -1)
    pose = 0.3 * torch.randn(3, 24, 3, generator=g)
    pose[:, 0] = 0
    posed = body(BodyParams(betas, pose, torch.zeros(3, 3)))
    skin = body.faces[: body.num_skin_faces].numpy().astype(np.int64)
    for i in range(3):
        scan = Scan(f"frame_{i:03d}", posed.vertices[i].numpy(), skin, betas[i].numpy(), pose[i].numpy())
        write_scan(tmp_path / "data/single_subject", scan)
    gdna("preprocess", "datamodule=single_subject", "datamodule.body=open", *SMALL)
    gdna("train", "expname=alone", "datamodule=single_subject", "datamodule.body=open", *TINY)
    model = tmp_path / "outputs/alone" / CHECKPOINT
    assert load_config(model).num_people == 1
    assert load_extra(model)["names"] == ["subject_pose0", "subject_pose1", "subject_pose2"]
    gdna("generate", "expname=alone", "eval_mode=thetas", "frames=1", "mesh_resolution=32")


@pytest.mark.parametrize(("bones", "count"), [("all", 55), ("body", 24)])
def test_people_with_fingers(tmp_path, monkeypatch, scans, bones, count):
    """SMPL-X scans with posed hands, through to a rigged person."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/smplx").mkdir(parents=True)
    np.savez(tmp_path / "data/smplx/SMPLX_FEMALE.npz", **smplx_like())
    hands = 0.3 * np.random.default_rng(0).normal(size=(2, 45)).astype(np.float32)
    write_obj(tmp_path / "data/scans/anna.obj", *decimated(scans[0]))
    values = smpl_values(scans[0], 1.0, np.zeros(3))
    values |= {"body_pose": values["body_pose"][:, :63], "left_hand_pose": hands[:1], "right_hand_pose": hands[1:],
               "jaw_pose": np.zeros((1, 3), np.float32)}  # fmt: skip
    np.savez(tmp_path / "data/scans/anna.npz", **values)
    keys = ("datamodule=files", "datamodule.body=smplx", "datamodule.gender=female", f"datamodule.bones={bones}")
    gdna("preprocess", *keys, *SMALL)
    samples = read_samples(tmp_path / "data/scans_processed/anna" / SAMPLES)
    assert samples.bone_transforms.shape == (count, 4, 4)
    if bones == "all":
        torch.testing.assert_close(samples.joint_rotations[25:40].flatten(), torch.from_numpy(hands[0]))
    gdna("train", "expname=anna", *keys, *TINY)
    assert load_config(tmp_path / "outputs/anna" / CHECKPOINT).num_bones == count
    gdna("generate", "expname=anna", *keys, "eval_mode=thetas", "frames=1", "mesh_resolution=32", "save=[glb]")
    assert (tmp_path / "outputs/anna/videos/thetas_seed42/person_000.glb").is_file()


def test_numbers_of_poses():
    files = [ScanFiles(name, Path(name), Path(name)) for name in ("a_007", "a_012")]
    assert poses_of("ann", files) == ["ann_pose7", "ann_pose12"]
    files = [ScanFiles(name, Path(name), Path(name)) for name in ("front", "back")]
    assert poses_of("ann", files) == ["ann_pose1", "ann_pose2"]


@pytest.mark.parametrize(
    ("verb", "typed", "taken", "note"),
    [
        ("preprocess", "--tot=8 --id 3", "tot=8 id=3 datamodule=thuman", "--id 3: taken as id=3"),
        ("preprocess", "tot=8 id=3", "tot=8 id=3", None),
        ("train", "trainer.accelerator=ddp trainer.gpus=4", "trainer.gpus=4", "trainer.accelerator=ddp: left out"),
        ("train", "trainer.accelerator=cpu", "trainer.accelerator=cpu", None),
        ("train", "model.use_gan=false", "model.lambda_gan=0", "taken as model.lambda_gan=0"),
        ("train", "datamodule.num_workers=0 seed=1", "seed=1", "left out; scans are kept in memory"),
        ("generate", "model.use_gan=true", "", "as the fine stage does anyway"),
    ],
)
def test_keys_of_the_original(verb, typed, taken, note):
    result = translate(verb, typed.split())
    assert result.arguments == taken.split()
    assert (not result.notes) if note is None else any(note in n for n in result.notes)


def test_thuman_parameters_that_would_run_code_are_refused(home, scans, capsys):
    write_thuman(home / "data", scans[:1])

    class Bomb:
        def __reduce__(self):
            return (open, ("exploded", "w"))

    (home / "data/THuman2.0_smpl/0000_smpl.pkl").write_bytes(pickle.dumps({"betas": Bomb()}))
    assert cli.main(["preprocess", "datamodule=thuman", *SMALL]) == cli.BAD_INPUT
    assert "0000_smpl.pkl: refused to load" in capsys.readouterr().err
    assert not (home / "exploded").exists()


@pytest.mark.slow
def test_a_million_faces(tmp_path, scans):
    """60 s on two cores, 4 GB."""
    import resource
    import time

    from gdna.data.prepare import prepare_scan

    vertices, faces = scans[0].vertices.astype(np.float64), scans[0].faces.astype(np.int64)
    while len(faces) < 1_000_000:
        vertices, faces = subdivided(vertices, faces)
    write_obj(tmp_path / "0000.obj", vertices, faces)
    np.savez(tmp_path / "0000.npz", betas=scans[0].betas, joint_rotations=scans[0].joint_rotations)
    start = time.process_time()
    prepare_scan(read_scan(tmp_path / "0000.obj"), open_body(), tmp_path / "out")
    assert time.process_time() - start < 60  # seconds of all cores together
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4e6  # kB


def subdivided(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle in four, at the middles of its edges."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    middle = len(vertices) + index.reshape(-1, 3)
    (a, b, c), (ab, bc, ca) = faces.T, middle.T
    four = [np.stack(corner, 1) for corner in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return np.concatenate([vertices, vertices[unique].mean(1)]), np.concatenate(four)


def test_multirun_shards_preprocessing(home, scans):
    write_thuman(home / "data", scans)
    gdna("preprocess", "-m", "datamodule=thuman", "tot=2", "id=0,1", *SMALL)
    assert {p.parent.name for p in (home / "data/THuman2.0_processed").glob(f"*/{SAMPLES}")} == {"0000", "0001"}
    shutil.rmtree(home / "data/THuman2.0_processed")
