"""Files for other programs: what they say, read back without the code that wrote them."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gdna.body.skeleton import (
    JOINT_NAMES,
    JOINTS_OF,
    PARENTS,
    SMPLH_PARENTS,
    SMPLX_PARENTS,
    bone_poses,
    bone_transforms,
    canonical_rotations,
)
from gdna.errors import GdnaError
from gdna.export.avatar_npz import NUMBERS, AvatarRecord, load_avatar, save_avatar
from gdna.export.glb import continuous, write_glb
from gdna.export.ply import write_ply
from gdna.extract.avatar_mesh import prune
from gdna.extract.pose import pose_mesh
from gdna.generate.animation import animate
from gdna.geometry.mesh import vertex_normals
from gdna.types import AvatarMesh, Motion

FRAMES = 7


@pytest.fixture(scope="module")
def joints_zero() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    joints = [torch.tensor([0.01, -0.2, 0.02])]
    for parent in PARENTS[1:]:
        joints.append(joints[parent] + 0.25 * torch.randn(3, generator=generator))
    return torch.stack(joints)


@pytest.fixture(scope="module")
def avatar(joints_zero) -> AvatarMesh:
    """Any triangles, up to eight bones each, about a body's size."""
    generator = torch.Generator().manual_seed(1)
    vertices = torch.rand(300, 3, generator=generator) * 2 - 1
    faces = torch.arange(300).view(100, 3)
    weights = prune(torch.rand(300, 24, generator=generator) ** 6, 8)
    weights[:3] = torch.eye(24)[5]
    joints = bone_poses(canonical_rotations()[None], joints_zero[None])[0, :, :3, 3]
    return AvatarMesh(vertices, faces, vertex_normals(vertices, faces), weights, joints, PARENTS)


@pytest.fixture(scope="module")
def motion() -> Motion:
    """Turns of up to several radians between frames."""
    generator = torch.Generator().manual_seed(2)
    rotations = torch.randn(FRAMES, 24, 3, generator=generator)
    return Motion("tumble", rotations, torch.randn(FRAMES, 3, generator=generator), 30.0)


