"""The keys of `gdna scans ACTION`. Free of torch and hydra, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from gdna.errors import GdnaError
from gdna.keys import key

WHICH_PACK = "the pack; null: data/open_scans.gdnapack, else the shipped one"


@dataclass(frozen=True)
class ScansVerify:
    """Keys of `gdna scans verify`."""

    pack: str | None = key(None, WHICH_PACK)


@dataclass(frozen=True)
class ScansExport:
    """Keys of `gdna scans export`."""

    pack: str | None = key(None, WHICH_PACK)
    held_out: int | None = key(None, "which of the held-out people, from 0")
    person: str | None = key(None, "a person's name, or a scan's")
    pose: int = key(0, "which of the person's poses, from 0")
    out: str = key("outputs/scans", "folder of NAME.ply and NAME.npz")

    def __post_init__(self) -> None:
        if self.held_out is not None and self.person is not None:
            raise GdnaError(f"held_out={self.held_out} person={self.person}: give one of them")


@dataclass(frozen=True)
class ScansPack:
    """Keys of `gdna scans pack`."""

    source: tuple[str, ...] = key(("data/open_scans",), "folders of gdna synthesize, and packs of other machines")
    out: str = key("data/open_scans.gdnapack", "the pack")
    quantum: float = key(0.25, "millimetres between the places that a vertex can take; larger is smaller on disk")
    workers: int = key(1, "processes on this machine; the pack is the same whatever their number")

    def __post_init__(self) -> None:
        if not self.source or not 0.01 <= self.quantum <= 5:
            raise GdnaError(
                f"source={list(self.source)} quantum={self.quantum}: expected at least one folder, 0.01 to 5 mm"
            )


@dataclass(frozen=True)
class ScansSheet:
    """Keys of `gdna scans sheet`."""

    pack: str | None = key(None, WHICH_PACK)
    out: str = key("outputs/scans/sheets", "folder of the pictures")
    people: int | None = key(None, "only so many people; null: all")
    extra_poses: bool = key(False, "the extra poses too")
    image_size: int = key(640, "pixels of a view, which is 2.6 m across and then cut to the person")
    rows: int = key(4, "people on a sheet")
    workers: int = key(1, "processes on this machine")


@dataclass(frozen=True)
class ScansDatasheet:
    """Keys of `gdna scans datasheet`."""

    pack: str | None = key(None, WHICH_PACK)
    out: str = key("docs/scans.md", "text whose tables are filled in between their markers")
    images: str = key("docs/images", "folder of the plots")
