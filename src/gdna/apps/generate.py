"""`gdna generate`: people and films of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import OUTPUTS, Generate
from gdna.apps.datamodule import smpl_path
from gdna.apps.progress import track
from gdna.generate.loading import CHECKPOINT, SHIPPED_NAME, load
from gdna.generate.runner import generate


def run(keys: Generate) -> None:
    folder = Path(OUTPUTS, keys.expname)
    shipped = keys.expname == SHIPPED_NAME and not (folder / CHECKPOINT).is_file()
    smpl = smpl_path(keys.datamodule.body, keys.datamodule.body_path)
    model = load(None if shipped else folder, keys.device, smpl)
    check_architecture(keys.model, model.network.config, "the shipped model" if shipped else folder)
    out = Path(keys.out) if keys.out else folder / "videos"
    results = generate(model, keys, out, partial(track, label=keys.eval_mode.name, unit="frames"))
    print(f"film:   {results.video}\nsheet:  {results.sheet}")
    for path in results.people:
        print(f"person: {path}")
