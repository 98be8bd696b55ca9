"""A person as a rigged, animated glTF file that Blender, engines and browsers open.

The joints' nodes carry the axes of the zero pose, so a key frame is a joint rotation as the body model has it; the
mesh is bound in the canonical pose. Nodes turned by T_j = G_j(pose) G_j(canonical)^-1 then skin exactly as
`pose_mesh` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gdna.body.skeleton import (
    JOINTS_OF,
    PARENTS,
    bone_poses,
    canonical_rotations,
    rigid_inverse,
    rotations_for,
    zero_pose_joints,
)
from gdna.errors import GdnaError
from gdna.export.gltf import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GltfBuffer, Json
from gdna.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion
from gdna.types import AvatarMesh, Motion

CLAY: Json = {
    "name": "clay",
    "pbrMetallicRoughness": {
        "baseColorFactor": [0.61, 0.54, 0.48, 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": 0.85,
    },
}


def write_glb(path: Path | str, avatar: AvatarMesh, motion: Motion | None = None, name: str = "person") -> None:
    """The avatar with its skeleton, and `motion` as an animation clip at its frame rate.

    Without a motion it stands in the canonical pose. glTF viewers take four influences a vertex at least; those beyond
    are in further sets, which most take. Raises `GdnaError` where the skeleton is none of those with names, or the
    motion of another.
    """
    if avatar.parents not in JOINTS_OF:
        raise GdnaError(
            f"{path}: the avatar has {len(avatar.parents)} bones; a rig is written for SMPL's, SMPL-H's or SMPL-X's"
        )
    buffer = GltfBuffer()
    rest = _rest(avatar.joints.detach().cpu().double(), avatar.parents)
    tree: Json = {
        "asset": {"version": "2.0", "generator": "gdna"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"name": name, "mesh": 0, "skin": 0}, *_nodes(rest)],
        "meshes": [{"name": name, "primitives": [_primitive(buffer, avatar)]}],
        "materials": [CLAY],
        "skins": [_skin(buffer, rest)],
    }
    if motion is not None:
        motion = _fitted(path, motion, avatar.parents)
        tree["animations"] = [_animation(buffer, motion, rest)]
    buffer.write(path, tree)


@dataclass(frozen=True)
class _Rest:
    """The canonical pose: each joint's rotation and offset relative to its parent, and where the joints' frames lie."""

    parents: tuple[int, ...]
    rotations: Float[Tensor, "J 3 3"]
    offsets: Float[Tensor, "J 3"]
    frames: Float[Tensor, "J 4 4"]


def _rest(joints: Float[Tensor, "J 3"], parents: tuple[int, ...]) -> _Rest:
    rotations, zero = canonical_rotations(len(parents)).to(joints), zero_pose_joints(joints, parents)
    offsets = torch.cat([zero[:1], zero[1:] - zero[list(parents[1:])]])
    frames = bone_poses(rotations[None], zero[None], parents)[0]
    return _Rest(parents, axis_angle_to_matrix(rotations), offsets, frames)


def _nodes(rest: _Rest) -> list[Json]:
    """One node a joint; node j + 1 is joint j, the mesh's node being the first."""
    nodes = []
    for joint, name in enumerate(JOINTS_OF[rest.parents]):
        node: Json = {"name": name, "translation": rest.offsets[joint].tolist()}
        node["rotation"] = matrix_to_quaternion(rest.rotations[joint]).tolist()
        children = [1 + child for child, parent in enumerate(rest.parents) if parent == joint]
        nodes.append({**node, "children": children} if children else node)
    return nodes


def _skin(buffer: GltfBuffer, rest: _Rest) -> Json:
    inverse_bind = buffer.add(rigid_inverse(rest.frames).float().numpy())
    return {"joints": list(range(1, 1 + len(rest.parents))), "inverseBindMatrices": inverse_bind, "skeleton": 1}


def _primitive(buffer: GltfBuffer, avatar: AvatarMesh) -> Json:
    normals = torch.nn.functional.normalize(avatar.normals.detach().double(), dim=1)
    attributes = {
        "POSITION": buffer.add(_floats(avatar.vertices), ARRAY_BUFFER, bounds=True),
        "NORMAL": buffer.add(_floats(normals), ARRAY_BUFFER),
    }
    joints, weights = _influences(avatar.skin_weights)
    for start in range(0, joints.shape[1], 4):
        attributes[f"JOINTS_{start // 4}"] = buffer.add(joints[:, start : start + 4], ARRAY_BUFFER)
        attributes[f"WEIGHTS_{start // 4}"] = buffer.add(weights[:, start : start + 4], ARRAY_BUFFER)
    faces = avatar.faces.detach().cpu().numpy().astype(np.uint32).ravel()
    return {"attributes": attributes, "indices": buffer.add(faces, ELEMENT_ARRAY_BUFFER), "material": 0}


def _influences(
    skin_weights: Float[Tensor, "V J"],
) -> tuple[UInt8[np.ndarray, "V four_n"], Float[np.ndarray, "V four_n"]]:
    """Bones and weights of each vertex by falling weight, in as many fours as the vertex with the most needs."""
    weights = skin_weights.detach().cpu()
    most = int((weights > 0).sum(1).max())
    largest, joints = weights.topk(min(-(-most // 4) * 4, weights.shape[1]), dim=1)
    joints = torch.where(largest > 0, joints, 0)
    return joints.numpy().astype(np.uint8), _floats(largest)


def _animation(buffer: GltfBuffer, motion: Motion, rest: _Rest) -> Json:
    """A rotation track for every joint and a translation track for the root."""
    times = np.arange(len(motion.joint_rotations), dtype=np.float32) / np.float32(motion.frame_rate)
    at = buffer.add(times, bounds=True)
    rotations = motion.joint_rotations.detach().cpu().double()
    quaternions = _floats(continuous(matrix_to_quaternion(axis_angle_to_matrix(rotations))))
    translation = _floats(motion.translation.detach().cpu().double() + rest.offsets[0])
    tracks = [(1 + joint, "rotation", quaternions[:, joint]) for joint in range(len(rest.parents))]
    tracks.append((1, "translation", translation))
    return {
        "name": motion.name,
        "samplers": [{"input": at, "output": buffer.add(v), "interpolation": "LINEAR"} for _, _, v in tracks],
        "channels": [{"sampler": i, "target": {"node": n, "path": p}} for i, (n, p, _) in enumerate(tracks)],
    }


def continuous(quaternions: Float[Tensor, "T J 4"]) -> Float[Tensor, "T J 4"]:
    """The same rotations with signs such that neighbours in time lie on one side, so that blending goes the short
    way.
    """
    against = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdim=True) < 0
    sign = torch.where(against, -1.0, 1.0).to(quaternions).cumprod(0)
    return torch.cat([quaternions[:1], quaternions[1:] * sign])


def _fitted(path: Path | str, motion: Motion, parents: tuple[int, ...]) -> Motion:
    frames, joints = motion.joint_rotations.shape[:2]
    if joints not in (len(PARENTS), len(parents)) or frames < 1 or not motion.frame_rate > 0:
        raise GdnaError(
            f"{path}: motion {motion.name!r} has {frames} frames of {joints} joints at {motion.frame_rate} a second; "
            f"expected at least one frame, {len(parents)} joints and a positive rate"
        )
    return replace(motion, joint_rotations=rotations_for(motion, parents))


def _floats(values: Tensor) -> Float[np.ndarray, "..."]:
    return values.detach().cpu().numpy().astype(np.float32)
