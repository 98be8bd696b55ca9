"""From a checkpoint to a model ready to generate."""

from __future__ import annotations

import copy
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.body.open_body import open_body
from gdna.errors import GdnaError
from gdna.generate.people import Model
from gdna.model.checkpoint import load_extra, load_model
from gdna.model.config import ModelConfig

SHIPPED = "gdna-open.safetensors"
SHIPPED_NAME = "open"
CHECKPOINT = Path("checkpoints", "last.safetensors")


def shipped_model() -> Path:
    """The checkpoint that comes with gdna. Raises `GdnaError` where this installation has none."""
    path = Path(str(resources.files("gdna.model").joinpath("released", SHIPPED)))
    if not path.is_file():
        raise GdnaError(f"{path}: the shipped model is missing; install gdna again, or give your own (expname=NAME)")
    return path


def checkpoint_path(path: Path | str) -> Path:
    """`path` itself, or the checkpoint in the experiment folder `path`. Raises `GdnaError` where there is none."""
    path = Path(path)
    if path.is_dir() and not (path / CHECKPOINT).is_file():
        original = path / CHECKPOINT.with_suffix(".ckpt")
        if original.is_file():
            raise GdnaError(f"{path}: a checkpoint of the original inside; run gdna import-checkpoint {original} first")
        raise GdnaError(f"{path}: no {CHECKPOINT} inside; train there first (gdna train expname={path.name})")
    if not path.exists():
        raise GdnaError(f"{path}: not found; expected a checkpoint or an experiment's folder that gdna train wrote")
    return path / CHECKPOINT if path.is_dir() else path


def load(path: Path | str | None = None, device: str = "auto", smpl_path: Path | str | None = None) -> Model:
    """A trained model: the shipped one, an experiment's folder (outputs/fine), or a checkpoint file.

    `smpl_path` is your SMPL file, for models of SMPL bodies. Raises `GdnaError` where something is missing.
    """
    where = shipped_model() if path is None else checkpoint_path(path)
    target = pick_device(device)
    network = load_model(where, target).requires_grad_(False).eval()
    body = _body(network.config, where, smpl_path, target)
    betas, typical = _betas(where, network.config, target), _typical(where, network.config)
    return Model(_name(path, where), network, body, betas, typical)


def pick_device(name: str) -> torch.device:
    """auto: CUDA where there is one. Raises `GdnaError` for a device that this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise GdnaError(f"device={name}: no such kind of device; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise GdnaError(f"device={name}: this machine has {count} CUDA devices that torch can use; try device=cpu")
    return device


def body_on(body: Any, device: torch.device) -> Any:
    """The body model on `device`; the shared one stays where it is."""
    return body if device.type == "cpu" else copy.deepcopy(body).to(device)


def _name(path: Path | str | None, where: Path) -> str:
    """The experiment a model belongs to."""
    if path is None:
        return SHIPPED_NAME
    return where.parent.parent.resolve().name if where.parent.name == CHECKPOINT.parent.name else where.stem


def _body(config: ModelConfig, where: Path, smpl_path: Path | str | None, device: torch.device) -> BodyModel:
    body: Any = open_body()
    if smpl_path is not None:
        from gdna.body.smpl import Smpl

        body = Smpl(smpl_path, config.num_betas)
        if len(body.parents) != config.num_bones:
            body = Smpl(smpl_path, config.num_betas, "body")
    if body.num_betas != config.num_betas:
        raise GdnaError(
            f"{where}: trained on bodies of {config.num_betas} betas, the body at hand has {body.num_betas}; "
            "give the body it was trained on (datamodule.body=smpl datamodule.body_path=YOUR_SMPL.pkl, or open)"
        )
    if len(body.parents) != config.num_bones:
        raise GdnaError(
            f"{where}: trained on bodies of {config.num_bones} bones, the body at hand has {len(body.parents)}; give "
            "the body it was trained on (datamodule.body=smplh, smplx)"
        )
    return body_on(body, device)


def _betas(where: Path, config: ModelConfig, device: torch.device) -> Float[Tensor, "P S"]:
    """Body shapes of the training people; the mean body for all where the checkpoint does not tell."""
    listed = load_extra(where).get("betas")
    if listed is None:
        return torch.zeros(config.num_people, config.num_betas, device=device)
    betas = torch.tensor(listed, dtype=torch.float32, device=device)
    if betas.shape != (config.num_people, config.num_betas):
        raise GdnaError(
            f"{where}: betas of {tuple(betas.shape)} people and numbers, expected "
            f"{(config.num_people, config.num_betas)}; the file is damaged"
        )
    return betas


def _typical(where: Path, config: ModelConfig) -> int | None:
    """The training person whom the file names to be shown; None where it names nobody."""
    person = load_extra(where).get("typical")
    if person is not None and not (isinstance(person, int) and 0 <= person < config.num_people):
        raise GdnaError(f"{where}: typical person {person!r} of {config.num_people}; the file is damaged")
    return person
