"""From a scan to what training draws from: occupancy samples, surface samples, normal maps, the posed body."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from gdna.body.interface import BodyModel
from gdna.data.inside import Solids
from gdna.data.sample_file import (
    BODY,
    SAMPLES,
    ScanSamples,
    from_fixed,
    normal_map_path,
    read_settings,
    to_fixed,
    write_samples,
)
from gdna.data.scan import check_scan
from gdna.data.scan_body import ScanBody, pose_scan_body, write_body_once
from gdna.data.solid import has_hollow_mouth, with_filled_mouth
from gdna.data.surface import orient_outward, sample_outer, vertex_normals
from gdna.errors import GdnaError
from gdna.geometry.rotations import rotation_y
from gdna.render.camera import Orthographic
from gdna.render.png import write_png
from gdna.render.shade import picture_normals
from gdna.types import PosedBody, PosedMesh, Scan

NEAR_SIGMA = 0.01  # metres
BOX_MARGIN = 0.05  # metres around the scan for the held-out points


@dataclass(frozen=True)
class PrepareSettings:
    """How much is sampled of a scan; the defaults are the original's numbers."""

    points: int = 100_000  # near the surface, and as many uniform in the box
    surface_points: int = 100_000
    held_out: int = 20_000  # uniform, and as many near the surface
    views: int = 18
    image_size: int = 256


def prepare_scan(
    scan: Scan, body: BodyModel, out_dir: Path | str, settings: PrepareSettings | None = None, seed: int = 0
) -> Path:
    """Write the folder `out_dir`/NAME, whole or not at all, replacing an older one; once also `body.safetensors`.

    The result depends on scan, body, settings, seed and name only. Raises `GdnaError` where the scan is unusable or
    does not fit its body.
    """
    settings = settings or PrepareSettings()
    out_dir = Path(out_dir)
    if Path(scan.name).name != scan.name or scan.name.startswith("."):
        raise GdnaError(f"scan {scan.name!r}: expected a name for a folder, without slashes or a leading dot")
    check_scan(scan, f"scan {scan.name}")
    write_body_once(out_dir / BODY, body)
    under = pose_scan_body(scan.name, scan.betas, scan.joint_rotations, body)
    _check_fit(scan, under.posed)
    scan = with_filled_mouth(scan, under.posed.vertices[0].numpy(), body)
    rng = np.random.default_rng([seed, zlib.crc32(scan.name.encode())])
    faces = orient_outward(scan.vertices, scan.faces.astype(np.int64))
    try:
        samples = _sample(scan, faces, under, settings, rng)
    except GdnaError as error:
        raise GdnaError(f"scan {scan.name}: {error}") from error
    with _whole_folder(out_dir / scan.name) as folder:
        _write_normal_maps(folder, scan.vertices, faces, settings)
        write_samples(folder / SAMPLES, samples, {"settings": json.dumps(_stamp(body, settings, seed))})
    return out_dir / scan.name


def is_prepared(
    out_dir: Path | str, name: str, body: BodyModel, settings: PrepareSettings | None = None, seed: int = 0
) -> bool:
    """Whether the scan is there, prepared with this body in just this way, so that an interrupted run goes on where it
    stopped."""
    return read_settings(Path(out_dir) / name / SAMPLES) == _stamp(body, settings or PrepareSettings(), seed)


def _stamp(body: BodyModel, settings: PrepareSettings, seed: int) -> dict[str, Any]:
    filled: dict[str, Any] = {"filled": ["mouth"]} if has_hollow_mouth(body) else {}
    return {**asdict(settings), "seed": seed, **filled}


def _check_fit(scan: Scan, posed: PosedBody) -> None:
    """The commonest mistakes: millimetres or centimetres, another up axis, the translation left in."""
    joints = posed.joints[0].numpy()
    low, high = scan.vertices.min(0), scan.vertices.max(0)
    size, body_size = float((high - low).max()), float(np.ptp(joints, axis=0).max())
    if not 0.8 < size / body_size < 2:
        raise GdnaError(
            f"scan {scan.name}: {size:.3g} m across, its body's joints {body_size:.3g} m; expected metres and a scan "
            "that fits its body (check unit and scale)"
        )
    within = float(((joints > low - 0.1) & (joints < high + 0.1)).all(1).mean())
    if within < 0.8:
        raise GdnaError(
            f"scan {scan.name}: only {within:.0%} of the body's joints lie within the scan's bounding box; check the "
            "translation, that y is up and that the person faces +z in the zero pose"
        )


def _sample(
    scan: Scan,
    faces: Int[np.ndarray, "F 3"],
    under: ScanBody,
    settings: PrepareSettings,
    rng: np.random.Generator,
) -> ScanSamples:
    vertices = scan.vertices.astype(np.float64)
    count = max(settings.points, settings.surface_points)
    solids = Solids.of(vertices, faces)
    surface, normals = sample_outer(solids, count + settings.held_out, rng)
    near = surface + rng.normal(0, NEAR_SIGMA, surface.shape)
    low, high = vertices.min(0) - BOX_MARGIN, vertices.max(0) + BOX_MARGIN
    groups = (
        near[: settings.points],
        rng.uniform(-1, 1, (settings.points, 3)),
        rng.uniform(low, high, (settings.held_out, 3)),
        near[count:],
    )
    points = to_fixed(torch.from_numpy(np.concatenate(groups)))
    occupancy = torch.from_numpy(solids.contain(from_fixed(points).numpy()))
    return ScanSamples(
        occupancy_points=points[: 2 * settings.points],
        occupancy=occupancy[: 2 * settings.points],
        surface_points=to_fixed(torch.from_numpy(surface[: settings.surface_points])),
        surface_normals=to_fixed(torch.from_numpy(normals[: settings.surface_points])),
        held_out_points=points[2 * settings.points :],
        held_out_occupancy=occupancy[2 * settings.points :],
        **under.fields(),
    )


def _write_normal_maps(
    folder: Path, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], settings: PrepareSettings
) -> None:
    camera = Orthographic(image_size=settings.image_size)
    normals, triangles = torch.from_numpy(vertex_normals(vertices, faces)), torch.from_numpy(faces)
    for view in range(settings.views):
        turn = rotation_y(2 * math.pi * view / settings.views).T
        mesh = PosedMesh(torch.from_numpy(vertices) @ turn, triangles, normals @ turn)
        path = normal_map_path(folder, view, settings.image_size)
        path.parent.mkdir(exist_ok=True)
        write_png(path, picture_normals(mesh, camera))


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes `folder`'s place at the end; leavings of interrupted runs are removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for entry in list(folder.parent.iterdir()):
        if re.fullmatch(rf"\.{re.escape(folder.name)}\.\d+\.part", entry.name):
            shutil.rmtree(entry, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
