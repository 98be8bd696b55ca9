"""`gdna scans sheet`: every person from four sides, and all people on one picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gdna.apps.batch import run_batch
from gdna.apps.config_scans import ScansSheet
from gdna.render.video import contact_sheet, save_png
from gdna.scans.location import find_pack
from gdna.scans.pack import ScanPack, open_pack
from gdna.scans.pictures import four_sides, front, fronts

FRONTS, SIDES = "fronts", "people"
OVERVIEW_COLUMNS = 20
OVERVIEW_SIZE = 220  # pixels


def run(keys: ScansSheet) -> None:
    pack, out = open_pack(find_pack(keys.pack)), Path(keys.out)
    entries = pack.people()[: keys.people]
    if keys.extra_poses:
        people = {e.about.person for e in entries}
        entries = [e for e in pack.entries if e.about.person in people]
    names = [e.name for e in entries]
    run_batch(names, partial(draw, pack=pack, keys=keys), "sheet", "scans", keys.workers)
    labels = [f"{e.name}*" if e.held_out else e.name for e in entries]
    small = fronts([read_png(out / FRONTS / f"{name}.png") for name in names])
    save_png(out / "overview.png", contact_sheet(small, OVERVIEW_COLUMNS, pad=0, labels=labels))
    for first in range(0, len(names), keys.rows):
        page = slice(first, first + keys.rows)
        rows = [read_png(out / SIDES / f"{name}.png") for name in names[page]]
        about = [
            f"{label}: {', '.join(e.about.garments)}" for label, e in zip(labels[page], entries[page], strict=True)
        ]
        save_png(out / f"sheet_{first // keys.rows:03d}.png", contact_sheet(rows, 2, labels=about))
    print(f"all people: {out / 'overview.png'} (* held out)\nfrom four sides: {out}/sheet_*.png")


def draw(name: str, pack: ScanPack, keys: ScansSheet) -> None:
    """One scan's pictures."""
    scan = pack.read(pack.find(name))
    save_png(Path(keys.out, SIDES, f"{name}.png"), four_sides(scan, keys.image_size))
    save_png(Path(keys.out, FRONTS, f"{name}.png"), front(scan, OVERVIEW_SIZE))


def read_png(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
