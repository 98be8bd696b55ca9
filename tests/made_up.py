"""Licence-gated files, made up in their exact layouts from open data."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csc_matrix

from gdna.body.open_body import open_body
from gdna.body.skeleton import PARENTS, SMPLX_PARENTS
from gdna.types import BodyParams, Scan

SMPL_VERTICES, SMPL_FACES, SMPL_COMPONENTS = 6890, 13776, 10


def smpl_like() -> dict[str, np.ndarray]:
    """What an SMPL 1.0.0 file holds, with the open body's proportions, so that open scans fit it: vertices of its skin
    in the zero pose, joints as sparse combinations of vertices nearby."""
    body, rng = open_body(), np.random.default_rng(0)
    posed = body(BodyParams(torch.zeros(1, body.num_betas), torch.zeros(1, 24, 3), torch.zeros(1, 3)))
    skin = body.faces[: body.num_skin_faces].unique().numpy()
    kept = np.sort(rng.choice(skin, SMPL_VERTICES, replace=False))
    vertices, joints = posed.vertices[0].numpy()[kept].astype(np.float64), posed.joints[0].numpy().astype(np.float64)
    regressor = np.zeros((len(PARENTS), SMPL_VERTICES))
    for joint, place in enumerate(joints):
        near = np.argsort(((vertices - place) ** 2).sum(1))[:40]
        system = np.concatenate([vertices[near].T, np.ones((1, 40))])
        regressor[joint, near] = np.linalg.lstsq(system, np.append(place, 1), rcond=None)[0]
    parents = np.array([2**32 - 1, *PARENTS[1:]], np.uint32)
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(0, 1e-3, (SMPL_VERTICES, 3, SMPL_COMPONENTS)),
        "posedirs": rng.normal(0, 1e-4, (SMPL_VERTICES, 3, 207)),
        "J_regressor": regressor,
        "weights": body.skin_weights.numpy()[kept].astype(np.float64),
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
        "f": np.concatenate(
            [np.arange(SMPL_VERTICES - 2)[:, None] + [0, 1, 2], rng.integers(0, SMPL_VERTICES, (SMPL_FACES, 3))]
        )[:SMPL_FACES].astype(np.uint32),
    }


def smplx_like() -> dict[str, np.ndarray]:
    """What an SMPL-X file holds: `smpl_like` with a jaw, eyes and fingers, which share what the hands move."""
    data, rng = smpl_like(), np.random.default_rng(1)
    joints, hands = len(SMPLX_PARENTS), (np.full(15, 22), np.full(15, 23))
    source = np.concatenate([np.arange(22), [15, 15, 15], *hands])  # of SMPL's joints, where these lie
    nudge = np.zeros((joints, SMPL_VERTICES))
    nudge[22:, :2] = 0.02 * rng.normal(size=(joints - 22, 1)) * [1, -1]  # a little to the side of one another
    weights = np.zeros((SMPL_VERTICES, joints))
    weights[:, :22] = data["weights"][:, :22]
    for side, first in ((22, 25), (23, 40)):
        weights[np.arange(SMPL_VERTICES), first + rng.integers(0, 15, SMPL_VERTICES)] += data["weights"][:, side]
    return {
        **data,
        "shapedirs": rng.normal(0, 1e-3, (SMPL_VERTICES, 3, 20)),
        "posedirs": rng.normal(0, 1e-4, (SMPL_VERTICES, 3, 9 * (joints - 1))),
        "J_regressor": data["J_regressor"][source] + nudge,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *SMPLX_PARENTS[1:]], range(joints)], np.int64),
    }


def write_smpl(path: Path) -> Path:
    """SMPL_NEUTRAL.pkl."""
    data = smpl_like()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({**data, "J_regressor": csc_matrix(data["J_regressor"])}, protocol=2))
    return path


def decimated(scan: Scan, cell: float = 0.02) -> tuple[Float[np.ndarray, "V 3"], np.ndarray]:
    """Vertices in one cell (metres) become one."""
    _, first, group = np.unique(
        np.round(scan.vertices / cell).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    faces = group.ravel()[scan.faces]
    sound = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return scan.vertices[first].astype(np.float64), faces[sound]


def write_obj(path: Path, vertices: Float[np.ndarray, "V 3"], faces: np.ndarray) -> None:
    """With texture coordinates, as scanners write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write("mtllib material0.mtl\n")
        np.savetxt(file, vertices, "v %.6f %.6f %.6f")
        np.savetxt(file, np.random.default_rng(0).random((len(vertices), 2)), "vt %.6f %.6f")
        file.write("usemtl material0\n")
        np.savetxt(file, np.repeat(faces + 1, 2, axis=1), "f %d/%d %d/%d %d/%d")


def smpl_values(scan: Scan, scale: float, translation: Float[np.ndarray, "3"]) -> dict[str, np.ndarray]:
    """As in THuman2.0_smpl/0000_smpl.pkl."""
    return {
        "global_orient": scan.joint_rotations[None, 0],
        "body_pose": scan.joint_rotations[1:].reshape(1, 69),
        "betas": scan.betas[None, :10],
        "transl": translation[None].astype(np.float32),
        "scale": np.array([scale], np.float32),
    }


def write_thuman(folder: Path, scans: list[Scan]) -> None:
    """THuman2.0_Release/0000/0000.obj and THuman2.0_smpl/0000_smpl.pkl."""
    for index, scan in enumerate(scans):
        scale, translation = 0.6 + 0.1 * index, np.array([0.1, -0.3, 0.2 * index])
        vertices, faces = decimated(scan)
        name = f"{index:04d}"
        write_obj(
            folder / "THuman2.0_Release" / name / f"{name}.obj",
            vertices * scale + translation.astype(np.float32),
            faces,
        )
        path = folder / "THuman2.0_smpl" / f"{name}_smpl.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(smpl_values(scan, scale, translation), protocol=4))


def write_prepared_by_original(folder: Path, name: str, scan: Scan, samples: int, views: int = 18) -> dict:
    """occupancy.npz, surface.npz and multi_view_256/0000_normal.png; returns what is in the first two."""
    from PIL import Image

    rng = np.random.default_rng(int(name))
    vertices, faces = decimated(scan)
    near = vertices[rng.integers(0, len(vertices), samples)] + 0.01 * rng.normal(size=(samples, 3))
    points = np.concatenate([near, rng.uniform(-1, 1, (samples, 3))])
    values = {
        "scan_name": np.array(name),
        "smpl_params": np.concatenate([[1, 0, 0, 0], scan.joint_rotations.ravel(), scan.betas[:10]]),
        "scan_verts": vertices.astype(np.float32),
        "scan_faces": faces,
        "pts_d": points.astype(np.float32),
        "occ_gt": (rng.random((2 * samples, 1)) > 0.5).astype(np.float32),
    }
    surface = {
        "surface_points": vertices[rng.integers(0, len(vertices), samples)].astype(np.float32),
        "surface_normals": np.tile(np.array([0, 0, 1], np.float32), (samples, 1)),
    }
    (folder / name / "multi_view_256").mkdir(parents=True)
    np.savez(folder / name / "occupancy.npz", **values)
    np.savez(folder / name / "surface.npz", **surface)
    for view in range(views):
        image = Image.fromarray(np.full((256, 256, 3), view, np.uint8))
        image.save(folder / name / "multi_view_256" / f"{view:04d}_normal.png")
    return values | surface
