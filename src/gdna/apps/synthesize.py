"""`gdna synthesize`: open scans."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from gdna.apps.batch import run_batch
from gdna.apps.config import Rest, Synthesize
from gdna.data.sharding import shard
from gdna.errors import GdnaError
from gdna.export.ply import write_ply
from gdna.geometry.mesh import vertex_normals
from gdna.render.camera import Orthographic
from gdna.render.shade import shaded_image
from gdna.render.video import contact_sheet, save_png
from gdna.synthesize.person import synthesize
from gdna.synthesize.scan_file import AT_REST, FILE_NAME, SyntheticScan, load_scan, scan_name
from gdna.types import PosedMesh

SHEET_SCANS, SHEET_COLUMNS = 20, 10
POSES = "_poses"  # extra poses lie in a folder of their own: they are for evaluation, not further people to train on
REST = "_rest"


def run(keys: Synthesize) -> None:
    asked = asked_for(keys)
    folders = {scan.name: scan.folder(keys.out) for scan in asked}
    of_name = {scan.name: scan for scan in asked}
    mine = shard(list(of_name), keys.tot, keys.id)
    waiting = [name for name in mine if not is_made(folders[name], keys.seed)]
    if len(waiting) < len(mine):
        print(f"{len(mine) - len(waiting)} of {len(mine)} scans are there already")
    run_batch(waiting, partial(make, keys=keys, asked=of_name, folders=folders), "synthesize", "scans", keys.workers)
    written = [keys.out + kind for kind in ("", POSES, REST) if any(scan.kind == kind for scan in asked)]
    sheet = Path(written[0], f"sheet_{keys.id:03d}.png")
    save_png(sheet, contact_sheet([picture(folders[name]) for name in mine[:SHEET_SCANS]], SHEET_COLUMNS))
    for folder in written:
        print(f"scans: {folder}")
    print(f"sheet: {sheet}")


@dataclass(frozen=True)
class Asked:
    """A scan to be made; its name says whose it is, so that evaluation finds the person again."""

    person: int
    pose: int

    @property
    def name(self) -> str:
        return scan_name(self.person, self.pose)

    @property
    def kind(self) -> str:
        """The end of its folder's name."""
        return POSES if self.pose > 0 else REST if self.pose == AT_REST else ""

    def folder(self, out: str) -> Path:
        return Path(out + self.kind, self.name)


def asked_for(keys: Synthesize) -> list[Asked]:
    """Person by person: at rest, the first pose, extra poses."""
    posed = keys.count if keys.extra_people is None else min(keys.extra_people, keys.count)
    counts = [1 + keys.extra_poses] * posed + [1] * (keys.count - posed)
    first = 0 if keys.rest is Rest.none else AT_REST
    return [
        Asked(person, pose)
        for person, count in enumerate(counts)
        for pose in range(first, 0 if keys.rest is Rest.only else count)
    ]


def make(name: str, keys: Synthesize, asked: dict[str, Asked], folders: dict[str, Path]) -> None:
    """One scan."""
    scan = synthesize(keys.seed, asked[name].person, pose_index=asked[name].pose)
    scan.save(folders[name])
    if keys.ply:
        mesh = as_mesh(scan)
        write_ply(folders[name] / f"{name}.ply", mesh.vertices, mesh.faces, mesh.normals)


def is_made(folder: Path, seed: int) -> bool:
    """Whether the scan is there. Raises `GdnaError` where another seed's is."""
    if not (folder / FILE_NAME).is_file():
        return False
    try:
        found = load_scan(folder).seed
    except GdnaError:  # broken: made again
        return False
    if found != seed:
        raise GdnaError(f"{folder}: a scan of seed={found}, not of seed={seed}; write to another folder (out=)")
    return True


def as_mesh(scan: SyntheticScan) -> PosedMesh:
    """The faces that can be seen, with their normals."""
    vertices, faces = torch.from_numpy(scan.vertices), torch.from_numpy(scan.faces[scan.visible]).long()
    return PosedMesh(vertices, faces, vertex_normals(vertices, faces))


def picture(folder: Path) -> UInt8[np.ndarray, "H W 3"]:
    return shaded_image(as_mesh(load_scan(folder)), Orthographic())
