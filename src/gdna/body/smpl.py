"""SMPL (Loper et al., SIGGRAPH Asia 2015) from the user's own licensed file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.interface import check_params
from gdna.body.pickle_reader import read_array_file
from gdna.body.skeleton import PARENTS, blend_skinning, bone_poses, bone_transforms, canonical_rotations, rigid_inverse
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix, rigid
from gdna.types import BodyParams, PosedBody

KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
NUM_JOINTS = len(PARENTS)


class Smpl(torch.nn.Module):
    """SMPL 1.0.0 or 1.1.0, .pkl or .npz: a `BodyModel` with pose correctives.

    `vertices_canonical` contain the correctives of the canonical pose, so that blending `bone_transforms` over them
    gives the posed vertices up to the difference of the two poses' correctives.
    """

    template: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "S V3"]
    pose_basis: Float[Tensor, "P V3"]
    joint_regressor: Float[Tensor, "J V"]
    skin_weights: Float[Tensor, "V J"]

    def __init__(self, path: Path | str, num_betas: int = 10) -> None:
        """Raises `GdnaError` where the file is missing, broken, refused, or not SMPL's 24 joints."""
        super().__init__()
        data = read_array_file(path, KEYS)
        _check(data, num_betas, path)
        self.num_betas = num_betas
        self.parents = PARENTS

        def keep(name: str, array: np.ndarray) -> None:
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)))

        keep("template", data["v_template"])
        keep("shape_basis", data["shapedirs"].reshape(-1, data["shapedirs"].shape[2])[:, :num_betas].T)
        keep("pose_basis", data["posedirs"].reshape(-1, data["posedirs"].shape[2]).T)
        keep("joint_regressor", data["J_regressor"])
        keep("skin_weights", data["weights"])
        self.register_buffer("faces", torch.from_numpy(data["f"].astype(np.int64)))
        shaped = self._shaped(torch.zeros(1, num_betas))
        vertices, joints = self._canonical(shaped, self.joint_regressor @ shaped)
        self.register_buffer("vertices_neutral", vertices[0])
        self.register_buffer("joints_neutral", joints[0])

    def forward(self, params: BodyParams) -> PosedBody:
        """See `BodyModel`."""
        check_params(params, self.num_betas, NUM_JOINTS)
        shaped = self._shaped(params.betas)
        joints_zero = self.joint_regressor @ shaped
        vertices, joints = self._pose(shaped, joints_zero, params.joint_rotations)
        vertices_canonical, joints_canonical = self._canonical(shaped, joints_zero)
        return PosedBody(
            vertices=vertices + params.translation[:, None],
            joints=joints + params.translation[:, None],
            bone_transforms=bone_transforms(params.joint_rotations, joints_zero, params.translation),
            vertices_canonical=vertices_canonical,
            joints_canonical=joints_canonical,
        )

    def _shaped(self, betas: Float[Tensor, "B S"]) -> Float[Tensor, "B V 3"]:
        return self.template + (betas @ self.shape_basis).unflatten(-1, (-1, 3))

    def _canonical(
        self, shaped: Float[Tensor, "B V 3"], joints_zero: Float[Tensor, "B J 3"]
    ) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B J 3"]]:
        return self._pose(shaped, joints_zero, canonical_rotations().to(shaped).expand(len(shaped), -1, -1))

    def _pose(
        self, shaped: Float[Tensor, "B V 3"], joints_zero: Float[Tensor, "B J 3"], rotations: Float[Tensor, "B J 3"]
    ) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B J 3"]]:
        """Vertices and joints without translation: equations 2 to 10 of the paper."""
        identity = torch.eye(3).to(shaped)
        feature = (axis_angle_to_matrix(rotations[:, 1:]) - identity).flatten(1)
        corrected = shaped + (feature @ self.pose_basis).unflatten(-1, (-1, 3))
        poses = bone_poses(rotations, joints_zero)
        rest = rigid(identity.expand(*joints_zero.shape[:2], 3, 3), joints_zero)
        return blend_skinning(corrected, self.skin_weights, poses @ rigid_inverse(rest)), poses[:, :, :3, 3]


def _check(data: dict[str, np.ndarray], num_betas: int, path: Path | str) -> None:
    joints = data["weights"].shape[-1]
    if joints != NUM_JOINTS:
        raise GdnaError(f"{path}: {joints} joints, expected SMPL's {NUM_JOINTS} (SMPL+H and SMPL-X are not supported)")
    count = len(data["v_template"])
    shapes = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, data["shapedirs"].shape[-1]),
        "posedirs": (count, 3, 9 * (NUM_JOINTS - 1)),
        "J_regressor": (NUM_JOINTS, count),
        "weights": (count, NUM_JOINTS),
        "kintree_table": (2, NUM_JOINTS),
        "f": (len(data["f"]), 3),
    }
    for key, shape in shapes.items():
        if data[key].shape != shape:
            raise GdnaError(f"{path}: {key} has shape {data[key].shape}, expected {shape}; is this an SMPL body model?")
    if data["shapedirs"].shape[2] < num_betas:
        raise GdnaError(f"{path}: {data['shapedirs'].shape[2]} shape components, asked for num_betas={num_betas}")
    # the root's parent is written as -1 in an unsigned type
    if tuple(data["kintree_table"][0, 1:].astype(np.int64)) != PARENTS[1:]:
        raise GdnaError(f"{path}: kintree_table is not SMPL's joint tree")
