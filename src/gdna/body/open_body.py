"""The open body: MakeHuman's human (CC0) as `scripts/freeze_open_body.py` froze it, on SMPL's 24-joint tree.

The canonical pose is its rest pose: `sum_j w_j T_j v` over canonical vertices gives the posed vertices exactly.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from gdna.body.interface import BodyModel, check_params
from gdna.body.skeleton import PARENTS, blend_skinning, bone_poses, canonical_poses, carried
from gdna.types import BodyParams, PosedBody

ASSET = "open_body.npz"


class OpenBody(torch.nn.Module, BodyModel):
    """Vertices keep MakeHuman's order (19,158 of the base mesh "hm08", its garment helpers included); `faces` are the
    skin and the eyes. Betas have unit variance over adults; the first grows with height.

    `helper_quads` holds MakeHuman's suit ("tights", neck to foot) and "skirt", from which garments are cut;
    `population_betas` (N, S) with `population_traits` (N, 6), named by `trait_names`, are believable adults.
    """

    template: Tensor
    basis: Tensor
    joint_template: Tensor
    joint_basis: Tensor
    faces: Tensor
    skin_weights: Tensor
    vertices_neutral: Tensor
    joints_neutral: Tensor

    def __init__(self) -> None:
        super().__init__()
        with resources.files("gdna.body").joinpath("assets", ASSET).open("rb") as file:
            data = dict(np.load(file, allow_pickle=False))
        self.parents = PARENTS
        self.num_betas = data["basis"].shape[0]
        weights = np.zeros((data["template"].shape[0], len(PARENTS)), np.float32)
        np.put_along_axis(weights, data["weight_bones"].astype(np.int64), data["weight_values"].astype(np.float32), 1)
        self.register_buffer("template", torch.from_numpy(data["template"]))
        self.register_buffer("basis", torch.from_numpy(data["basis"].astype(np.float32)))
        self.register_buffer("joint_template", torch.from_numpy(data["joint_template"]))
        self.register_buffer("joint_basis", torch.from_numpy(data["joint_basis"]))
        self.register_buffer("skin_weights", torch.from_numpy(weights / weights.sum(1, keepdims=True)))
        quads = np.concatenate([data["skin_quads"], data["eye_quads"]]).astype(np.int64)
        self.register_buffer("faces", torch.from_numpy(quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)))
        self.num_skin_faces = 2 * len(data["skin_quads"])
        self.helper_quads = {name: data[f"{name}_quads"].astype(np.int64) for name in ("tights", "skirt")}
        self.skin_quads = data["skin_quads"].astype(np.int64)
        self.population_betas = data["population_betas"].astype(np.float32)
        self.population_traits = data["population_traits"].astype(np.float32)
        self.trait_names = tuple(str(n) for n in data["trait_names"])
        self.register_buffer("vertices_neutral", self.template)
        self.register_buffer("joints_neutral", canonical_poses(self.joint_template[None])[0, :, :3, 3])

    def forward(self, params: BodyParams) -> PosedBody:
        """See `BodyModel`."""
        check_params(params, self.num_betas, len(self.parents))
        canonical = self.template + torch.tensordot(params.betas, self.basis, dims=1)
        joints_zero = self.joint_template + torch.tensordot(params.betas, self.joint_basis, dims=1)
        poses, rest = bone_poses(params.joint_rotations, joints_zero), canonical_poses(joints_zero)
        transforms = carried(poses, rest, params.translation)
        return PosedBody(
            vertices=blend_skinning(canonical, self.skin_weights, transforms),
            joints=poses[:, :, :3, 3] + params.translation[:, None],
            bone_transforms=transforms,
            vertices_canonical=canonical,
            joints_canonical=rest[:, :, :3, 3],
        )


@lru_cache(maxsize=1)
def open_body() -> OpenBody:
    """The shipped body, loaded once."""
    return OpenBody().requires_grad_(False)
