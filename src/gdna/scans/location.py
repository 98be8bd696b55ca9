"""Where the pack lies when nobody says so."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from gdna.errors import GdnaError

FILE_NAME = "open_scans.gdnapack"
HERE = Path("data", FILE_NAME)


def find_pack(path: str | None = None) -> Path:
    """`path`, else data/open_scans.gdnapack in the working folder, else the one shipped in this package.

    Raises `GdnaError` where there is none.
    """
    if path is not None:
        return Path(path)
    shipped = Path(str(resources.files("gdna.scans").joinpath("released", FILE_NAME)))
    for place in (HERE, shipped):
        if place.is_file():
            return place
    raise GdnaError(
        f"no pack of open scans: neither {HERE} nor {shipped}; name the file, or make scans (gdna synthesize) "
        "and a pack of them (gdna scans pack)"
    )
