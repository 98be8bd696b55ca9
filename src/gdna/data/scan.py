"""Scans on disk: any triangle mesh with the parameters of the body underneath beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gdna.data.scan_params import JOINT_COUNTS, joint_counts, read_params
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.types import Scan

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")
MIN_FACES = 100


@dataclass(frozen=True)
class ScanFiles:
    name: str
    mesh: Path
    params: Path


def find_scans(folder: Path | str, params_folder: Path | str | None = None) -> list[ScanFiles]:
    """All meshes in `folder` or one level below, sorted by name, each with its parameters: `NAME.npz`, `NAME_smpl.pkl`
    or `NAME.pkl` beside the mesh or in `params_folder`.

    Raises `GdnaError` where there is no mesh, two of one name, or a mesh without parameters.
    """
    folder = Path(folder)
    meshes = sorted(p for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.suffix.lower() in MESH_SUFFIXES)
    meshes = [p for p in meshes if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not meshes:
        raise GdnaError(
            f"{folder}: no meshes found; expected {', '.join(MESH_SUFFIXES)} files here or one folder below"
        )
    found: dict[str, ScanFiles] = {}
    for mesh in meshes:
        if mesh.stem in found:
            raise GdnaError(
                f"{mesh}: a second scan of the name {mesh.stem}, beside {found[mesh.stem].mesh}; rename one"
            )
        found[mesh.stem] = ScanFiles(mesh.stem, mesh, find_params(mesh, params_folder))
    return [found[name] for name in sorted(found)]


def find_params(mesh_path: Path, params_folder: Path | str | None = None) -> Path:
    """The parameter file that belongs to a mesh."""
    folders = [mesh_path.parent] if params_folder is None else [Path(params_folder), mesh_path.parent]
    names = (f"{mesh_path.stem}.npz", f"{mesh_path.stem}_smpl.pkl", f"{mesh_path.stem}.pkl")
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise GdnaError(
        f"{mesh_path}: no body parameters beside it; expected {' or '.join(names)} with betas, joint_rotations, "
        "translation and scale"
    )


def read_scan(mesh_path: Path | str, params_path: Path | str | None = None, name: str | None = None) -> Scan:
    """Read a mesh and its body parameters (default: the file `find_params` finds) and move it into the body's frame:
    minus translation, divided by scale. Its name is the mesh's unless one is given. Raises `GdnaError` where anything
    is missing, broken or does not fit."""
    mesh_path = Path(mesh_path)
    params_path = find_params(mesh_path) if params_path is None else Path(params_path)
    vertices, faces = read_mesh(mesh_path)
    params = read_params(params_path)
    moved = (vertices - params.translation) / params.scale
    scan = Scan(name or mesh_path.stem, moved.astype(np.float32), faces, params.betas, params.joint_rotations)
    check_scan(scan, str(mesh_path))
    return scan


def write_scan(folder: Path | str, scan: Scan) -> Path:
    """Write NAME.npz and NAME.ply (binary) into `folder`; returns the mesh's path."""
    import trimesh

    path = Path(folder) / f"{scan.name}.ply"
    with atomic_path(path.with_suffix(".npz")) as temporary:
        np.savez(
            temporary,
            betas=scan.betas,
            joint_rotations=scan.joint_rotations,
            translation=np.zeros(3, np.float32),
            scale=np.float32(1),
        )
    with atomic_path(path) as temporary:
        trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(temporary)
    return path


def read_mesh(path: Path | str) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices and triangles of one file; the parts of a scene are put together, and vertices that differ only in
    texture or normal are united. Raises `GdnaError` where the file is missing, empty, no mesh or damaged."""
    import trimesh

    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        state = "empty" if path.is_file() else "not found"
        raise GdnaError(f"{path}: {state}; expected a triangle mesh ({', '.join(MESH_SUFFIXES)})")
    try:
        mesh = trimesh.load_scene(path, process=False, skip_materials=True).to_mesh()
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable triangle mesh ({type(error).__name__}: {error})") from error
    _check_mesh(vertices, faces, str(path))
    return _unite_vertices(vertices, faces)


def check_scan(scan: Scan, where: str) -> None:
    """Raise `GdnaError` where a scan cannot be worked with; `where` names it in the message."""
    _check_mesh(scan.vertices, scan.faces, where)
    if scan.joint_rotations.shape[1:] != (3,) or len(scan.joint_rotations) not in JOINT_COUNTS:
        raise GdnaError(
            f"{where}: {len(scan.joint_rotations)} joint rotations, expected {joint_counts()} (axis-angle, root first)"
        )
    if not (np.isfinite(scan.betas).all() and np.isfinite(scan.joint_rotations).all()):
        raise GdnaError(f"{where}: body parameters that are not finite; check the registration of this scan")


def _check_mesh(vertices: np.ndarray, faces: np.ndarray, where: str) -> None:
    if faces.ndim != 2 or faces.shape[1:] != (3,) or len(faces) < MIN_FACES:
        raise GdnaError(f"{where}: {len(faces)} triangles, expected at least {MIN_FACES}; is this a scan of a person?")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise GdnaError(
            f"{where}: faces name vertices {faces.min()} to {faces.max()}, there are {len(vertices)}; export it again"
        )
    if not np.isfinite(vertices).all():
        count = int((~np.isfinite(vertices)).any(1).sum())
        raise GdnaError(f"{where}: {count} of {len(vertices)} vertices are not finite; repair or export the mesh again")


def _unite_vertices(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge vertices at exactly the same place: exporters split them along texture seams, and STL at every triangle."""
    keys = np.ascontiguousarray(vertices.astype(np.float32) + 0.0).view(np.dtype((np.void, 12))).ravel()
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    faces = rank[group][faces]
    proper = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return vertices[first[order]], faces[proper]