class Glb:
    """A reader of the parts of glTF that a rigged mesh has, after the specification."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length, json_length, json_kind = struct.unpack_from("<IIIII", data)
        assert (magic, version, length, json_kind) == (0x46546C67, 2, len(data), 0x4E4F534A)
        self.tree = json.loads(data[20 : 20 + json_length])
        size, kind = struct.unpack_from("<II", data, 20 + json_length)
        assert kind == 0x004E4942
        self.binary = data[28 + json_length : 28 + json_length + size]

    def array(self, index: int) -> np.ndarray:
        accessor = self.tree["accessors"][index]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        kind = {5121: "u1", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        flat = np.frombuffer(self.binary, kind, accessor["count"] * width, view["byteOffset"])
        return flat.reshape(accessor["count"], width).astype(np.float64)

    def node_frames(self, frame: int | None) -> np.ndarray:
        """World matrices of all nodes, at rest or at a key frame."""
        local = [{k: n[k] for k in ("translation", "rotation") if k in n} for n in self.tree["nodes"]]
        if frame is not None:
            (clip,) = self.tree["animations"]
            for channel in clip["channels"]:
                values = self.array(clip["samplers"][channel["sampler"]]["output"])
                local[channel["target"]["node"]][channel["target"]["path"]] = values[frame]
        world = np.tile(np.eye(4), (len(local), 1, 1))

        def visit(index: int, above: np.ndarray) -> None:
            matrix = np.eye(4)
            x, y, z, w = local[index].get("rotation", (0, 0, 0, 1))
            cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
            matrix[:3, :3] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
            matrix[:3, 3] = local[index].get("translation", (0, 0, 0))
            world[index] = above @ matrix
            for child in self.tree["nodes"][index].get("children", []):
                visit(child, world[index])

        for root in self.tree["scenes"][0]["nodes"]:
            visit(root, np.eye(4))
        return world

    def skinned(self, frame: int | None) -> np.ndarray:
        (skin,) = self.tree["skins"]
        inverse_bind = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        bones = self.node_frames(frame)[skin["joints"]] @ inverse_bind
        (primitive,) = self.tree["meshes"][0]["primitives"]
        attributes = primitive["attributes"]
        points = self.array(attributes["POSITION"])
        homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
        total = np.zeros_like(points)
        for number in range(sum(name.startswith("JOINTS") for name in attributes)):
            joints = self.array(attributes[f"JOINTS_{number}"]).astype(int)
            weights = self.array(attributes[f"WEIGHTS_{number}"])
            total += np.einsum("vk,vkab,vb->va", weights, bones[joints], homogeneous)[:, :3]
        return total


def test_glb_skins_as_pose_mesh_does(avatar, motion, joints_zero, tmp_path):
    write_glb(tmp_path / "person.glb", avatar, motion)
    glb = Glb(tmp_path / "person.glb")
    rest = glb.skinned(None)
    np.testing.assert_allclose(rest, avatar.vertices.numpy(), atol=1e-5)
    zero = joints_zero.expand(FRAMES, -1, -1)
    transforms = bone_transforms(motion.joint_rotations, zero, motion.translation)
    for frame, mesh in enumerate(pose_mesh(avatar, transforms)):
        # metres; float32 key frames and matrices, under a tenth of a millimetre asked for
        np.testing.assert_allclose(glb.skinned(frame), mesh.vertices.numpy(), atol=1e-5)


@pytest.mark.parametrize("parents", [SMPLH_PARENTS, SMPLX_PARENTS], ids=["smplh", "smplx"])
def test_glb_of_a_person_with_fingers(motion, tmp_path, parents):
    """A clip of 24 joints with the fingers it has beside them."""
    generator, count = torch.Generator().manual_seed(4), len(parents)
    zero = [torch.zeros(3)]
    for parent in parents[1:]:
        zero.append(zero[parent] + 0.1 * torch.randn(3, generator=generator))
    zero = torch.stack(zero)
    joints = bone_poses(canonical_rotations(count)[None], zero[None], parents)[0, :, :3, 3]
    vertices, faces = torch.rand(60, 3, generator=generator), torch.arange(60).view(20, 3)
    weights = prune(torch.rand(60, count, generator=generator) ** 6, 8)
    avatar = AvatarMesh(vertices, faces, vertex_normals(vertices, faces), weights, joints, parents)
    waving = replace(motion, hands=0.5 * torch.randn(FRAMES, 30, 3, generator=generator))
    write_glb(tmp_path / "person.glb", avatar, waving)
    glb = Glb(tmp_path / "person.glb")
    assert [n["name"] for n in glb.tree["nodes"][1:]] == list(JOINTS_OF[parents])
    for frame, mesh in enumerate(animate(avatar, waving)):
        np.testing.assert_allclose(glb.skinned(frame), mesh.vertices.numpy(), atol=1e-5)
    assert not torch.allclose(animate(avatar, motion)[0].vertices, animate(avatar, waving)[0].vertices, atol=1e-3)


def test_glb_has_named_joints_times_and_short_ways(avatar, motion, tmp_path):
    write_glb(tmp_path / "person.glb", avatar, motion, name="anna")
    glb = Glb(tmp_path / "person.glb")
    assert [n["name"] for n in glb.tree["nodes"]] == ["anna", *JOINT_NAMES]
    (clip,) = glb.tree["animations"]
    assert clip["name"] == "tumble"
    np.testing.assert_allclose(glb.array(clip["samplers"][0]["input"])[:, 0], np.arange(FRAMES) / 30, atol=1e-6)
    for sampler in clip["samplers"][:-1]:
        quaternions = glb.array(sampler["output"])
        assert ((quaternions[1:] * quaternions[:-1]).sum(1) >= 0).all()
    (primitive,) = glb.tree["meshes"][0]["primitives"]
    weights = np.concatenate([glb.array(primitive["attributes"][f"WEIGHTS_{k}"]) for k in range(2)], 1)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (np.diff(weights, axis=1) <= 0).all()  # programs that read four see the largest


def test_quaternions_go_on_without_a_jump():
    angle = torch.linspace(0, 4 * torch.pi, 50)
    turning = torch.stack([0 * angle, 0 * angle, (angle / 2).sin(), (angle / 2).cos()], 1)
    flipped = turning * torch.where(turning[:, 3:] < 0, -1.0, 1.0)
    torch.testing.assert_close(continuous(flipped[:, None])[:, 0], turning)


def test_glb_without_motion_stands(avatar, tmp_path):
    write_glb(tmp_path / "still.glb", avatar)
    assert "animations" not in Glb(tmp_path / "still.glb").tree


def test_glb_refuses_other_skeletons_and_motions(avatar, motion, tmp_path):
    with pytest.raises(GdnaError, match="a rig is written for SMPL's"):
        write_glb(tmp_path / "no.glb", replace(avatar, parents=PARENTS[:-1]))
    with pytest.raises(GdnaError, match="0 frames"):
        write_glb(tmp_path / "no.glb", avatar, Motion("none", torch.zeros(0, 24, 3), torch.zeros(0, 3), 30.0))
    assert list(tmp_path.iterdir()) == []


VALIDATE = """
const validator = require('gltf-validator');
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def validator_modules() -> Path | None:
    """The folder of node modules that holds Khronos' gltf-validator, named by GLTF_VALIDATOR_DIR."""
    folder = os.environ.get("GLTF_VALIDATOR_DIR")
    if not folder or shutil.which("node") is None:
        return None
    places = (Path(folder), Path(folder) / "node_modules", Path(folder).parent)
    return next((p.resolve() for p in places if (p / "gltf-validator" / "package.json").exists()), None)


