"""`gdna preprocess`: scans -> samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gdna.apps.batch import run_batch
from gdna.apps.config import OPEN_SCANS, BodyKind, DataModule, Poses, Preprocess, Split
from gdna.apps.datamodule import body_of, listed_names
from gdna.data.original_samples import adopt_original, original_names
from gdna.data.prepare import PrepareSettings, is_prepared, prepare_scan
from gdna.data.scan import ScanFiles, find_scans, read_scan
from gdna.data.scan_list import find_listed
from gdna.data.sharding import shard
from gdna.errors import GdnaError
from gdna.scans.location import find_pack
from gdna.scans.pack import SUFFIX, Entry, ScanPack, open_pack
from gdna.synthesize.scan_file import FILE_NAME, load_scan, to_scan
from gdna.types import Scan


def run(keys: Preprocess) -> None:
    data = keys.datamodule
    body = body_of(data)
    adopt(data, keys.workers, keys.tot, keys.id)
    theirs = original_names(data.dataset_path)
    if theirs and not Path(data.scans_path).exists():
        return
    readers = find_readers(data)
    mine = shard([name for name in readers if name not in theirs], keys.tot, keys.id)
    settings = PrepareSettings(
        points=keys.points, surface_points=keys.surface_points, views=keys.views, image_size=keys.image_size
    )
    waiting = [name for name in mine if not is_prepared(data.dataset_path, name, body, settings, keys.seed)]
    if len(waiting) < len(mine):
        print(f"{len(mine) - len(waiting)} of {len(mine)} scans are prepared already")
    work = partial(prepare, keys=keys, settings=settings, readers=readers)
    run_batch(waiting, work, "preprocess", "scans", keys.workers)
    print(f"prepared samples: {data.dataset_path}")


def find_readers(data: DataModule) -> dict[str, Callable[[], Scan]]:
    """How each scan is read: from a pack, those that gdna synthesize made, else meshes with parameters beside them.
    With a list, those it names, in its order."""
    pack = pack_of(data)
    if pack is not None:
        return _listed({e.name: partial(read_packed, pack, e) for e in chosen(pack, data)}, data, pack.path)
    made = sorted(Path(data.scans_path).glob(f"*/{FILE_NAME}"))
    if made:
        return _listed({path.parent.name: partial(read_synthetic, path.parent) for path in made}, data, data.scans_path)
    listed = listed_names(data)
    files = find_listed(data.scans_path, listed, data.params_path) if listed else None
    files = find_scans(data.scans_path, data.params_path) if files is None else files
    names = [scan.name for scan in files] if data.one_person is None else poses_of(data.one_person, files)
    return {name: partial(read_scan, scan.mesh, scan.params, name) for name, scan in zip(names, files, strict=True)}


def _listed(readers: dict[str, Callable[[], Scan]], data: DataModule, where: object) -> dict[str, Callable[[], Scan]]:
    """Those that the list names; all where there is none."""
    names = listed_names(data)
    missing = [name for name in names or [] if name not in readers]
    if missing:
        raise GdnaError(f"{where}: no scan named {missing[0]}, which {data.data_list} lists")
    return {name: readers[name] for name in names or readers}


def poses_of(person: str, files: Sequence[ScanFiles]) -> list[str]:
    """Names under which scans of one person share its code: PERSON_pose3, by the number at the end of the file's name,
    or counted where there is none."""
    numbers = [int(digits) if (digits := _last_digits(scan.name)) else None for scan in files]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(files) + 1))
    return [f"{person}_pose{number}" for number in numbers]


def _last_digits(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]


def pack_of(data: DataModule) -> ScanPack | None:
    """The pack that the keys ask for, if they do."""
    if data.scans_path.endswith(SUFFIX):
        return open_pack(data.scans_path)
    if data.body is not BodyKind.open or data.scans_path != OPEN_SCANS or Path(OPEN_SCANS).exists():
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
    prepare_scan(readers[name](), body_of(data), data.dataset_path, settings, keys.seed)


def adopt(data: DataModule, workers: int = 1, tot: int = 1, index: int = 0) -> None:
    """Make the scans that the original has prepared ready for training, where there are any."""
    waiting = shard(original_names(data.dataset_path, new=True), tot, index)
    if waiting:
        print(f"{data.dataset_path}: {len(waiting)} scans were prepared by the original; they are used as they are")
        run_batch(waiting, partial(adopt_one, data=data), "preprocess", "scans", workers)


def adopt_one(name: str, data: DataModule) -> None:
    """One scan."""
    adopt_original(data.dataset_path, name, body_of(data))
