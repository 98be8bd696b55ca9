"""The body under a scan's clothes, as a prepared scan keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.data.sample_file import PreparedBody, read_body, write_body
from gdna.errors import GdnaError
from gdna.types import BodyParams, PosedBody


@dataclass(frozen=True)
class ScanBody:
    """One body; `joint_rotations` are those of the body's bones, though fingers without bones may have posed it."""

    betas: Float[Tensor, " S"]
    joint_rotations: Float[Tensor, "J 3"]
    skin: Int[Tensor, " Vs"]
    posed: PosedBody

    def fields(self) -> dict[str, Any]:
        """By their names in `ScanSamples`."""
        return {
            "betas": self.betas,
            "joint_rotations": self.joint_rotations,
            "bone_transforms": self.posed.bone_transforms[0],
            "joints_canonical": self.posed.joints_canonical[0],
            "vertices_canonical": self.posed.vertices_canonical[0, self.skin],
            "vertices_posed": self.posed.vertices[0, self.skin],
        }


def pose_scan_body(
    name: str, betas: Float[np.ndarray, " S"], joint_rotations: Float[np.ndarray, "n 3"], body: BodyModel
) -> ScanBody:
    """By the first of the betas where there are more than the body takes: its basis is ordered.

    Raises `GdnaError` where the parameters are another body model's.
    """
    params = BodyParams(
        torch.from_numpy(betas.astype(np.float32))[None, : body.num_betas],
        torch.from_numpy(joint_rotations.astype(np.float32))[None],
        torch.zeros(1, 3),
    )
    try:
        with torch.no_grad():
            posed = body(params)
    except GdnaError as error:
        raise GdnaError(f"scan {name}: {error}") from error
    rotations = params.joint_rotations
    if rotations.shape[1] != len(body.parents):  # only a body that picks its bones takes such
        rotations = body.bone_rotations(rotations)  # type: ignore[attr-defined]
    return ScanBody(params.betas[0], rotations[0], skin_vertices(body), posed)


def skin_vertices(body: BodyModel) -> Int[Tensor, " Vs"]:
    """The vertices that the body's faces use (an open body also has garment helpers)."""
    return body.faces.unique()


def write_body_once(path: Path, body: BodyModel) -> None:
    """One data set, one body model. Raises `GdnaError` where the folder has another."""
    skin, parents = skin_vertices(body), torch.tensor(body.parents)
    mine = PreparedBody(body.vertices_neutral[skin], body.skin_weights[skin], body.joints_neutral, parents)
    if not path.is_file():
        write_body(path, mine)
        return
    there = read_body(path)
    same = there.vertices_neutral.shape == mine.vertices_neutral.shape and there.parents.equal(parents)
    if not same or not torch.allclose(there.vertices_neutral, mine.vertices_neutral, atol=1e-5):
        raise GdnaError(f"{path}: this folder was prepared with another body model; choose another folder")
