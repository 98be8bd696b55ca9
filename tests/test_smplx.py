"""SMPL, SMPL-H and SMPL-X in doubles against the public formulas written anew; posed hands; smaller bone sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gdna.body.skeleton import JOINTS_OF, PARENTS, blend_skinning, rotations_for
from gdna.body.smpl import Smpl
from gdna.errors import GdnaError
from gdna.types import BodyParams, Motion

BODY = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
FAMILIES = {  # as in the files' kintree_table
    "smpl": [*BODY, 20, 21],
    "smplh": [*BODY, 20, 22, 23, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35,
              21, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50],
    "smplx": [*BODY, 15, 15, 15, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
              21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53],
}  # fmt: skip
COMPONENTS = {"smpl": 300, "smplh": 16, "smplx": 400}  # SMPL 1.1.0; SMPL-X: 300 of the shape, 100 of the face
VERTICES = 400  # of the files' 6890 and 10475: their number enters no formula
EXACT = 1e-12  # metres, in doubles


def made_up(family: str, components: int | None = None) -> dict[str, np.ndarray]:
    rng, parents = np.random.default_rng(1), FAMILIES[family]
    joints = len(parents)
    weights, regressor = rng.random((VERTICES, joints)) ** 8, rng.random((joints, VERTICES)) ** 30
    return {
        "v_template": rng.normal(0, 0.5, (VERTICES, 3)),
        "shapedirs": rng.normal(0, 0.02, (VERTICES, 3, components or COMPONENTS[family])),
        "posedirs": rng.normal(0, 0.01, (VERTICES, 3, 9 * (joints - 1))),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(joints)], np.int64),
        "f": rng.integers(0, VERTICES, (800, 3)).astype(np.uint32),
    }


def reference(data: dict[str, np.ndarray], family: str, betas: np.ndarray, pose: np.ndarray) -> tuple:
    """Vertices, joints and transforms from the zero pose: Loper et al., equations 2 to 10."""
    parents = FAMILIES[family]
    shaped = data["v_template"] + data["shapedirs"][:, :, : len(betas)] @ betas
    joints = data["J_regressor"] @ shaped
    turns = Rotation.from_rotvec(pose).as_matrix()
    corrected = shaped + data["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
    world: list[np.ndarray] = []
    for j, parent in enumerate(parents):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turns[j], joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    transforms = np.stack(world)
    places = transforms[:, :3, 3].copy()
    transforms[:, :3, 3] -= np.einsum("jab,jb->ja", transforms[:, :3, :3], joints)
    blended = np.einsum("vj,jab->vab", data["weights"], transforms)
    return np.einsum("vab,vb->va", blended[:, :3, :3], corrected) + blended[:, :3, 3], places, transforms


def open_hips(family: str) -> np.ndarray:
    pose = np.zeros((len(FAMILIES[family]), 3))
    pose[1, 2], pose[2, 2] = np.pi / 6, -np.pi / 6
    return pose


def save(folder: Path, family: str, components: int | None = None) -> tuple[Path, dict[str, np.ndarray]]:
    data = made_up(family, components)
    path = folder / f"{family.upper()}_MALE.npz"
    np.savez(path, **data)
    return path, data


def drawn(family: str, num_betas: int) -> BodyParams:
    g = torch.Generator().manual_seed(5)
    joints = len(FAMILIES[family])
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    return BodyParams(draw(2, num_betas), 0.4 * draw(2, joints, 3), draw(2, 3))


@pytest.mark.parametrize(("family", "num_betas"), [("smpl", 10), ("smpl", 300), ("smplh", 16), ("smplx", 10)])
def test_the_public_formulas_in_doubles(tmp_path, family, num_betas):
    path, data = save(tmp_path, family)
    body, params = Smpl(path, num_betas, dtype=torch.float64), drawn(family, num_betas)
    assert len(JOINTS_OF[body.parents]) == len(FAMILIES[family])
    assert list(body.parents) == FAMILIES[family]
    posed = body(params)
    for b in range(2):
        betas, translation = params.betas[b].numpy(), params.translation[b].numpy()
        vertices, joints, transforms = reference(data, family, betas, params.joint_rotations[b].numpy())
        canonical, joints_canonical, canonical_transforms = reference(data, family, betas, open_hips(family))
        moved = transforms @ np.linalg.inv(canonical_transforms)
        moved[:, :3, 3] += translation
        np.testing.assert_allclose(posed.vertices[b], vertices + translation, atol=EXACT, rtol=0)
        np.testing.assert_allclose(posed.joints[b], joints + translation, atol=EXACT, rtol=0)
        np.testing.assert_allclose(posed.vertices_canonical[b], canonical, atol=EXACT, rtol=0)
        np.testing.assert_allclose(posed.joints_canonical[b], joints_canonical, atol=EXACT, rtol=0)
        np.testing.assert_allclose(posed.bone_transforms[b], moved, atol=EXACT, rtol=0)


@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_the_body_bones_of_a_body_with_posed_fingers(tmp_path, family):
    """Vertices follow the fingers; the answer's bones are SMPL's 24, as all of the file's are there."""
    path, _ = save(tmp_path, family)
    whole, fewer = (Smpl(path, 10, bones, torch.float64) for bones in ("all", "body"))
    params = drawn(family, 10)
    every, few = whole(params), fewer(params)
    assert fewer.parents == PARENTS
    torch.testing.assert_close(few.vertices, every.vertices, atol=EXACT, rtol=0)
    torch.testing.assert_close(few.bone_transforms[:, :22], every.bone_transforms[:, :22], atol=EXACT, rtol=0)
    torch.testing.assert_close(fewer.skin_weights.sum(1), torch.ones(VERTICES).double(), atol=EXACT, rtol=0)
    middle = 25 if family == "smplh" else 28
    torch.testing.assert_close(few.joints[:, 22], every.joints[:, middle], atol=EXACT, rtol=0)


