"""`gdna precompute`: the correspondence cache of a coarse model."""

from __future__ import annotations

from pathlib import Path

from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import CACHE, OUTPUTS, Precompute
from gdna.apps.import_checkpoint import import_where_needed
from gdna.generate.loading import checkpoint_path, pick_device
from gdna.model.checkpoint import load_config
from gdna.train.cache import CacheSettings, build_cache


def run(keys: Precompute) -> None:
    folder = Path(OUTPUTS, keys.expname)
    import_where_needed(folder, keys.datamodule)
    model = checkpoint_path(folder)
    check_architecture(keys.model, load_config(model), folder)
    cache = Path(keys.datamodule.cache_path or folder / CACHE)
    device = pick_device(keys.device)
    build_cache(
        model,
        keys.datamodule.dataset_path,
        cache,
        CacheSettings(keys.method.value),
        agent_tot=keys.agent_tot,
        agent_id=keys.agent_id,
        device=device,
    )
    print(f"correspondences: {cache}")
