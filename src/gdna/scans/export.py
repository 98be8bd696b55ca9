"""One scan out of the pack, in files that every other program reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from gdna.export.ply import write_ply
from gdna.geometry.files import atomic_path
from gdna.geometry.mesh import vertex_normals
from gdna.scans.types import PackedScan


def export_scan(scan: PackedScan, folder: Path | str) -> tuple[Path, Path]:
    """Write NAME.ply (all solids in one mesh) and NAME.npz (body parameters as `gdna.data.scan` reads them; label and
    visibility of each face of the mesh; everything else as JSON in `about`); returns both paths."""
    mesh = Path(folder) / f"{scan.about.name}.ply"
    surface, body = scan.surface, scan.body
    vertices, faces = torch.from_numpy(surface.vertices), torch.from_numpy(surface.faces).long()
    write_ply(mesh, vertices, faces, vertex_normals(vertices, faces))
    with atomic_path(mesh.with_suffix(".npz")) as temporary:
        np.savez_compressed(
            temporary,
            betas=body.betas,
            joint_rotations=body.joint_rotations,
            translation=body.translation,
            scale=np.float32(1),
            joints=body.joints,
            face_labels=surface.face_labels,
            visible=surface.visible,
            label_names=np.array(scan.about.label_names),
            about=np.array(json.dumps(asdict(scan.about))),
        )
    return mesh, mesh.with_suffix(".npz")
