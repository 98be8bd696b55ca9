"""`gdna preprocess`: scans -> samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gdna.apps.batch import run_batch
from gdna.apps.config import OPEN_SCANS, BodyKind, DataModule, Poses, Preprocess, Split
from gdna.apps.datamodule import body_model, listed_names
from gdna.data.prepare import PrepareSettings, is_prepared, prepare_scan
from gdna.data.scan import find_scans, read_scan
from gdna.data.sharding import shard
from gdna.errors import GdnaError
from gdna.scans.location import find_pack
from gdna.scans.pack import SUFFIX, Entry, ScanPack, open_pack
from gdna.synthesize.scan_file import FILE_NAME, load_scan, to_scan
from gdna.types import Scan


def run(keys: Preprocess) -> None:
    data = keys.datamodule
    body_model(data.body, data.body_path)
    readers = find_readers(data)
    names = listed_names(data) or list(readers)
    missing = [name for name in names if name not in readers]
    if missing:
        raise GdnaError(f"{data.scans_path}: no scan named {missing[0]}, which {data.data_list} lists")
    mine = shard(names, keys.tot, keys.id)
    settings = PrepareSettings(
        points=keys.points, surface_points=keys.surface_points, views=keys.views, image_size=keys.image_size
    )
    waiting = [name for name in mine if not is_prepared(data.dataset_path, name, settings, keys.seed)]
    if len(waiting) < len(mine):
        print(f"{len(mine) - len(waiting)} of {len(mine)} scans are prepared already")
    work = partial(prepare, keys=keys, settings=settings, readers=readers)
    run_batch(waiting, work, "preprocess", "scans", keys.workers)
    print(f"prepared samples: {data.dataset_path}")


def find_readers(data: DataModule) -> dict[str, Callable[[], Scan]]:
    """How each scan is read: from a pack, those that gdna synthesize made, else meshes with parameters beside them."""
    pack = pack_of(data)
    if pack is not None:
        return {entry.name: partial(read_packed, pack, entry) for entry in chosen(pack, data)}
    made = sorted(Path(data.scans_path).glob(f"*/{FILE_NAME}"))
    if made:
        return {path.parent.name: partial(read_synthetic, path.parent) for path in made}
    files = find_scans(data.scans_path, data.params_path)
    return {scan.name: partial(read_scan, scan.mesh, scan.params) for scan in files}


def pack_of(data: DataModule) -> ScanPack | None:
    """The pack that the keys ask for, if they do."""
    if data.scans_path.endswith(SUFFIX):
        return open_pack(data.scans_path)
    if data.body is BodyKind.smpl or data.scans_path != OPEN_SCANS or Path(OPEN_SCANS).exists():
        return None
    try:
        pack = open_pack(find_pack())
    except GdnaError as error:
        raise GdnaError(f"{OPEN_SCANS}: no such folder, and {error}") from error
    print(f"scans: {pack.path}")
    return pack


def chosen(pack: ScanPack, data: DataModule) -> list[Entry]:
    """The pack's scans of the people and poses that the keys ask for. Raises `GdnaError` where there are none."""
    entries = [
        entry
        for entry in pack.entries
        if (data.split is Split.all or entry.held_out == (data.split is Split.held_out))
        and (data.poses is Poses.all or (entry.about.pose_index > 0) == (data.poses is Poses.extra))
    ]
    if not entries:
        raise GdnaError(f"{pack.path}: no scans of datamodule.split={data.split.name} poses={data.poses.name}")
    return entries


def read_packed(pack: ScanPack, entry: Entry) -> Scan:
    return pack.read(entry).to_scan()


def read_synthetic(folder: Path) -> Scan:
    return to_scan(load_scan(folder))


def prepare(name: str, keys: Preprocess, settings: PrepareSettings, readers: dict[str, Callable[[], Scan]]) -> None:
    """One scan."""
    data = keys.datamodule
    prepare_scan(readers[name](), body_model(data.body, data.body_path), data.dataset_path, settings, keys.seed)