@pytest.mark.skipif(validator_modules() is None, reason="needs node and, in GLTF_VALIDATOR_DIR, npm's gltf-validator")
@pytest.mark.parametrize("moving", [True, False])
def test_khronos_validator_has_nothing_to_say(avatar, motion, tmp_path, moving):
    path = tmp_path / "person.glb"
    write_glb(path, avatar, motion if moving else None)
    environment = {**os.environ, "NODE_PATH": str(validator_modules())}
    run = subprocess.run(
        ["node", "-e", VALIDATE, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    issues = json.loads(run.stdout)
    assert (issues["numErrors"], issues["numWarnings"], issues["numInfos"]) == (0, 0, 0), issues["messages"][:5]


def test_ply_is_read_by_others(avatar, tmp_path):
    import trimesh

    write_ply(tmp_path / "mesh.ply", avatar.vertices, avatar.faces, avatar.normals)
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), avatar.vertices.numpy())
    np.testing.assert_array_equal(mesh.faces, avatar.faces.numpy())
    np.testing.assert_allclose(mesh.vertex_normals, avatar.normals.numpy(), atol=1e-6)
    with pytest.raises(GdnaError, match="check the faces"):
        write_ply(tmp_path / "bad.ply", avatar.vertices[:10], avatar.faces, avatar.normals[:10])


@pytest.fixture
def record() -> AvatarRecord:
    generator = torch.Generator().manual_seed(0)
    shape, detail, betas, translation = (torch.randn(n, generator=generator) for n in (64, 48, 10, 3))
    return AvatarRecord(shape, detail, betas, torch.randn(24, 3, generator=generator), translation)


def test_avatar_record_comes_back(record, tmp_path):
    save_avatar(tmp_path / "person.npz", record)
    again = load_avatar(tmp_path / "person.npz")
    for name in NUMBERS:
        assert torch.equal(getattr(record, name), getattr(again, name))
    assert again.mesh is None


def test_bad_avatar_files_are_named(record, tmp_path):
    path = tmp_path / "person.npz"
    with pytest.raises(GdnaError, match="no such file"):
        load_avatar(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(GdnaError, match="not a readable npz"):
        load_avatar(path)
    np.savez(path, shape=np.array([{"a": 1}], dtype=object))
    with pytest.raises(GdnaError, match="not a readable npz"):
        load_avatar(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(GdnaError, match="not a readable npz"):
        load_avatar(path)
    np.savez(path, shape=np.zeros(64))
    with pytest.raises(GdnaError, match=r"'betas'.* missing"):
        load_avatar(path)
    arrays = {name: getattr(record, name).numpy() for name in NUMBERS}
    np.savez(path, **{**arrays, "translation": np.zeros(4)})
    with pytest.raises(GdnaError, match="translation is float64 of shape"):
        load_avatar(path)
    np.savez(path, **{**arrays, "betas": np.full(10, np.nan)})
    with pytest.raises(GdnaError, match=r"betas is .* finite"):
        load_avatar(path)
