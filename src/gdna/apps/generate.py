"""`gdna generate`: people and films of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import OUTPUTS, Generate
from gdna.apps.datamodule import model_body
from gdna.apps.import_checkpoint import import_where_needed
from gdna.apps.progress import track
from gdna.generate.loading import CHECKPOINT, SHIPPED_NAME, checkpoint_path, load
from gdna.generate.runner import generate
from gdna.model.checkpoint import load_config


def run(keys: Generate) -> None:
    folder = Path(OUTPUTS, keys.expname)
    import_where_needed(folder, keys.datamodule)
    shipped = keys.expname == SHIPPED_NAME and not (folder / CHECKPOINT).is_file()
    smpl = None if shipped else model_body(keys.datamodule, load_config(checkpoint_path(folder)))
    model = load(None if shipped else folder, keys.device, smpl)
    check_architecture(keys.model, model.network.config, "the shipped model" if shipped else folder)
    out = Path(keys.out) if keys.out else folder / "videos"
    results = generate(model, keys, out, partial(track, label=keys.eval_mode.name, unit="frames"))
    print(f"film:   {results.video}\nsheet:  {results.sheet}")
    for path in results.people:
        print(f"person: {path}")
