"""Many scans in one file, each found, checked and decoded without reading the others.

Layout, little-endian: 8 bytes magic, format version (u32), length of the index (u32), the index's sha256, the index
(JSON, deflated), then the scans' bytes one after another (`codec`). Nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.scans.codec import decode, decode_parameters
from gdna.scans.types import About, BodyParameters, PackedScan

SUFFIX = ".gdnapack"
MAGIC = b"GDNAPACK"
FORMAT_VERSION = 1
LICENCE = "CC0-1.0"
HEADER = struct.Struct("<8sII32s")


@dataclass(frozen=True)
class Entry:
    """One scan in the index."""

    about: About
    held_out: bool
    quantum: float  # metres
    num_vertices: int
    num_faces: int
    size: int  # bytes
    sha256: str
    offset: int = 0  # bytes from the beginning of the file

    @property
    def name(self) -> str:
        return self.about.name


@dataclass(frozen=True)
class ScanPack:
    """A pack's index; scans are read when they are asked for."""

    path: Path
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[PackedScan]:
        """All scans, one after another."""
        return (self.read(entry) for entry in self.entries)

    def people(self, held_out: bool | None = None) -> list[Entry]:
        """The first pose of every person: all, those to train on, or the held-out ones."""
        return [e for e in self.entries if e.about.pose_index == 0 and held_out in (None, e.held_out)]

    def find(self, name: str, pose: int = 0) -> Entry:
        """A person's scan in one pose, or a scan by its own name. Raises `GdnaError` where there is none."""
        for entry in self.entries:
            if (entry.about.person, entry.about.pose_index) == (name, pose) or (entry.name == name and pose == 0):
                return entry
        poses = [e.about.pose_index for e in self.entries if e.about.person == name]
        people = sorted({e.about.person for e in self.entries})
        known = f"poses {poses}" if poses else f"{len(people)} people, {people[0]} to {people[-1]}"
        raise GdnaError(f"{self.path}: no scan of person={name} pose={pose}; there are {known}")

    def read(self, entry: Entry) -> PackedScan:
        """One scan, its checksum verified. Raises `GdnaError` where it is damaged."""
        blob = self.read_bytes(entry)
        try:
            surface, body = decode(blob, entry.quantum)
        except (ValueError, zlib.error, IndexError) as error:
            raise GdnaError(
                f"{self.path}: scan {entry.name} cannot be decoded ({error}); get the pack again"
            ) from error
        found = (len(surface.vertices), len(surface.faces))
        if found != (entry.num_vertices, entry.num_faces) or surface.face_labels.max() >= len(entry.about.label_names):
            raise GdnaError(
                f"{self.path}: scan {entry.name} has {found[0]} vertices, {found[1]} faces, label "
                f"{surface.face_labels.max()}; the index says {entry.num_vertices}, {entry.num_faces} and "
                f"{len(entry.about.label_names)} labels; get the pack again"
            )
        return PackedScan(entry.about, surface, body)

    def read_parameters(self, entry: Entry) -> BodyParameters:
        """The body parameters without the mesh. Raises `GdnaError` where the scan is damaged."""
        try:
            return decode_parameters(self.read_bytes(entry))
        except ValueError as error:
            raise GdnaError(
                f"{self.path}: scan {entry.name} cannot be decoded ({error}); get the pack again"
            ) from error

    def read_bytes(self, entry: Entry) -> bytes:
        """A scan's bytes as they lie in the file, verified. Raises `GdnaError` where they are damaged."""
        with self.path.open("rb") as file:
            file.seek(entry.offset)
            blob = file.read(entry.size)
        if hashlib.sha256(blob).hexdigest() != entry.sha256:
            raise GdnaError(f"{self.path}: scan {entry.name} is damaged (its checksum differs); get the pack again")
        return blob


def open_pack(path: Path | str) -> ScanPack:
    """Read a pack's index. Raises `GdnaError` where the file is missing, no pack, of another version, or cut off."""
    path = Path(path)
    if not path.is_file():
        raise GdnaError(f"{path}: no such file; expected a pack of scans (*{SUFFIX})")
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        if len(head) < HEADER.size or not head.startswith(MAGIC):
            raise GdnaError(f"{path}: no pack of scans; expected what `gdna scans pack` wrote")
        _, version, length, digest = HEADER.unpack(head)
        if version != FORMAT_VERSION:
            raise GdnaError(f"{path}: pack format {version}, this gdna reads {FORMAT_VERSION}; update gdna or the pack")
        index = file.read(length)
    if hashlib.sha256(index).digest() != digest:
        raise GdnaError(f"{path}: the pack's index is damaged or cut off; get the pack again")
    entries = _read_index(index, path)
    end = HEADER.size + length + sum(e.size for e in entries)
    if path.stat().st_size != end:
        raise GdnaError(f"{path}: {path.stat().st_size} bytes, the index says {end}; get the pack again")
    return ScanPack(path, entries)


def write_pack(path: Path | str, entries: Sequence[Entry], blobs: Iterable[bytes]) -> ScanPack:
    """Write a pack, whole or not at all; `blobs` are the entries' bytes in their order, and the offsets are set here.

    Raises `GdnaError` where two scans have one name.
    """
    names = [e.name for e in entries]
    for name in names:
        if names.count(name) > 1:
            raise GdnaError(f"{path}: two scans are named {name}; pack sets of one seed, and each scan once")
    path = Path(path)
    index = zlib.compress(
        json.dumps({"licence": LICENCE, "scans": [_as_json(e) for e in entries]}, sort_keys=True).encode(), 9
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(HEADER.pack(MAGIC, FORMAT_VERSION, len(index), hashlib.sha256(index).digest()))
        file.write(index)
        for entry, blob in zip(entries, blobs, strict=True):
            if len(blob) != entry.size:
                raise ValueError(f"{entry.name}: {len(blob)} bytes, its entry says {entry.size}")
            file.write(blob)
    return open_pack(path)


def _as_json(entry: Entry) -> dict[str, Any]:
    words = asdict(replace(entry, about=replace(entry.about, traits=dict(entry.about.traits))))
    del words["offset"]  # follows from the sizes
    return words


def _read_index(index: bytes, path: Path) -> tuple[Entry, ...]:
    place = HEADER.size + len(index)
    entries = []
    try:
        for words in json.loads(zlib.decompress(index))["scans"]:
            about = _about(words.pop("about"))
            entries.append(Entry(about=about, offset=place, **words))
            place += entries[-1].size
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise GdnaError(f"{path}: the pack's index cannot be read ({error}); get the pack again") from error
    if not entries:
        raise GdnaError(f"{path}: a pack without scans")
    return tuple(entries)


def _about(words: Mapping[str, Any]) -> About:
    lists = {key: tuple(words[key]) for key in ("garments", "label_names")}
    return About(**{**words, **lists})
