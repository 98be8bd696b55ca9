"""SMPL (Loper et al., SIGGRAPH Asia 2015), SMPL-H (Romero et al. 2017) and SMPL-X (Pavlakos et al., CVPR 2019) from the
user's own licensed file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.interface import BodyModel, check_params
from gdna.body.pickle_reader import read_array_file
from gdna.body.skeleton import (
    BODY_JOINTS,
    HAND_JOINTS,
    PARENTS,
    SMPLH_PARENTS,
    SMPLX_PARENTS,
    blend_skinning,
    bone_poses,
    bone_transforms,
    canonical_rotations,
    rigid_inverse,
)
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix, rigid
from gdna.types import BodyParams, PosedBody

KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
TREES = {len(parents): parents for parents in (PARENTS, SMPLH_PARENTS, SMPLX_PARENTS)}
BONE_SETS = ("all", "body")
SMPLX_SHAPE = {400: 300, 20: 10}  # components -> those of the shape, before those of the face
HEAD = 15


@dataclass(frozen=True)
class BoneSet:
    """The bones of the answer among the file's joints."""

    parents: tuple[int, ...]
    joints: tuple[int, ...]  # bone -> joint
    bones: tuple[int, ...]  # joint -> bone that takes its skinning weights


class Smpl(torch.nn.Module, BodyModel):
    """A `BodyModel` with pose correctives: SMPL 1.0.0 or 1.1.0, SMPL-H or SMPL-X, .pkl or .npz.

    `bones` "all" answers for every joint of the file (24, 52 or 55); "body" for SMPL's 24, where the fingers belong to
    the hands and the face to the head. Joint rotations are given for the answer's bones, or for all joints of the
    file: then fingers are posed although the answer has no bones for them. Zero rotations are flat hands.

    `vertices_canonical` contain the correctives of the canonical pose, so that blending `bone_transforms` over them
    gives the posed vertices up to the difference of the two poses' correctives.
    """

    template: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "S V3"]
    pose_basis: Float[Tensor, "P V3"]
    joint_regressor: Float[Tensor, "Jf V"]
    joint_weights: Float[Tensor, "V Jf"]
    skin_weights: Float[Tensor, "V J"]
    faces: Int[Tensor, "F 3"]
    vertices_neutral: Float[Tensor, "V 3"]
    joints_neutral: Float[Tensor, "J 3"]

    def __init__(
        self, path: Path | str, num_betas: int = 10, bones: str = "all", dtype: torch.dtype = torch.float32
    ) -> None:
        """Raises `GdnaError` where the file is missing, broken, refused, or of another family."""
        super().__init__()
        data = read_array_file(path, KEYS)
        self.tree = _tree(data, path)
        _check(data, num_betas, len(self.tree), path)
        self.num_betas = num_betas
        self.bone_set = bone_set(self.tree, bones)
        self.parents = self.bone_set.parents

        def keep(name: str, array: np.ndarray) -> None:
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float64)).to(dtype))

        keep("template", data["v_template"])
        keep("shape_basis", data["shapedirs"].reshape(-1, data["shapedirs"].shape[2])[:, :num_betas].T)
        keep("pose_basis", data["posedirs"].reshape(-1, data["posedirs"].shape[2]).T)
        keep("joint_regressor", data["J_regressor"])
        keep("joint_weights", data["weights"])
        owner = torch.tensor(self.bone_set.bones)
        gathered = torch.zeros(len(self.joint_weights), len(self.parents), dtype=dtype)
        self.register_buffer("skin_weights", gathered.index_add_(1, owner, self.joint_weights))
        self.register_buffer("faces", torch.from_numpy(data["f"].astype(np.int64)))
        shaped = self._shaped(torch.zeros(1, num_betas, dtype=dtype))
        vertices, joints = self._canonical(shaped, self.joint_regressor @ shaped)
        self.register_buffer("vertices_neutral", vertices[0])
        self.register_buffer("joints_neutral", joints[0])

    def forward(self, params: BodyParams) -> PosedBody:
        """See `BodyModel`."""
        given = params.joint_rotations.shape[1]
        check_params(params, self.num_betas, given if given == len(self.tree) else len(self.parents))
        shaped = self._shaped(params.betas)
        joints_file = self.joint_regressor @ shaped
        joints_zero = joints_file[:, list(self.bone_set.joints)]
        rotations = self.bone_rotations(params.joint_rotations)
        vertices, joints = self._pose(shaped, joints_file, params.joint_rotations)
        vertices_canonical, joints_canonical = self._canonical(shaped, joints_file)
        return PosedBody(
            vertices=vertices + params.translation[:, None],
            joints=joints + params.translation[:, None],
            bone_transforms=bone_transforms(rotations, joints_zero, params.translation, self.parents),
            vertices_canonical=vertices_canonical,
            joints_canonical=joints_canonical,
        )

    def bone_rotations(self, joint_rotations: Float[Tensor, "B n 3"]) -> Float[Tensor, "B J 3"]:
        """Of the answer's bones, from theirs or from all joints'."""
        fewer = joint_rotations.shape[1] != len(self.parents)
        return joint_rotations[:, list(self.bone_set.joints)] if fewer else joint_rotations

    def _shaped(self, betas: Float[Tensor, "B S"]) -> Float[Tensor, "B V 3"]:
        return self.template + (betas @ self.shape_basis).unflatten(-1, (-1, 3))

    def _canonical(
        self, shaped: Float[Tensor, "B V 3"], joints_file: Float[Tensor, "B Jf 3"]
    ) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B J 3"]]:
        rotations = canonical_rotations(len(self.parents), shaped.dtype).to(shaped)
        return self._pose(shaped, joints_file, rotations.expand(len(shaped), -1, -1))

    def _pose(
        self, shaped: Float[Tensor, "B V 3"], joints_file: Float[Tensor, "B Jf 3"], rotations: Float[Tensor, "B n 3"]
    ) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B J 3"]]:
        """Vertices and the answer's joints without translation: equations 2 to 10 of the paper."""
        kept = list(self.bone_set.joints)
        whole = rotations.shape[1] == len(self.tree)
        tree, weights = (self.tree, self.joint_weights) if whole else (self.parents, self.skin_weights)
        joints_zero = joints_file if whole else joints_file[:, kept]
        identity = torch.eye(3).to(shaped)
        matrices = axis_angle_to_matrix(rotations)
        feature = identity.repeat(len(shaped), len(self.tree), 1, 1)
        placed = list(range(len(self.tree))) if whole else kept
        feature[:, placed] = matrices
        corrected = shaped + ((feature[:, 1:] - identity).flatten(1) @ self.pose_basis).unflatten(-1, (-1, 3))
        poses = bone_poses(rotations, joints_zero, tree)
        rest = rigid(identity.expand(*joints_zero.shape[:2], 3, 3), joints_zero)
        vertices = blend_skinning(corrected, weights, poses @ rigid_inverse(rest))
        joints = poses[:, :, :3, 3]
        return vertices, joints[:, kept] if whole else joints


