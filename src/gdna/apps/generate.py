"""`gdna generate`: people and films of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gdna.apps.checkpoint import check_architecture
from gdna.apps.config import Generate
from gdna.apps.opened_model import open_model
from gdna.apps.progress import track
from gdna.generate.runner import generate


def run(keys: Generate) -> None:
    opened = open_model(keys.expname, keys.datamodule, keys.device)
    where = "the shipped model" if opened.shipped else opened.folder
    check_architecture(keys.model, opened.model.network.config, where)
    out = Path(keys.out) if keys.out else opened.folder / "videos"
    results = generate(opened.model, keys, out, partial(track, label=keys.eval_mode.name, unit="frames"))
    print(f"film:   {results.video}\nsheet:  {results.sheet}")
    if results.thrown:
        print(f"torn:   {results.thrown} random people, others of the following seeds came in their place")
    for path in results.people:
        print(f"person: {path}")
