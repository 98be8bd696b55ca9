"""`gdna precompute`: the correspondence cache of a coarse model."""

from __future__ import annotations

from pathlib import Path

from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import CACHE, OUTPUTS, Precompute
from gdna.apps.datamodule import body_of
from gdna.apps.import_checkpoint import import_where_needed
from gdna.generate.loading import body_on, checkpoint_path, pick_device
from gdna.model.checkpoint import load_config
from gdna.train.cache import CacheSettings, build_cache
from gdna.train.random_people import build_random_people


def run(keys: Precompute) -> None:
    folder = Path(OUTPUTS, keys.expname)
    import_where_needed(folder, keys.datamodule)
    model = checkpoint_path(folder)
    check_architecture(keys.model, load_config(model), folder)
    cache = Path(keys.datamodule.cache_path or folder / CACHE)
    device = pick_device(keys.device)
    where = model, keys.datamodule.dataset_path, cache
    tot, own = keys.agent_tot, keys.agent_id
    build_cache(*where, CacheSettings(keys.method.value), agent_tot=tot, agent_id=own, device=device)
    if keys.random_people:
        body = body_on(body_of(keys.datamodule), device)
        build_random_people(*where, body, keys.random_people, agent_tot=tot, agent_id=own, device=device)
    print(f"correspondences: {cache}")