def bone_set(tree: tuple[int, ...], name: str) -> BoneSet:
    """Raises `GdnaError` for an unknown name."""
    if name not in BONE_SETS:
        raise GdnaError(f"bones={name}: expected one of {', '.join(BONE_SETS)}")
    count = len(tree)
    if name == "all" or tree == PARENTS:
        return BoneSet(tree, tuple(range(count)), tuple(range(count)))
    left, right = count - HAND_JOINTS, count - HAND_JOINTS // 2
    middle = 3  # a hand is where its middle finger begins, as SMPL's is
    fingers = tuple(BODY_JOINTS + (joint >= right) for joint in range(left, count))
    bones = (*range(BODY_JOINTS), *[HEAD] * (left - BODY_JOINTS), *fingers)
    return BoneSet(PARENTS, (*range(BODY_JOINTS), left + middle, right + middle), bones)


def _tree(data: dict[str, np.ndarray], path: Path | str) -> tuple[int, ...]:
    joints = data["weights"].shape[-1]
    if joints not in TREES:
        known = ", ".join(str(n) for n in TREES)
        raise GdnaError(f"{path}: {joints} joints, expected {known} (SMPL, SMPL-H, SMPL-X)")
    table = data["kintree_table"]
    # the root's parent is written as -1 in an unsigned type
    if table.shape == (2, joints) and tuple(table[0, 1:].astype(np.int64)) != TREES[joints][1:]:
        raise GdnaError(f"{path}: kintree_table is not the joint tree of SMPL's {joints} joints")
    return TREES[joints]


def _check(data: dict[str, np.ndarray], num_betas: int, joints: int, path: Path | str) -> None:
    count = len(data["v_template"])
    shapes = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, data["shapedirs"].shape[-1]),
        "posedirs": (count, 3, 9 * (joints - 1)),
        "J_regressor": (joints, count),
        "weights": (count, joints),
        "kintree_table": (2, joints),
        "f": (len(data["f"]), 3),
    }
    for key, shape in shapes.items():
        if data[key].shape != shape:
            raise GdnaError(f"{path}: {key} has shape {data[key].shape}, expected {shape}; is this an SMPL body model?")
    components = int(data["shapedirs"].shape[2])
    shape_components = SMPLX_SHAPE.get(components, components) if joints == len(SMPLX_PARENTS) else components
    if shape_components < num_betas:
        raise GdnaError(f"{path}: {shape_components} shape components, asked for num_betas={num_betas}")
