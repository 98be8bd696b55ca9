"""A body whose parameters are known."""

from __future__ import annotations

import numpy as np
import torch

from gdna.body.interface import BodyModel
from gdna.data.scan_params import ScanParams
from gdna.errors import GdnaError
from gdna.fit.types import Placement, RawScan, Registration
from gdna.fit.wearer import Wearer
from gdna.types import BodyParams, Scan


def given_body(name: str, params: ScanParams, body: BodyModel) -> Registration:
    """Scan and parameters of the file as they are: minus translation, divided by scale. Of more betas than the body
    has the first are taken: its basis is ordered.

    Raises `GdnaError` where the parameters are another body model's.
    """
    device = body.skin_weights.device
    betas = torch.from_numpy(params.betas.astype(np.float32))[None, : body.num_betas].to(device)
    rotations = torch.from_numpy(params.joint_rotations.astype(np.float32))[None].to(device)
    if rotations.shape[1] != len(body.parents) and hasattr(body, "bone_rotations"):
        rotations = body.bone_rotations(rotations)
    if betas.shape[1] != body.num_betas or rotations.shape[1] != len(body.parents):
        raise GdnaError(
            f"scan {name}: body parameters of {betas.shape[1]} betas and {rotations.shape[1]} joints; the model's body "
            f"has {body.num_betas} and {len(body.parents)}: register the scan with that body (leave body= out)"
        )
    translation = np.asarray(params.translation, np.float64)
    placement = Placement(1 / params.scale, np.eye(3), -translation / params.scale)
    return Registration(placement, BodyParams(betas, rotations, rotations.new_zeros(1, 3)), 0.0, True, "")


def scan_with_body(scan: Scan) -> tuple[RawScan, ScanParams]:
    """A scan that brings its body, and lies in the body's frame already."""
    raw = RawScan(scan.name, scan.vertices.astype(np.float64), scan.faces.astype(np.int64), None)
    return raw, ScanParams(scan.betas, scan.joint_rotations, np.zeros(3), 1.0)


def joint_error_mm(name: str, truth: ScanParams, body: BodyModel, wearer: Wearer, placement: Placement) -> float:
    """Mean distance of the fitted body's joints from those of the true one, both in the scan file's frame."""
    true = Wearer.of(body, given_body(name, truth, body).body).joints().cpu().double().numpy()
    placed = placement(true * truth.scale + truth.translation)
    return 1000 * float(np.linalg.norm(placed - wearer.joints().cpu().double().numpy(), axis=1).mean())
