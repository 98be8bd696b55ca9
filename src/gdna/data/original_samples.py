"""Scans that the original has prepared: `occupancy.npz`, `surface.npz`, `multi_view_256/0000_normal.png` and so on.

They are used as they are: the same points, labels, normals and pictures. What they lack, the posed body, is computed
once; it is kept, with the points in this code's half as large format, as `samples.safetensors` beside them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from gdna.body.interface import BodyModel
from gdna.data.prepare import BOX_MARGIN
from gdna.data.sample_file import BODY, SAMPLES, ScanSamples, normal_map_path, to_fixed, write_samples
from gdna.data.scan_body import pose_scan_body, write_body_once
from gdna.data.scan_params import params_from
from gdna.errors import GdnaError

OCCUPANCY, SURFACE = "occupancy.npz", "surface.npz"
IMAGE_SIZE = 256
HELD_OUT_SHARE = 20  # one in so many points is kept from training, as a scan's own held-out points are


def original_names(folder: Path | str, new: bool = False) -> list[str]:
    """Scans of a folder that the original has prepared, sorted; if `new`, only those not yet adopted."""
    found = (path.parent for path in Path(folder).glob(f"*/{OCCUPANCY}"))
    return sorted(path.name for path in found if not (new and (path / SAMPLES).is_file()))


def adopt_original(folder: Path | str, name: str, body: BodyModel) -> Path:
    """Write `samples.safetensors` beside the original's files. Raises `GdnaError` where one of them is missing, broken
    or does not fit."""
    folder = Path(folder)
    scan_dir = folder / name
    occupancy = _load(scan_dir / OCCUPANCY, ("pts_d", "occ_gt", "smpl_params"))
    surface = _load(scan_dir / SURFACE, ("surface_points", "surface_normals"))
    params = params_from({"smpl_params": occupancy["smpl_params"]}, scan_dir / OCCUPANCY)

    def moved(points: np.ndarray) -> Float[np.ndarray, "n 3"]:
        return (points.reshape(-1, 3) - params.translation) / params.scale

    points, inside = moved(occupancy["pts_d"]), occupancy["occ_gt"].reshape(-1) > 0.5
    if len(points) != len(inside) or len(points) % 2:
        raise GdnaError(
            f"{scan_dir / OCCUPANCY}: {len(points)} points and {len(inside)} labels; prepare the scan again"
        )
    under = pose_scan_body(name, params.betas, params.joint_rotations, body)
    train, held_out = _split(points, inside)
    write_body_once(folder / BODY, body)
    samples = ScanSamples(
        occupancy_points=to_fixed(torch.from_numpy(points[train])),
        occupancy=torch.from_numpy(inside[train]),
        surface_points=to_fixed(torch.from_numpy(moved(surface["surface_points"]))),
        surface_normals=to_fixed(torch.from_numpy(surface["surface_normals"].reshape(-1, 3))),
        held_out_points=to_fixed(torch.from_numpy(points[held_out])),
        held_out_occupancy=torch.from_numpy(inside[held_out]),
        **under.fields(),
    )
    stamp = {
        "points": len(samples.occupancy) // 2,
        "surface_points": len(samples.surface_points),
        "views": _count_views(scan_dir),
        "image_size": IMAGE_SIZE,
        "from": OCCUPANCY,
    }
    write_samples(scan_dir / SAMPLES, samples, {"settings": json.dumps(stamp)})
    return scan_dir


def _split(points: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on (near ones first, as many in the box) and held out (in the scan's own box first)."""
    half = len(points) // 2
    kept = half - half // HELD_OUT_SHARE
    near, box = np.arange(half), np.arange(half, 2 * half)
    shape = points[near[inside[near]]] if inside[near].any() else points[near]
    low, high = shape.min(0) - BOX_MARGIN, shape.max(0) + BOX_MARGIN
    spare = box[kept:]
    spare = spare[((points[spare] >= low) & (points[spare] <= high)).all(1)]
    if len(spare) == 0:
        raise GdnaError("none of the last points in the box is near the scan; prepare the scan again")
    spare = np.resize(spare, half - kept)  # the box is far larger than the scan: some count several times
    return np.concatenate([near[:kept], box[:kept]]), np.concatenate([spare, near[kept:]])


def _count_views(scan_dir: Path) -> int:
    count = 0
    while normal_map_path(scan_dir, count, IMAGE_SIZE).is_file():
        count += 1
    if count == 0:
        raise GdnaError(f"{normal_map_path(scan_dir, 0, IMAGE_SIZE)}: not found; the original writes 18 normal maps")
    return count


def _load(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise GdnaError(f"{path}: not found; expected what the original's preprocessing writes")
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in names}
    except Exception as error:  # a broken file can make the reader raise anything
        raise GdnaError(f"{path}: not readable ({error}); expected {', '.join(names)}") from error
    broken = [name for name, value in values.items() if value.dtype.kind not in "fiub" or not np.isfinite(value).all()]
    if broken:
        raise GdnaError(f"{path}: {broken[0]} is not made of finite numbers; prepare the scan again")
    return {name: value.astype(np.float64) for name, value in values.items()}
