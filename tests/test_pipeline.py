"""The README's path with real commands: two people in draped cloth, from nothing to a film, at a small size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gdna.apps import cli
from gdna.export.avatar_npz import load_avatar
from gdna.model.checkpoint import load_config

MODEL = (
    "model.network.width=64",
    "model.norm_network.width=64",
    "model.deformer.disp_network.width=32",
    "model.deformer.lbs_network.width=32",
    "model.deformer.max_steps=5",
    "model.deformer.init_bones=[0,16,17]",
)
TRAIN = (
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=0",
    "datamodule.batch_size=2",
    "datamodule.points_per_frame=400",
    "logger=none",
)


def gdna(*command: str) -> None:
    assert cli.main(list(command)) == 0, " ".join(command)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, open_scans):
    """A folder in which every verb has run, one after the other."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(open_scans, folder / "data/open_scans")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        gdna("preprocess", "datamodule=open", "points=5000", "surface_points=2000", "views=1", "workers=2")
        gdna("train", "expname=coarse", "datamodule=open", "trainer.max_epochs=2", *MODEL, *TRAIN)
        gdna("precompute", "expname=coarse", "datamodule=open")
        gdna("train", "expname=fine", "datamodule=open", "+experiments=fine", "trainer.max_epochs=1",
             "model.lambda_gan=0", *MODEL, *TRAIN)  # fmt: skip
        gdna(
            "evaluate",
            "expname=coarse",
            "datamodule=open",
            "parts=[scans,skinning]",
            "points=2000",
            "mesh_resolution=48",
        )
        gdna("test", "expname=fine", "eval_mode=sample", "frames=2", "mesh_resolution=32", "save=[glb,ply,npz]")
    return folder


def test_scans_and_samples(workplace: Path):
    for name in ("0000", "0001"):
        assert (workplace / "data/open_scans" / name / "scan.npz").stat().st_size > 100_000
        assert (workplace / "data/open_processed" / name / "multi_view_256/0000_normal.png").is_file()


def test_correspondences_of_every_scan(workplace: Path):
    assert len(list((workplace / "outputs/coarse/cache_img_dvr").iterdir())) == 2


def test_evaluation_is_written_by_scan(workplace: Path):
    report = json.loads((workplace / "outputs/coarse/evaluation/evaluation.json").read_text())
    assert [scan["name"] for scan in report["scans"]["trained"]] == ["0000", "0001"]
    assert 0 <= report["summary"]["iou_train"] <= 1
    assert report["summary"]["chamfer_mm_train"] > 0  # the scans lie beside their samples


def test_a_film_and_people(workplace: Path):
    videos = workplace / "outputs/fine/videos"
    assert (videos / "sample_seed42.mp4").stat().st_size > 1000
    assert (videos / "sample_seed42.png").is_file()
    people = videos / "sample_seed42"
    assert {p.name for p in people.iterdir()} >= {f"person_000.{kind}" for kind in ("glb", "ply", "npz")}
    load_avatar(people / "person_000.npz")


def test_nothing_half_written_is_left(workplace: Path):
    assert not list(workplace.rglob("*.part*"))


def test_the_original_beside_ours(workplace: Path, monkeypatch):
    """Both stages as the original has them, on the same scans; then side by side on the page."""
    monkeypatch.chdir(workplace)
    short = ("trainer.max_epochs=1", "datamodule.passes_per_epoch=1", *TRAIN)
    width = [key for key in MODEL if "max_steps" not in key]
    gdna("train", "+experiments=original", *width, *short)
    gdna("precompute", "expname=original", "+experiments=original", *width)
    gdna("train", "+experiments=original_fine", *width, *short)
    config = load_config(workplace / "outputs/original_fine/checkpoints/last.safetensors")
    assert (config.stage, config.num_scans, config.network.logit_scale) == ("fine", 0, 1.0)
    assert (config.deformer.weights_at, config.deformer.max_steps) == ("canonical", 10)
    common = ("parts=[scans]", "points=500", "mesh_resolution=24", "views=1", "scans=1")
    gdna("evaluate", "expname=original_fine", *common)
    against = "against=[outputs/original_fine/evaluation/evaluation.json]"
    gdna("evaluate", "expname=coarse", against, "out=beside", *common)
    page = (workplace / "beside/evaluation.html").read_text()
    assert "<th>coarse</th><th>original_fine</th>" in page
