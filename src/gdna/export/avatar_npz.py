"""One person in numbers: codes, body shape and pose, from which the model makes everything else; and the mesh of a
person whom codes alone do not make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import JOINTS_OF
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.types import AvatarMesh

NUMBERS: dict[str, tuple[str | int, ...]] = {  # arrays and their shapes
    "shape": ("Z",),
    "detail": ("Zd",),
    "betas": ("S",),
    "joint_rotations": ("J", 3),
    "translation": (3,),
}
STYLES = "styles"  # of people whom a shape code alone does not make
MESH: dict[
    str, tuple[tuple[str | int, ...], str]
] = {  # arrays of a person's own mesh: their shapes, the kind of number
    "mesh_vertices": (("V", 3), "f"),
    "mesh_faces": (("F", 3), "iu"),
    "mesh_normals": (("V", 3), "f"),
    "mesh_bones": (("V", "I"), "iu"),
    "mesh_weights": (("V", "I"), "f"),
    "mesh_joints": (("J", 3), "f"),
}


@dataclass(frozen=True)
class AvatarRecord:
    """Axes as in `types`; zero rotations are the T-pose. `mesh` is canonical; None: the model makes it."""

    shape: Float[Tensor, " Z"]
    detail: Float[Tensor, " Zd"]
    betas: Float[Tensor, " S"]
    joint_rotations: Float[Tensor, "J 3"]  # axis-angle, root first
    translation: Float[Tensor, " 3"]
    mesh: AvatarMesh | None = None
    styles: Float[Tensor, " Y"] | None = None  # of the generator's layers; None: those of `shape`


def save_avatar(path: Path | str, record: AvatarRecord) -> None:
    """Plain npz, one float32 array per field of the record; of a mesh, each vertex's bones and their weights."""
    arrays = {name: getattr(record, name).detach().cpu().float().numpy() for name in NUMBERS}
    if record.styles is not None:
        arrays[STYLES] = record.styles.detach().cpu().float().numpy()
    if record.mesh is not None:
        arrays |= _mesh_arrays(record.mesh)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_avatar(path: Path | str) -> AvatarRecord:
    """Raises `GdnaError` where the file is missing, is not an npz, or lacks or misshapes an array."""
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise GdnaError(f"{path}: no such file; expected an avatar as save_avatar writes it") from None
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise GdnaError(f"{path}: not a readable npz file of plain arrays ({error}); expected an avatar") from error
    has_mesh = any(name in arrays for name in MESH)
    expected = [*NUMBERS, *(MESH if has_mesh else ())]
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise GdnaError(f"{path}: found arrays {sorted(arrays)}, {missing} missing; expected {expected}")
    shapes = NUMBERS | ({STYLES: ("Y",)} if STYLES in arrays else {})
    for name, shape in shapes.items():
        _check(path, name, arrays[name], shape, "fiu")
    numbers = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in shapes}
    return AvatarRecord(**numbers, mesh=_read_mesh(path, arrays) if has_mesh else None)


def _mesh_arrays(mesh: AvatarMesh) -> dict[str, np.ndarray]:
    used = max(1, int((mesh.skin_weights > 0).sum(1).max()))
    weights, bones = mesh.skin_weights.detach().cpu().topk(used, dim=1)
    floats = {"vertices": mesh.vertices, "normals": mesh.normals, "joints": mesh.joints, "weights": weights}
    arrays = {f"mesh_{name}": value.detach().cpu().float().numpy() for name, value in floats.items()}
    faces = mesh.faces.detach().cpu().numpy().astype(np.int32)
    return arrays | {"mesh_faces": faces, "mesh_bones": bones.numpy().astype(np.uint8)}


def _read_mesh(path: Path | str, arrays: dict[str, np.ndarray]) -> AvatarMesh:
    for name, (shape, kinds) in MESH.items():
        _check(path, name, arrays[name], shape, kinds)
    vertices, bones, weights, joints = (arrays[f"mesh_{n}"] for n in ("vertices", "bones", "weights", "joints"))
    faces = arrays["mesh_faces"]
    parents = next((tree for tree in JOINTS_OF if len(tree) == len(joints)), None)
    if parents is None:
        raise GdnaError(f"{path}: mesh_joints has {len(joints)} joints, expected {[len(tree) for tree in JOINTS_OF]}")
    if not len(vertices) == len(arrays["mesh_normals"]) == len(bones) == len(weights) or bones.shape != weights.shape:
        raise GdnaError(f"{path}: mesh_vertices, _normals, _bones and _weights are not of one length; save it again")
    for name, index, count in (("mesh_faces", faces, len(vertices)), ("mesh_bones", bones, len(joints))):
        if index.size and (index.min() < 0 or index.max() >= count):
            raise GdnaError(f"{path}: {name} names {index.min()} to {index.max()}, there are {count}; save it again")
    skin = torch.zeros(len(vertices), len(joints))
    skin.scatter_add_(1, torch.from_numpy(bones.astype(np.int64)), torch.from_numpy(weights.astype(np.float32)))
    if not ((weights >= 0).all() and torch.allclose(skin.sum(1), torch.ones(len(skin)), atol=1e-3)):
        raise GdnaError(f"{path}: mesh_weights of a vertex do not add up to 1; save it again")
    return AvatarMesh(
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(arrays["mesh_normals"].astype(np.float32)),
        skin,
        torch.from_numpy(joints.astype(np.float32)),
        parents,
    )


def _check(path: Path | str, name: str, array: np.ndarray, shape: tuple[str | int, ...], kinds: str) -> None:
    fits = array.ndim == len(shape) and all(
        isinstance(w, str) or w == s for w, s in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in kinds or not np.isfinite(array).all():
        raise GdnaError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; expected finite numbers of shape {shape}"
        )
