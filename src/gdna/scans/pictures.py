"""Pictures of scans: each person from four sides, and all people together."""

from __future__ import annotations

import math

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
MARGIN = 4  # pixels kept around a person
WHITE = 255


def as_mesh(scan: PackedScan) -> PosedMesh:
    """The whole scan, with its normals."""
    moved = scan.surface.vertices - scan.body.translation
    vertices, faces = torch.from_numpy(moved), torch.from_numpy(scan.surface.faces).long()
    return PosedMesh(vertices, faces, vertex_normals(vertices, faces))


def four_sides(scan: PackedScan, image_size: int) -> UInt8[np.ndarray, "H W 3"]:
    """Front, one side, back, other side in one row: shaded above, normals below; cut to the person's width."""
    mesh, camera = as_mesh(scan), Orthographic(image_size=image_size)
    columns = []
    for side in range(SIDES):
        turn = rotation_y(2 * math.pi * side / SIDES).T.float()
        pair = render_pair(PosedMesh(mesh.vertices @ turn, mesh.faces, mesh.normals @ turn), camera)
        shaded, normals = np.split(pair, 2, axis=1)
        drawn = np.flatnonzero((shaded < WHITE).any((0, 2)))
        cut = slice(max(0, int(drawn[0]) - MARGIN), int(drawn[-1]) + MARGIN + 1) if len(drawn) else slice(None)
        columns.append(np.concatenate([shaded[:, cut], normals[:, cut]], axis=0))
    return np.concatenate(columns, axis=1)


def front(scan: PackedScan, image_size: int) -> UInt8[np.ndarray, "H W 3"]:
    """The person from the front, shaded."""
    return shaded_image(as_mesh(scan), Orthographic(image_size=image_size))
