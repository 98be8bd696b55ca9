"""Scans named by a list of ids, in whatever folders they were delivered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gdna.data.scan import MESH_SUFFIXES, ScanFiles
from gdna.errors import GdnaError

DEPTH = 3  # folders below the given one in which meshes lie


def find_listed(folder: Path | str, names: Sequence[str], params_folder: Path | str | None = None) -> list[ScanFiles]:
    """The mesh and the parameters of each name, in the list's order.

    A mesh belongs to an id if its own name or a folder above it is the id, or begins with the id and an underscore
    (`rp_alvin_posed_016_OBJ/rp_alvin_posed_016_100k.obj`); of several the largest file is taken. Parameters are
    `ID.npz`, `ID_smpl.pkl` or `ID.pkl`, in `params_folder`, beside the mesh, or in the folders between.

    Raises `GdnaError` at the first id without a mesh or without parameters.
    """
    folder = Path(folder)
    meshes = [path for path in _files(folder) if path.suffix.lower() in MESH_SUFFIXES]
    if not meshes:
        raise GdnaError(
            f"{folder}: no meshes found; expected {', '.join(MESH_SUFFIXES)} files up to {DEPTH} folders below"
        )
    parts = {path: (*path.relative_to(folder).parts[:-1], path.stem) for path in meshes}
    return [_files_of(name, folder, parts, params_folder) for name in names]


def _files_of(
    name: str, folder: Path, parts: dict[Path, tuple[str, ...]], params_folder: Path | str | None
) -> ScanFiles:
    exact = [path for path, names in parts.items() if name in names]
    mine = exact or [path for path, names in parts.items() if any(n.startswith(f"{name}_") for n in names)]
    if not mine:
        raise GdnaError(
            f"{folder}: no mesh of {name}, which the list names; expected {name}.obj or a folder {name} with a mesh "
            f"(also {name}_OBJ and the like)"
        )
    mesh = max(sorted(mine), key=lambda path: path.stat().st_size)
    places = [mesh.parent, *(p for p in mesh.parents if p.is_relative_to(folder))]
    if params_folder is not None:
        places.insert(0, Path(params_folder))
    wanted = (f"{name}.npz", f"{name}_smpl.pkl", f"{name}.pkl")
    for place in places:
        for file in wanted:
            if (place / file).is_file():
                return ScanFiles(name, mesh, place / file)
    raise GdnaError(f"{mesh}: no body parameters; expected {' or '.join(wanted)} in {places[0]} or beside the mesh")


def _files(folder: Path) -> Iterator[Path]:
    for depth in range(DEPTH + 1):
        for path in sorted(folder.glob("/".join("*" * (depth + 1)))):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path
