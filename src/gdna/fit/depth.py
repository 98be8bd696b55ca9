"""A depth image of one person as points with normals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gdna.errors import GdnaError
from gdna.fit.types import RawScan

KEYS = ("fx", "fy", "cx", "cy")
JUMP = 0.05  # metres between neighbouring pixels at which the surface ends
FEWEST_PIXELS = 300


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, pixels: focal lengths, and the principal point with the upper left pixel's centre at (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        values = np.array([self.fx, self.fy, self.cx, self.cy])
        if not (np.isfinite(values).all() and self.fx > 0 and self.fy > 0):
            raise GdnaError(
                f"intrinsics fx={self.fx}, fy={self.fy}, cx={self.cx}, cy={self.cy}: expected fx, fy above 0"
            )


def is_depth_file(path: Path) -> bool:
    """Whether a file holds a depth image: a PNG, or an array (H, W) by its shape."""
    suffix = path.suffix.lower()
    if suffix == ".png":
        return True
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return "depth" in file.files
        if suffix == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return len(shape) == 2 and shape[1] not in (3, 6)
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable {suffix} of numbers ({error})") from error
    return False


def read_depth(path: Path, intrinsics: Intrinsics | None = None) -> RawScan:
    """Pixels of depth 0, NaN or infinity, and those where the surface ends, give no point.

    Raises `GdnaError` where the image or its intrinsics are missing or broken.
    """
    depth, values = _depth(path)
    camera = intrinsics or _intrinsics(path, values)
    points, normals = depth_points(depth, camera)
    if len(points) < FEWEST_PIXELS:
        raise GdnaError(
            f"{path}: {len(points)} pixels of {depth.size} with a depth and neighbours, expected at least "
            f"{FEWEST_PIXELS}; a PNG is read as millimetres, an array as metres"
        )
    return RawScan(path.stem, points, None, normals, np.zeros(3))


def depth_points(
    depth: Float[np.ndarray, "H W"], camera: Intrinsics
) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]:
    """Points (metres; x right, y down, z ahead) and unit normals toward the camera, of the pixels that have
    neighbours on both sides, both ways."""
    rows, columns = np.indices(depth.shape)
    good = np.isfinite(depth) & (depth > 0)
    z = np.where(good, depth, 0.0)
    grid = np.stack([(columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z, z], -1)
    across, down = grid[1:-1, 2:] - grid[1:-1, :-2], grid[2:, 1:-1] - grid[:-2, 1:-1]
    normals = np.cross(down, across)
    length = np.linalg.norm(normals, axis=-1)
    inner = grid[1:-1, 1:-1]
    kept = _connected(z, good) & (length > 0)
    normals = normals[kept] / length[kept][:, None]
    points = inner[kept]
    away = (normals * points).sum(1) > 0
    normals[away] *= -1
    return points, normals


def _connected(z: Float[np.ndarray, "H W"], good: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "h w"]:
    """Inner pixels whose four neighbours are there and about as deep."""
    middle = z[1:-1, 1:-1]
    kept = good[1:-1, 1:-1].copy()
    for near, there in (
        (z[1:-1, 2:], good[1:-1, 2:]), (z[1:-1, :-2], good[1:-1, :-2]),
        (z[2:, 1:-1], good[2:, 1:-1]), (z[:-2, 1:-1], good[:-2, 1:-1]),
    ):  # fmt: skip
        kept &= there & (np.abs(near - middle) < JUMP)
    return kept


def _depth(path: Path) -> tuple[Float[np.ndarray, "H W"], Mapping[str, Any]]:
    values: dict[str, Any] = {}
    try:
        if path.suffix.lower() == ".png":
            depth = _png(path)
        elif path.suffix.lower() == ".npy":
            depth = np.load(path, allow_pickle=False).astype(np.float64)
        else:
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
            depth = values["depth"].astype(np.float64)
    except GdnaError:
        raise
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not a readable depth image ({error})") from error
    if depth.ndim != 2 or min(depth.shape) < 3:
        raise GdnaError(f"{path}: depth of shape {depth.shape}; expected one number a pixel (H, W)")
    return depth, values


def _png(path: Path) -> Float[np.ndarray, "H W"]:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("I;16", "I;16B", "I"):
            raise GdnaError(
                f"{path}: an image of mode {image.mode}; expected a depth image, 16-bit grey in millimetres"
            )
        return np.asarray(image).astype(np.float64) / 1000


def _intrinsics(path: Path, values: Mapping[str, Any]) -> Intrinsics:
    """From the values beside the depth, or NAME.json beside the file."""
    beside = path.with_suffix(".json")
    source: Mapping[str, Any] = values
    if not all(key in values for key in KEYS):
        if not beside.is_file():
            raise GdnaError(f"{path}: no camera; expected fx, fy, cx, cy (pixels) in {beside.name} beside it, or given")
        try:
            source = json.loads(beside.read_text())
        except (OSError, ValueError) as error:
            raise GdnaError(f"{beside}: not readable as JSON ({error}); expected fx, fy, cx, cy (pixels)") from error
    try:
        return Intrinsics(*(float(np.asarray(source[key]).reshape(())) for key in KEYS))
    except (KeyError, TypeError, ValueError) as error:
        raise GdnaError(
            f"{beside}: no usable camera ({error}); expected the numbers fx, fy, cx, cy (pixels)"
        ) from error
