"""Raw scans from files: meshes, clouds of points, depth images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gdna.data.scan import MESH_SUFFIXES, read_mesh
from gdna.errors import GdnaError
from gdna.fit.depth import Intrinsics, is_depth_file, read_depth
from gdna.fit.ply_points import read_header, read_points
from gdna.fit.types import RawScan

CLOUD_SUFFIXES = (".ply", ".xyz", ".txt", ".npy", ".npz")
FEWEST_POINTS = 300


def read_raw_scan(path: Path | str, intrinsics: Intrinsics | None = None) -> RawScan:
    """One person from a mesh (OBJ, PLY, GLB, STL, OFF), a cloud (PLY without faces, XYZ; npy or npz of points (N, 3),
    optionally with normals), or a depth image (16-bit PNG in millimetres; npy or npz of metres (H, W)).

    A depth image's intrinsics come from the argument, from the npz itself (fx, fy, cx, cy), or from NAME.json beside
    it; its points lie in the camera's frame, x right, y down, z ahead, and `eye` is the origin. Vertices that no face
    uses, and faces without area, are dropped. Raises `GdnaError` where the file is missing, broken, not of a known
    kind, or has too little in it.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        raise GdnaError(f"{path}: {'empty' if path.is_file() else 'not found'}; expected a scan ({_kinds()})")
    suffix = path.suffix.lower()
    if is_depth_file(path):
        return read_depth(path, intrinsics)
    if intrinsics is not None:
        raise GdnaError(f"{path}: intrinsics are given, but this is no depth image (16-bit PNG, or npy/npz of (H, W))")
    if suffix in (".npy", ".npz", ".xyz", ".txt"):
        return _cloud(path, _numbers(path))
    if suffix == ".ply":
        header = read_header(path)
        if header.faces == 0:
            return _cloud(path, read_points(path, header))
    if suffix in MESH_SUFFIXES:
        return _mesh(path)
    raise GdnaError(f"{path}: unknown kind {suffix or '(no suffix)'}; expected {_kinds()}")


def _kinds() -> str:
    return f"mesh {', '.join(MESH_SUFFIXES)}; points {', '.join(CLOUD_SUFFIXES)}; depth .png, .npy, .npz"


def _mesh(path: Path) -> RawScan:
    vertices, faces = read_mesh(path)
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces = faces[area > 0]
    if len(faces) < FEWEST_POINTS // 3:
        raise GdnaError(f"{path}: {len(faces)} triangles with an area, expected hundreds; is this a scan of a person?")
    return RawScan(path.stem, *_used(vertices, faces), None)


def _used(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "W 3"], Int[np.ndarray, "F 3"]]:
    """Without the vertices that no face uses."""
    kept = np.zeros(len(vertices), bool)
    kept[faces.ravel()] = True
    renamed = np.cumsum(kept) - 1
    return vertices[kept], renamed[faces]


def _cloud(path: Path, numbers: Float[np.ndarray, "N k"]) -> RawScan:
    if numbers.ndim != 2 or numbers.shape[1] < 3:
        raise GdnaError(f"{path}: an array of shape {numbers.shape}; expected points (N, 3), or (N, 6) with normals")
    finite = np.isfinite(numbers[:, :3]).all(1)
    points = numbers[finite, :3].astype(np.float64)
    if len(points) < FEWEST_POINTS:
        raise GdnaError(f"{path}: {len(points)} finite points of {len(numbers)}, expected at least {FEWEST_POINTS}")
    if not (np.ptp(points, 0) > 0).any():
        raise GdnaError(f"{path}: all {len(points)} points lie at one place; export it again")
    return RawScan(path.stem, points, None, _unit_normals(numbers[finite]))


def _unit_normals(numbers: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "N 3"] | None:
    """Columns 3 to 5, where they are directions: unit vectors, but for a few."""
    if numbers.shape[1] < 6:
        return None
    normals = numbers[:, 3:6].astype(np.float64)
    length = np.linalg.norm(normals, axis=1)
    if not np.isfinite(normals).all() or np.median(np.abs(length - 1)) > 0.01 or (length < 1e-6).any():
        return None
    return normals / length[:, None]


def _numbers(path: Path) -> Float[np.ndarray, "N k"]:
    """Rows of numbers of a cloud's file; what is not told apart from colours is left to `_unit_normals`."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False).astype(np.float64)
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                if "points" not in file.files:
                    raise GdnaError(f"{path}: holds {', '.join(file.files)}; expected points (N, 3) or depth (H, W)")
                parts = [file[name] for name in ("points", "normals") if name in file.files]
                return np.concatenate([p.astype(np.float64) for p in parts], axis=1)
        rows = np.loadtxt(path, comments=("#", "//"), delimiter="," if _by_commas(path) else None, ndmin=2)
        return rows.astype(np.float64)
    except GdnaError:
        raise
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not readable as rows of x y z [nx ny nz] ({error})") from error


def _by_commas(path: Path) -> bool:
    with path.open("rb") as file:
        return b"," in file.read(4096)
