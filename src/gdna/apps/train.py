"""`gdna train`: the coarse and the fine stage."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from gdna.apps.checkpoint import contradictions
from gdna.apps.compose import as_yaml
from gdna.apps.config import CACHE, OUTPUTS, DataModule, Stage, Train
from gdna.apps.datamodule import body_of, listed_names
from gdna.apps.import_checkpoint import checkpoint_given
from gdna.apps.preprocess import adopt
from gdna.apps.preview import Preview
from gdna.data.prepared import prepared_names
from gdna.errors import GdnaError
from gdna.generate.loading import CHECKPOINT
from gdna.geometry.files import atomic_path
from gdna.model.checkpoint import load_config
from gdna.model.config import ModelConfig
from gdna.train.coarse import train_coarse
from gdna.train.fine import train_fine
from gdna.train.settings import LossSettings


def run(keys: Train) -> None:
    out, data = Path(OUTPUTS, keys.expname), keys.datamodule
    first_process = int(os.environ.get("LOCAL_RANK", "0")) == 0
    settings, fine = keys.settings(), keys.model.stage is Stage.fine
    adopt(data)
    start = checkpoint_given(Path(keys.starting_path), data)
    names = listed_names(data) or prepared_names(data.dataset_path)
    cache = coarse_cache(start, data, settings.model) if fine else None
    if keys.resume:
        check_resumable(keys, out)
    if first_process:
        with atomic_path(out / "config.yaml") as temporary:
            temporary.write_text(as_yaml(keys))
        if keys.trainer.gpus is not None:
            meant = "trainer.accelerator=cpu" if keys.trainer.gpus == 0 else f"trainer.devices={keys.trainer.gpus}"
            print(f"trainer.gpus={keys.trainer.gpus}: taken as {meant}", file=sys.stderr)
    config = keys.model.architecture(num_people=1, num_betas=1)  # training fits these, and num_scans, to its data
    preview = Preview(body_of(data))
    if fine:
        model = train_fine(data.dataset_path, cache, out, start, settings, config, preview)
    else:
        given = start if start != Path(Train().starting_path) else None
        config = config if given is None else evaluated_as(config, load_config(given))
        model = train_coarse(data.dataset_path, out, config, settings, names, preview, given)
    if first_process:
        print(f"model: {model}")


def evaluated_as(config: ModelConfig, start: ModelConfig) -> ModelConfig:
    """What weights to begin with mean depends on settings that no tensor shows: those of the model they come from."""
    return replace(
        config,
        network=replace(config.network, logit_scale=start.network.logit_scale),
        deformer=replace(config.deformer, soft_blend=start.deformer.soft_blend, weights_at=start.deformer.weights_at),
    )


def check_resumable(keys: Train, out: Path) -> None:
    """Raise `GdnaError` where the experiment holds a model of another architecture or of the other stage."""
    there = out / CHECKPOINT
    for found in contradictions(keys.model, load_config(there)) if there.is_file() else ():
        raise GdnaError(f"{out}: {found}; give the keys it was trained with, another expname, or resume=false")


def coarse_cache(start: Path, data: DataModule, losses: LossSettings) -> Path | None:
    """The coarse model's correspondences; None if no loss looks at pictures. Raises `GdnaError` where model or
    correspondences are missing."""
    if not start.is_file():
        raise GdnaError(f"starting_path={start}: not found; train the coarse stage first, or give its checkpoint")
    if not losses.looks_at_pictures:
        return None
    experiment = start.parent.parent
    cache = Path(data.cache_path or experiment / CACHE)
    if not cache.is_dir():
        raise GdnaError(f"{cache}: no correspondences; run gdna precompute expname={experiment.name} first")
    return cache