@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_flat_hands_need_no_fingers(tmp_path, family):
    """With the fingers and the face at rest the 24 bones skin the body as all of them do."""
    path, _ = save(tmp_path, family)
    whole, fewer = (Smpl(path, 10, bones, torch.float64) for bones in ("all", "body"))
    params = drawn(family, 10)
    rotations = torch.zeros(2, 24, 3).double()
    rotations[:, :22] = params.joint_rotations[:, :22]
    flat = rotations_for(Motion("flat", rotations, torch.zeros(2, 3), 1.0), whole.parents)
    few = fewer(BodyParams(params.betas, rotations, params.translation))
    every = whole(BodyParams(params.betas, flat, params.translation))
    torch.testing.assert_close(few.vertices, every.vertices, atol=EXACT, rtol=0)
    torch.testing.assert_close(few.vertices_canonical, every.vertices_canonical, atol=EXACT, rtol=0)
    skinned = [
        blend_skinning(posed.vertices_canonical, body.skin_weights, posed.bone_transforms)
        for body, posed in ((whole, every), (fewer, few))
    ]
    torch.testing.assert_close(skinned[0], skinned[1], atol=EXACT, rtol=0)


def test_fingers_are_expanded_in_their_order():
    hands = torch.arange(90.0).reshape(1, 30, 3)
    motion = Motion("wave", torch.ones(1, 24, 3), torch.zeros(1, 3), 30.0, hands)
    whole = rotations_for(motion, tuple(FAMILIES["smplx"]))
    assert (whole[0, :22] == 1).all()
    assert (whole[0, 22:25] == 0).all()  # jaw and eyes
    torch.testing.assert_close(whole[0, 25:], hands[0])
    assert rotations_for(motion, PARENTS) is motion.joint_rotations
    with pytest.raises(GdnaError, match="motion wave: 24 joints for a person of 3"):
        rotations_for(motion, (-1, 0, 1))


@pytest.mark.parametrize(("components", "num_betas"), [(400, 301), (20, 11)])
def test_the_components_of_the_face_are_no_betas(tmp_path, components, num_betas):
    path, _ = save(tmp_path, "smplx", components)
    with pytest.raises(GdnaError, match=f"{num_betas - 1} shape components, asked for num_betas={num_betas}"):
        Smpl(path, num_betas)


def test_a_bone_set_that_is_unknown(tmp_path):
    path, _ = save(tmp_path, "smplh")
    with pytest.raises(GdnaError, match="expected one of all, body"):
        Smpl(path, 10, "hands")
