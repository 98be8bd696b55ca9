"""The command line: its grammar, its help, its errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gdna.apps import cli, compose
from gdna.apps.batch import run_batch
from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import TRACEBACK_VARIABLE, DataModule, ModelKeys, Stage
from gdna.apps.datamodule import listed_names
from gdna.apps.help import keys, verb_help
from gdna.apps.original_keys import translate
from gdna.apps.progress import track
from gdna.apps.verbs import VERBS
from gdna.errors import GdnaError
from gdna.generate.settings import EvalMode
from gdna.model.config import ModelConfig, NormalConfig
from gdna.train.settings import fine_settings

README = Path(__file__).resolve().parents[1] / "README.md"
EXAMPLES = [example for verb in VERBS.values() for example in verb.examples]
EXAMPLES += [
    line for line in re.findall(r"^gdna (\w+ [^#\n]+)", README.read_text(), re.MULTILINE) if "--help" not in line
]
# commands of the original's README; `test` is its name of generate
ORIGINAL = [
    "test expname=renderpeople +experiments=fine eval_mode=interp",
    "test expname=thuman model.norm_network.multires=6 +experiments=fine datamodule=thuman eval_mode=interp",
    "preprocess --tot 1 --id 0",
    "preprocess datamodule=thuman tot=1 id=0",
    "train expname=coarse datamodule=thuman",
    "precompute expname=coarse datamodule=thuman agent_tot=1 agent_id=0",
    "train expname=fine datamodule=thuman +experiments=fine model.norm_network.multires=6",
    "train trainer.gpus=2 trainer.gradient_clip_val=0.5 model.deformer.max_steps=20 model.lambda_disp=5",
]


def parse(command: str):
    name, overrides = cli.split_verb(shlex.split(command))
    verb = cli.find_verb(name)
    return compose.settings(verb, cli.named(verb, translate(verb.name, overrides).arguments))


@pytest.mark.parametrize("command", EXAMPLES + ORIGINAL)
def test_documented_commands_parse(command):
    parse(command)


def test_values_arrive_with_their_types():
    asked = parse("generate eval_mode=z_detail save=[glb,npz] mesh_resolution=64 frame_rate=12.5")
    assert (asked.eval_mode, asked.save, asked.mesh_resolution) == (EvalMode.z_detail, ("glb", "npz"), 64)
    assert asked.number("frame_rate", 30.0) == 12.5
    assert parse("generate").number("mesh_resolution", 128) == 128


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_settings_are_plain_values(verb):
    """No containers of the library that read them: checkpoints keep settings as JSON."""
    json.dumps(asdict(compose.settings(verb, [])), default=lambda value: value.value)  # an enumeration's value


def test_fine_experiment_changes_what_the_original_changes():
    plain, fine = parse("train"), parse("train +experiments=fine")
    assert (plain.expname, plain.model.stage, plain.settings().datamodule.batch_size) == ("coarse", Stage.coarse, 16)
    assert (fine.expname, fine.model.stage, fine.model.deformer.max_steps) == ("fine", Stage.fine, 10)
    assert fine.settings() == fine_settings()


def test_the_original_experiments_undo_what_is_new_here():
    coarse, fine = parse("train +experiments=original"), parse("train +experiments=original_fine")
    for asked in (coarse, fine):
        losses, optim = asked.model, asked.model.optim
        assert (losses.scan_offsets, losses.lambda_skin, losses.lambda_gan, optim.ema) == (False, 0, 1, 0)
        assert (losses.lambda_empty, losses.common_outline, losses.random_people) == (0, False, 0)
        assert (losses.network.logit_scale, losses.deformer.weights_at) == (1, "canonical")
        assert (losses.norm_network.pose, losses.norm_network.base) == ("none", "none")
    assert (coarse.expname, coarse.model.stage, coarse.model.deformer.max_steps) == ("original", Stage.coarse, 50)
    theirs = replace(fine_settings().model, lambda_skin=0.0, lambda_empty=0.0, common_outline=False)
    assert fine.settings() == replace(fine_settings(), model=theirs)
    assert fine.starting_path == f"outputs/{coarse.expname}/checkpoints/last.safetensors"
    assert parse("precompute +experiments=original").model == coarse.model
    assert parse("generate +experiments=original_fine").model == fine.model


def test_the_command_line_wins_over_an_experiment():
    asked = parse("train expname=mine +experiments=fine datamodule.batch_size=4 datamodule=thuman")
    assert (asked.expname, asked.datamodule.batch_size) == ("mine", 4)
    assert asked.datamodule.dataset_path.endswith("THuman2.0_processed")


def test_gpus_is_another_name_of_devices():
    assert parse("train trainer.gpus=3").settings().trainer.devices == 3
    on_cpu = parse("train trainer.gpus=0").settings().trainer
    assert (on_cpu.accelerator, on_cpu.devices) == ("cpu", 1)


def test_architecture_keys_reach_the_model():
    config = parse("train +experiments=fine model.norm_network.multires=6").model.architecture(5, 10)
    assert config.norm_network.multires == 6
    assert (config.num_people, config.num_betas, config.stage) == (5, 10, "fine")


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_help_names_every_key_with_a_meaning(verb):
    text = verb_help(verb)
    for key in keys(verb.settings()):
        assert key.name in text
        assert key.help, key.name


def test_help_is_quick_and_brings_neither_torch_nor_hydra():
    code = (
        "import sys; from gdna.apps.cli import main\n"
        "assert main(['--help']) == main(['train', '--help']) == main(['generate', '-h']) == 0\n"
        "assert main(['scans']) == main(['scans', '-h']) == main(['scans', 'export', '--help']) == 0\n"
        "assert main(['fit', '--help']) == 0\n"
        "assert not {'torch', 'numpy', 'hydra', 'omegaconf'} & set(sys.modules)"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.monotonic() - start < 3  # seconds; 0.1 where nothing else runs


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("trian", "did you mean train?"),
        ("train trainer.max_epoch=3", "did you mean trainer.max_epochs?"),
        ("train lr=1", "did you mean model.optim.lr?"),
        ("train model.norm_network.multires=abc", "model.norm_network.multires=abc: Value 'abc'"),
        ("train datamodule=opne", "open, thuman, renderpeople"),
        ("train experiments=fine", "write +experiments=fine"),
        ("train foo", "expected key=value"),
        ("train 'datamodule.dataset_path=${expnam}'", "datamodule.dataset_path: Interpolation key 'expnam'"),
        ("generate eval_mode=foo", "expected one of [interp, z_shape, z_detail, betas, thetas, sample]"),
        ("generate eval_mode=interp,sample", "--multirun"),
        ("generate save=glb", "expected a list"),
        ("generate frames=0", "frames=0: expected 1 or more"),
        ("generate expname=nowhere", "outputs/nowhere: not found"),
        ("train", "no prepared scans"),
        ("train +experiments=fine", "no prepared scans"),
        ("precompute", "outputs/coarse: not found"),
        ("preprocess datamodule=thuman", "lib/smpl/smpl_model/SMPL_NEUTRAL.pkl: no such file"),
        ("preprocess datamodule.scans_path=nowhere", "nowhere: no meshes found"),
        ("preprocess datamodule.scans_path=nowhere.gdnapack", "nowhere.gdnapack: no such file"),
        ("scans verfy", "did you mean scans verify?"),
        ("scans verify pack=nowhere.gdnapack", "nowhere.gdnapack: no such file"),
        ("scans export held_out=0 person=0000", "give one of them"),
        ("scans pack source=[nowhere]", "nowhere: no scans"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert error.startswith("gdna: ")


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has"),
            "(CUDA out of memory); try a smaller",
        ),
        (MemoryError(), "out of memory; try a smaller"),
        (FileNotFoundError(2, "No such file or directory", "a.npz"), "a.npz: no such file"),
        (PermissionError(13, "Permission denied", "b.npz"), "b.npz: Permission denied"),
    ],
)
def test_troubles_of_the_machine_are_one_line(error, expected, monkeypatch, capsys):
    monkeypatch.setattr(cli, "run_verb", lambda verb, settings: (_ for _ in ()).throw(error))
    assert cli.main(["generate"]) == cli.BAD_INPUT
    assert expected in capsys.readouterr().err


def test_faults_of_the_program_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(cli, "run_verb", lambda verb, settings: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["generate"])


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(GdnaError):
        cli.main(["trian"])


def test_interruption_says_what_is_kept(monkeypatch, capsys):
    monkeypatch.setattr(cli, "run_verb", lambda verb, settings: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["train"]) == cli.INTERRUPTED
    assert "the last checkpoint is kept" in capsys.readouterr().err


def test_cfg_prints_what_results(capsys):
    assert cli.main(["train", "+experiments=fine", "--cfg"]) == 0
    assert "batch_size: 8" in capsys.readouterr().out


def test_sweep_gives_each_training_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = []
    compose.sweep(VERBS["train"], ["model.optim.lr=1e-3,2e-3", "seed=1"], lambda verb, asked: jobs.append(asked))
    assert [job.expname for job in jobs] == ["coarse_model.optim.lr=0.001", "coarse_model.optim.lr=0.002"]
    assert [job.model.optim.lr for job in jobs] == [1e-3, 2e-3]
    assert {job.seed for job in jobs} == {1}


def test_a_failing_job_does_not_stop_a_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seen = []

    def job(verb, asked):
        seen.append(asked.seed)
        if asked.seed == 1:
            raise GdnaError("no luck")

    with pytest.raises(GdnaError, match="1 jobs of the sweep failed"):
        compose.sweep(VERBS["generate"], ["seed=1,2"], job)
    assert seen == [1, 2]
    assert "gdna: no luck" in capsys.readouterr().err


def test_a_bad_scan_does_not_stop_the_others(capsys):
    done = []

    def work(name):
        if name == "b":
            raise GdnaError("no feet")
        if name == "c":
            raise IndexError("a bug")
        done.append(name)

    with pytest.raises(GdnaError, match="2 of 4 scans failed"):
        run_batch(["a", "b", "c", "d"], work, "preprocess", "scans")
    assert done == ["a", "d"]
    error = capsys.readouterr().err
    assert "gdna: b failed: no feet\ngdna: c failed: IndexError: a bug\n" in error


def test_batches_run_in_several_processes(tmp_path, capsys):
    (tmp_path / "in_the_way").write_text("")
    names = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "in_the_way")]
    with pytest.raises(GdnaError, match="1 of 3 folders failed"):
        run_batch(names, os.mkdir, "batch", "folders", workers=2)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").is_dir()
    assert "in_the_way failed: [Errno 17] File exists" in capsys.readouterr().err


@pytest.mark.parametrize(("total", "lines"), [(200, 10), (3, 3), (0, 0)])
def test_progress_without_a_terminal_is_a_line_a_tenth(total, lines, capsys):
    assert list(track(iter(range(total)), total, "film", "frames")) == list(range(total))
    assert capsys.readouterr().err.count("\n") == lines


def test_data_lists(tmp_path):
    path = tmp_path / "list"
    path.write_text("id,dataset\n0001,thuman\n0007,thuman\n")
    assert listed_names(DataModule(data_list=str(path))) == ["0001", "0007"]
    path.write_text("anna\nbert\n")
    assert listed_names(DataModule(data_list=str(path))) == ["anna", "bert"]
    assert listed_names(DataModule()) is None


def test_keys_that_contradict_the_checkpoint_are_refused():
    six = ModelConfig(num_people=3, stage="fine", norm_network=NormalConfig(multires=6))
    check_architecture(ModelKeys(), six, "outputs/fine")
    check_architecture(ModelKeys(stage=Stage.fine, norm_network=NormalConfig(multires=6)), six, "outputs/fine")
    with pytest.raises(GdnaError, match=r"outputs/fine: model.norm_network.multires=6, but trained with 4; leave"):
        check_architecture(ModelKeys(norm_network=NormalConfig(multires=6)), ModelConfig(), "outputs/fine")
