"""A pack from folders of `gdna synthesize`, and from other packs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from gdna.data.people import person_of
from gdna.errors import GdnaError
from gdna.scans.codec import QUANTUM, encode
from gdna.scans.pack import SUFFIX, Entry, ScanPack, open_pack, write_pack
from gdna.scans.split import held_out_people
from gdna.scans.types import About, BodyParameters, PackedScan, Surface
from gdna.synthesize.scan_file import FILE_NAME, load_scan


@dataclass(frozen=True)
class Packed:
    """A scan's place in the index and its bytes."""

    entry: Entry
    blob: bytes


PackPlace = Callable[[Path], list[Packed]]
PackPlaces = Callable[[PackPlace, Sequence[Path]], Iterable[list[Packed]]]


def pack_scan(scan: PackedScan, quantum: float = QUANTUM) -> Packed:
    """Encode one scan. Raises `GdnaError` where its mesh cannot be coded."""
    try:
        blob = encode(scan.surface, scan.body, quantum)
    except ValueError as error:
        raise GdnaError(f"scan {scan.about.name}: {error}") from error
    entry = Entry(
        about=scan.about,
        held_out=False,
        quantum=quantum,
        num_vertices=len(scan.surface.vertices),
        num_faces=len(scan.surface.faces),
        size=len(blob),
        sha256=hashlib.sha256(blob).hexdigest(),
    )
    return Packed(entry, blob)


def build_pack(
    out: Path | str, sources: Sequence[Path | str], quantum: float = QUANTUM, pack_places: PackPlaces = map
) -> ScanPack:
    """Write `out` from all scans of `sources`, which are folders of scans or packs, sorted by person and pose; whom it
    holds out is decided anew among all the people. `pack_places` calls its function with each place, in order, like
    `map`.

    Raises `GdnaError` where a source has no scans, a scan is broken, or two have one name.
    """
    places = [place for source in sources for place in find_sources(source)]
    packed = [one for found in pack_places(partial(pack_place, quantum=quantum), places) for one in found]
    packed.sort(key=lambda p: (p.entry.about.person, p.entry.about.pose_index))
    chosen = held_out_people({p.entry.about.person: p.entry.about.garments for p in packed})
    entries = [replace(p.entry, held_out=p.entry.about.person in chosen) for p in packed]
    return write_pack(out, entries, (p.blob for p in packed))


def find_sources(source: Path | str) -> list[Path]:
    """The pack itself, or the scans' folders below a folder. Raises `GdnaError` where there is nothing."""
    source = Path(source)
    if source.suffix == SUFFIX:
        return [source]
    found = sorted(path.parent for path in source.glob(f"*/{FILE_NAME}"))
    if not found:
        raise GdnaError(f"{source}: no scans; expected */{FILE_NAME} of gdna synthesize, or a pack (*{SUFFIX})")
    return found


def read_folder(folder: Path | str) -> PackedScan:
    """A scan as `gdna synthesize` wrote it. Raises `GdnaError` where it is missing or broken."""
    scan = load_scan(folder)
    with np.load(Path(folder) / FILE_NAME, allow_pickle=False) as file:
        words, translation = json.loads(str(file["description"])), file["translation"]
    traits = words.get("traits", {})
    version = traits.pop("generator_version", words.get("generator_version"))
    about = About(
        name=scan.name,
        person=person_of(scan.name),
        pose_index=scan.pose_index,
        garments=scan.garments,
        label_names=scan.label_names,
        seed=scan.seed,
        index=scan.index,
        generator_version=int(version),
        traits=traits,
    )
    surface = Surface(scan.vertices, scan.faces, scan.face_labels, scan.visible)
    body = BodyParameters(scan.betas, scan.joint_rotations, scan.joints, translation)
    return PackedScan(about, surface, body)


def pack_place(place: Path, quantum: float) -> list[Packed]:
    """The scans of a pack as they are there, or the one of a folder, encoded."""
    if place.suffix != SUFFIX:
        return [pack_scan(read_folder(place), quantum)]
    pack: ScanPack = open_pack(place)
    return [Packed(entry, pack.read_bytes(entry)) for entry in pack.entries]
