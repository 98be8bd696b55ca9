"""Pictures of scans: each person from four sides, and all people together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8

from gdna.geometry.mesh import vertex_normals
from gdna.geometry.rotations import rotation_y
from gdna.render.camera import Orthographic
from gdna.render.shade import render_pair, shaded_image
from gdna.scans.types import PackedScan
from gdna.types import PosedMesh

SIDES = 4
CAMERA = Orthographic(half_width=1.3, centre=(0.0, 0.0, 0.0))  # the tallest with raised arms
MARGIN = 4  # pixels kept around a person
WHITE = 255


def as_mesh(scan: PackedScan) -> PosedMesh:
    """The whole scan, with its normals."""
    moved = scan.surface.vertices - scan.body.translation
    vertices, faces = torch.from_numpy(moved), torch.from_numpy(scan.surface.faces).long()
    return PosedMesh(vertices, faces, vertex_normals(vertices, faces))


def four_sides(scan: PackedScan, image_size: int) -> UInt8[np.ndarray, "H W 3"]:
    """Front, one side, back, other side in one row: shaded above, normals below; cut to the person."""
    mesh, camera = as_mesh(scan), replace(CAMERA, image_size=image_size)
    pairs = []
    for side in range(SIDES):
        turn = rotation_y(2 * math.pi * side / SIDES).T.float()
        pair = render_pair(PosedMesh(mesh.vertices @ turn, mesh.faces, mesh.normals @ turn), camera)
        pairs.append(np.split(pair, 2, axis=1))
    rows = _drawn(np.concatenate([shaded for shaded, _ in pairs], axis=1), 0)
    columns = [_drawn(shaded, 1) for shaded, _ in pairs]
    return np.concatenate(
        [
            np.concatenate([pair[kind][rows, cut] for pair, cut in zip(pairs, columns, strict=True)], axis=1)
            for kind in range(2)
        ]
    )


def fronts(images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Pictures of equal size cut to where any of them is not white."""
    darkest = np.min(images, axis=0)
    return [image[_drawn(darkest, 0), _drawn(darkest, 1)] for image in images]


def front(scan: PackedScan, image_size: int) -> UInt8[np.ndarray, "H W 3"]:
    """The person from the front, shaded."""
    return shaded_image(as_mesh(scan), replace(CAMERA, image_size=image_size))


def _drawn(image: UInt8[np.ndarray, "H W 3"], axis: int) -> slice:
    """The rows (axis 0) or columns (axis 1) that are not white, with a margin."""
    lines = np.flatnonzero((image < WHITE).any((1 - axis, 2)))
    return slice(max(0, int(lines[0]) - MARGIN), int(lines[-1]) + MARGIN + 1) if len(lines) else slice(None)
