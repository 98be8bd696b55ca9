"""Points on a raw scan, few enough to work with."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from gdna.fit.types import RawScan
from gdna.geometry.mesh import face_normals, sample_surface

Points = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"] | None]


def surface_points(raw: RawScan, count: int, seed: int = 0) -> Points:
    """About `count` points with unit normals (None: not known): spread evenly over a mesh's area, or drawn from a
    cloud, all of them where there are fewer.

    A mesh's normals are turned outward as a whole, where most of them point to its middle. Raises `GdnaError` for a
    mesh without area.
    """
    if raw.faces is None:
        kept = np.arange(len(raw.points))
        if len(kept) > count:
            kept = np.sort(np.random.default_rng(seed).choice(len(kept), count, replace=False))
        return raw.points[kept].astype(np.float64), None if raw.normals is None else raw.normals[kept].astype(
            np.float64
        )
    vertices, faces = torch.from_numpy(raw.points.astype(np.float64)), torch.from_numpy(raw.faces.astype(np.int64))
    samples = sample_surface(vertices, faces, count, torch.Generator().manual_seed(seed))
    normals = face_normals(vertices, faces)[samples.faces].numpy()
    points = samples.points.numpy()
    return points, normals * _outward(points, normals)


def _outward(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> float:
    """1 where the surface's flux says that its normals point outward, -1 where inward; a closed surface's flux is three
    times its volume."""
    return 1.0 if ((points - np.median(points, 0)) * normals).sum() >= 0 else -1.0
