"""Readers of motions on made-up files, retargeting, resampling, and the shipped clips."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES, PARENTS
from gdna.data.joint_names import name_joints
from gdna.data.motion import (
    joint_positions,
    joints_zero,
    keep_in_view,
    load_motion,
    place_on_floor,
    resample,
    save_motion,
    shipped_motions,
)
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.types import BodyParams, Motion

J = {name: i for i, name in enumerate(JOINT_NAMES)}


def made_up(frames: int = 5, seed: int = 0) -> Motion:
    g = torch.Generator().manual_seed(seed)
    rotations = torch.randn(frames, 24, 3, generator=g) * 0.4
    return Motion("made_up", rotations, torch.randn(frames, 3, generator=g) * 0.2, 30.0)


def directions(positions: Tensor, bones: list[tuple[int, int]]) -> Tensor:
    return torch.stack([torch.nn.functional.normalize(positions[:, b] - positions[:, a], dim=-1) for a, b in bones], 1)


# ---- files of joint rotations


def test_saved_motions_are_read_back(tmp_path: Path) -> None:
    motion = made_up()
    save_motion(tmp_path / "clip.npz", motion)
    again = load_motion(tmp_path / "clip.npz")
    assert (again.name, again.frame_rate) == ("clip", 30.0)
    torch.testing.assert_close(again.joint_rotations, motion.joint_rotations)
    torch.testing.assert_close(again.translation, motion.translation)


@pytest.mark.parametrize("joints", [22, 52, 55])
@pytest.mark.parametrize("key", ["mocap_framerate", "mocap_frame_rate"])
def test_amass_stands_up_and_faces_forward(tmp_path: Path, joints: int, key: str) -> None:
    poses = np.zeros((3, joints * 3))
    poses[:, :3] = [np.pi / 2, 0, 0]  # z up: a standing person that faces -y
    poses[:, 3 * J["left_knee"]] = 0.3
    poses[:, 66:] = 1.0  # fingers
    trans = np.array([[1, 2, 0.9], [1, 1, 0.9], [1, 0, 1.0]])  # walking along -y, and up at the end
    np.savez(tmp_path / "a.npz", poses=poses, trans=trans, gender="male", **{key: 120.0})
    motion = load_motion(tmp_path / "a.npz")
    assert motion.frame_rate == 120
    torch.testing.assert_close(motion.joint_rotations[:, 0], torch.zeros(3, 3), atol=1e-6, rtol=0)
    assert motion.joint_rotations[:, J["left_knee"], 0].tolist() == pytest.approx([0.3] * 3)
    assert not motion.joint_rotations[:, 22:].any()
    if joints == 22:
        assert motion.hands is None
    else:
        assert motion.hands.shape == (3, 30, 3)
        assert (motion.hands == 1).all()
    travel = motion.translation - motion.translation[:1]
    torch.testing.assert_close(travel, torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0.1, 2]]))
    feet = [J[f"{side}_foot"] for side in ("left", "right")]
    lowest = joint_positions(motion)[:, feet, 1].amin()
    torch.testing.assert_close(lowest, joints_zero()[feet, 1].amin(), atol=1e-5, rtol=0)


def test_fingers_are_kept_interpolated_and_saved(tmp_path: Path) -> None:
    motion = replace(made_up(), hands=torch.zeros(len(made_up().translation), 30, 3))
    motion.hands[1:, 4, 0] = 1.0
    save_motion(tmp_path / "clip.npz", motion)
    torch.testing.assert_close(load_motion(tmp_path / "clip.npz").hands, motion.hands)
    twice = resample(motion, 2 * motion.frame_rate)
    assert float(twice.hands[1, 4, 0]) == pytest.approx(0.5, abs=1e-5)
    assert place_on_floor(motion).hands is motion.hands
    assert keep_in_view(motion).hands is motion.hands


def test_one_amass_file_per_frame_is_the_whole_sequence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses, trans = 0.3 * rng.normal(size=(4, 156)), rng.normal(size=(4, 3))
    np.savez(tmp_path / "whole.npz", poses=poses, trans=trans, mocap_framerate=30.0)
    for frame in range(4):
        (tmp_path / "frames").mkdir(exist_ok=True)
        np.savez(tmp_path / "frames" / f"{frame:04d}.npz", poses=poses[frame], trans=trans[frame])
    whole, frames = load_motion(tmp_path / "whole.npz"), load_motion(tmp_path / "frames")
    torch.testing.assert_close(frames.joint_rotations, whole.joint_rotations)
    torch.testing.assert_close(frames.hands, whole.hands)
    torch.testing.assert_close(frames.translation, whole.translation)


def test_aist_is_scaled_to_metres(tmp_path: Path) -> None:
    values = {"smpl_poses": np.zeros((2, 72), np.float32), "smpl_trans": np.array([[0, 90, 0], [180, 90, 0.0]])}
    (tmp_path / "gBR.pkl").write_bytes(pickle.dumps({**values, "smpl_scaling": np.array([90.0])}))
    motion = load_motion(tmp_path / "gBR.pkl")
    assert motion.frame_rate == 60
    torch.testing.assert_close(motion.translation, torch.tensor([[0.0, 0, 0], [2, 0, 0]]), atol=1e-6, rtol=0)


def test_single_poses_and_folders_of_them(tmp_path: Path) -> None:
    poses = made_up().joint_rotations.numpy().reshape(-1, 72)
    (tmp_path / "seqs").mkdir()
    for i, pose in enumerate(poses):
        np.savez(tmp_path / "seqs" / f"{i:04d}.npz", pose=pose)
    np.savez(tmp_path / "all.npz", pose=poses)
    one, folder, together = (load_motion(tmp_path / n) for n in ("seqs/0002.npz", "seqs", "all.npz"))
    torch.testing.assert_close(one.joint_rotations.flatten(), torch.from_numpy(poses[2]))
    torch.testing.assert_close(folder.joint_rotations, together.joint_rotations)
    assert folder.name == "seqs"
    assert not folder.translation.any()


def test_unusable_files_are_named(tmp_path: Path) -> None:
    def fails(name: str, match: str) -> None:
        with pytest.raises(GdnaError, match=match) as caught:
            load_motion(tmp_path / name)
        assert "\n" not in str(caught.value)

    fails("polka", "neither a shipped clip .*walk")
    fails("none.bvh", "nor an existing file")
    np.savez(tmp_path / "joints.npz", pose=np.zeros((4, 66)))
    fails("joints.npz", r"shape \(4, 66\), expected \(T, 72\)")
    np.savez(tmp_path / "nan.npz", pose=np.full(72, np.nan))
    fails("nan.npz", "not finite")
    np.savez(tmp_path / "few.npz", poses=np.zeros((4, 63)), trans=np.zeros((4, 3)), mocap_framerate=60)
    fails("few.npz", r"poses has shape \(4, 63\)")
    np.savez(tmp_path / "rate.npz", poses=np.zeros((4, 156)), trans=np.zeros((4, 3)))
    fails("rate.npz", "no frame rate")
    np.savez(tmp_path / "trans.npz", poses=np.zeros((4, 156)), trans=np.zeros((3, 3)), mocap_framerate=60)
    fails("trans.npz", r"translation of shape \(3, 3\)")
    np.savez(tmp_path / "other.npz", betas=np.zeros(10))
    fails("other.npz", r"found \['betas'\]")
    (tmp_path / "text.npz").write_text("hello")
    fails("text.npz", "not a readable npz")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    fails("list.pkl", "expected an AIST")
    (tmp_path / "code.pkl").write_bytes(b"cos\nsystem\n.")
    fails("code.pkl", "refused to load os.system")
    (tmp_path / "empty").mkdir()
    fails("empty", "no .npz files")
    (tmp_path / "text.bvh").write_text("hello")
    fails("text.bvh", "not a readable BVH")
    (tmp_path / "a.amc").write_text(":DEGREES\n")
    fails("a.amc", "0 .asf files beside it")


# ---- BVH


def bvh_text(names: list[str], parents: list[int], offsets: np.ndarray, frames: np.ndarray, order: str) -> str:
    """A file whose frames are root positions and intrinsic Euler angles (T, 3 + 3 n), degrees."""
    lines = ["HIERARCHY"]

    def joint(j: int, indent: str) -> None:
        children = [k for k, p in enumerate(parents) if p == j]
        lines.append(f"{indent}{'JOINT' if parents[j] >= 0 else 'ROOT'} {names[j]}")
        lines.append(f"{indent}{{")
        lines.append(f"{indent}  OFFSET {' '.join(f'{x:.6f}' for x in offsets[j])}")
        channels = [f"{a}position" for a in "XYZ" if parents[j] < 0] + [f"{a}rotation" for a in order]
        lines.append(f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}")
        for k in children:
            joint(k, indent + "  ")
        if not children:
            lines.extend([f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET 0 1 0", f"{indent}  }}"])
        lines.append(f"{indent}}}")

    joint(0, "")
    lines += ["MOTION", f"Frames: {len(frames)}", "Frame Time: 0.0333333"]
    lines += [" ".join(f"{x:.6f}" for x in row) for row in frames]
    return "\n".join(lines) + "\n"


def depth_first(parents: list[int]) -> list[int]:
    order: list[int] = []

    def visit(j: int) -> None:
        order.append(j)
        for k, p in enumerate(parents):
            if p == j:
                visit(k)

    visit(0)
    return order


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "YZX"])
def test_our_motion_written_as_bvh_comes_back(tmp_path: Path, order: str) -> None:
    motion = made_up()
    zero = joints_zero().numpy()
    offsets = np.stack([zero[j] - (zero[p] if p >= 0 else 0) for j, p in enumerate(PARENTS)])
    frames = [motion.translation.numpy() + zero[0]]
    for j in depth_first(list(PARENTS)):
        frames.append(Rotation.from_rotvec(motion.joint_rotations[:, j].numpy()).as_euler(order, degrees=True))
    text = bvh_text(list(JOINT_NAMES), list(PARENTS), offsets, np.concatenate(frames, 1), order)
    (tmp_path / "clip.bvh").write_text(text)
    again = load_motion(tmp_path / "clip.bvh")
    assert again.frame_rate == pytest.approx(30, abs=1e-3)
    # metres; the file has six digits
    torch.testing.assert_close(joint_positions(again), joint_positions(place_on_floor(motion)), atol=2e-5, rtol=0)


# a skeleton in centimetres with z up that faces -y, arms hanging, two spine joints, Mixamo's names
MIXAMO = {
    "Hips": ("", (0, 0, 100)), "Spine": ("Hips", (0, 0, 10)), "Spine1": ("Spine", (0, 0, 20)),
    "Neck": ("Spine1", (0, 0, 20)), "Head": ("Neck", (0, 0, 10)),
    "LeftShoulder": ("Spine1", (5, 0, 15)), "LeftArm": ("LeftShoulder", (12, 0, -3)),
    "LeftForeArm": ("LeftArm", (0, 0, -28)), "LeftHand": ("LeftForeArm", (0, 0, -25)),
    "RightShoulder": ("Spine1", (-5, 0, 15)), "RightArm": ("RightShoulder", (-12, 0, -3)),
    "RightForeArm": ("RightArm", (0, 0, -28)), "RightHand": ("RightForeArm", (0, 0, -25)),
    "LeftUpLeg": ("Hips", (10, 0, -5)), "LeftLeg": ("LeftUpLeg", (0, 0, -45)), "LeftFoot": ("LeftLeg", (0, 0, -42)),
    "LeftToeBase": ("LeftFoot", (0, -14, -6)),
    "RightUpLeg": ("Hips", (-10, 0, -5)), "RightLeg": ("RightUpLeg", (0, 0, -45)),
    "RightFoot": ("RightLeg", (0, 0, -42)), "RightToeBase": ("RightFoot", (0, -14, -6)),
}  # fmt: skip


def test_a_foreign_rest_pose_keeps_the_directions_of_the_limbs(tmp_path: Path) -> None:
    names = list(MIXAMO)
    parents = [names.index(p) if p else -1 for p, _ in MIXAMO.values()]
    offsets = np.array([o for _, o in MIXAMO.values()], float)
    rng = np.random.default_rng(0)
    angles = rng.normal(0, 25, (6, len(names), 3))
    position = np.array([[0, -40.0 * t, 100] for t in range(6)])
    order = depth_first(parents)
    frames = np.concatenate([position, angles[:, order].reshape(6, -1)], 1)
    text = bvh_text([f"mixamorig:{n}" for n in names], parents, offsets, frames, "ZYX")
    (tmp_path / "dance.bvh").write_text(text)
    motion = load_motion(tmp_path / "dance.bvh")

    rotations, positions = [], []
    for j, p in enumerate(parents):
        local = Rotation.from_euler("ZYX", angles[:, j], degrees=True)
        rotations.append(local if p < 0 else rotations[p] * local)
        positions.append(position if p < 0 else positions[p] + rotations[p].apply(offsets[j]))
    stood = np.stack(positions, 1) @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).T
    chains = ("Arm ForeArm Hand", "shoulder elbow wrist"), ("UpLeg Leg Foot", "hip knee ankle")
    for theirs, ours in chains:
        for side in ("Left", "Right"):
            bones = [(names.index(side + a), names.index(side + b)) for a, b in pairwise(theirs.split())]
            expected = directions(torch.from_numpy(stood).float(), bones)
            bones = [(J[f"{side.lower()}_{a}"], J[f"{side.lower()}_{b}"]) for a, b in pairwise(ours.split())]
            # unit vectors; the file has six digits of a degree
            torch.testing.assert_close(directions(joint_positions(motion), bones), expected, atol=1e-4, rtol=0)
    hip, knee, ankle = (joints_zero()[J[f"left_{part}"]] for part in ("hip", "knee", "ankle"))
    scale = float((hip - knee).norm() + (knee - ankle).norm()) / 87
    assert float(motion.translation[-1, 2]) == pytest.approx(200 * scale, rel=1e-4)


def test_a_hanging_rest_pose_at_rest_hangs(tmp_path: Path) -> None:
    names = list(MIXAMO)
    parents = [names.index(p) if p else -1 for p, _ in MIXAMO.values()]
    offsets = np.array([o for _, o in MIXAMO.values()], float)
    (tmp_path / "rest.bvh").write_text(bvh_text(names, parents, offsets, np.zeros((1, 3 + 3 * len(names))), "ZYX"))
    rotations = load_motion(tmp_path / "rest.bvh").joint_rotations[0]
    expected = torch.zeros(24, 3)
    expected[J["left_shoulder"], 2], expected[J["right_shoulder"], 2] = -np.pi / 2, np.pi / 2
    quiet = [j for j, name in enumerate(JOINT_NAMES) if not any(p in name for p in ("hip", "knee", "ankle"))]
    torch.testing.assert_close(rotations[quiet], expected[quiet], atol=2e-3, rtol=0)


RIGS = {
    "unreal": ("hips spine head", "{s}_thigh {s}_calf {s}_foot", "{s}_clavicle {s}_upperarm {s}_forearm {s}_hand"),
    "makehuman": (
        "root spine01 head",
        "upperleg01.{S} lowerleg01.{S} foot.{S}",
        "shoulder01.{S} upperarm01.{S} lowerarm01.{S} wrist.{S}",
    ),
    "biovision": (
        "Hips Chest Head",
        "{Side}Hip {Side}Knee {Side}Ankle",
        "{Side}Collar {Side}Shoulder {Side}Elbow {Side}Wrist",
    ),
    "acclaim": ("root thorax head", "{s}femur {s}tibia {s}foot", "{s}clavicle {s}humerus {s}radius {s}wrist"),
    "smpl": (
        "pelvis spine1 head",
        "{side}_hip {side}_knee {side}_ankle",
        "{side}_collar {side}_shoulder {side}_elbow {side}_wrist",
    ),
}


@pytest.mark.parametrize("rig", RIGS)
def test_common_names_are_recognised(rig: str) -> None:
    centre, leg, arm = RIGS[rig]
    sides = [{"side": n, "Side": n.title(), "s": n[0], "S": n[0].upper()} for n in ("left", "right")]
    names = [centre, *(leg.format(**side) for side in sides), *(arm.format(**side) for side in sides)]
    parents = [-1, 0, 1, 0, 3, 4, 0, 6, 7, 1, 9, 10, 11, 1, 13, 14, 15]
    found = name_joints(" ".join(names).split(), parents, "test")
    left, right = ("hip", "knee", "ankle"), ("collar", "shoulder", "elbow", "wrist")
    expected = {f"left_{p}": 3 + i for i, p in enumerate(left)} | {f"right_{p}": 6 + i for i, p in enumerate(left)}
    expected |= {f"left_{p}": 9 + i for i, p in enumerate(right)} | {f"right_{p}": 13 + i for i, p in enumerate(right)}
    assert found.limbs == expected
    assert (found.spine, found.neck) == ((0, 1), (1, 2))


def test_skeletons_without_limbs_are_refused(tmp_path: Path) -> None:
    text = bvh_text(["Hips", "Spine", "Tail"], [-1, 0, 1], np.ones((3, 3)), np.zeros((1, 12)), "ZXY")
    (tmp_path / "cat.bvh").write_text(text)
    with pytest.raises(GdnaError, match=r"cat\.bvh: no joint recognised as left_hip.*found Hips, Spine, Tail"):
        load_motion(tmp_path / "cat.bvh")
    (tmp_path / "short.bvh").write_text(text[: text.index("Frame Time")] + "Frame Time: 0.1\n1 2 3\n")
    with pytest.raises(GdnaError, match="3 numbers for 1 frames of 12 channels"):
        load_motion(tmp_path / "short.bvh")


# ---- CMU

ASF_BONES = {  # name: parent, direction, length, axis, degrees of freedom
    "lhipjoint": ("root", (0.6, -0.8, 0), 2.0, (0, 0, 0), ""),
    "lfemur": ("lhipjoint", (0.34202, -0.939693, 0), 7.0, (0, 0, 20), "rx ry rz"),
    "ltibia": ("lfemur", (0.34202, -0.939693, 0), 7.2, (0, 0, 20), "rx"),
    "lfoot": ("ltibia", (0, -0.3, 0.953939), 2.0, (-90, 0, 20), "rx rz"),
    "rhipjoint": ("root", (-0.6, -0.8, 0), 2.0, (0, 0, 0), ""),
    "rfemur": ("rhipjoint", (-0.34202, -0.939693, 0), 7.0, (0, 0, -20), "rx ry rz"),
    "rtibia": ("rfemur", (-0.34202, -0.939693, 0), 7.2, (0, 0, -20), "rx"),
    "rfoot": ("rtibia", (0, -0.3, 0.953939), 2.0, (-90, 0, -20), "rx rz"),
    "lowerback": ("root", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "upperback": ("lowerback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "thorax": ("upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "head": ("thorax", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "lclavicle": ("thorax", (0.94, 0.34, 0), 3.0, (0, 0, 0), "ry rz"),
    "lhumerus": ("lclavicle", (1, 0, 0), 5.0, (180, 30, 90), "rx ry rz"),
    "lradius": ("lhumerus", (1, 0, 0), 3.0, (180, 30, 90), "rx"),
    "lwrist": ("lradius", (1, 0, 0), 2.0, (180, 30, 90), "ry"),
    "rclavicle": ("thorax", (-0.94, 0.34, 0), 3.0, (0, 0, 0), "ry rz"),
    "rhumerus": ("rclavicle", (-1, 0, 0), 5.0, (180, -30, -90), "rx ry rz"),
    "rradius": ("rhumerus", (-1, 0, 0), 3.0, (180, -30, -90), "rx"),
    "rwrist": ("rradius", (-1, 0, 0), 2.0, (180, -30, -90), "ry"),
}


BONES = {
    "femur": ("hip", "knee"),
    "tibia": ("knee", "ankle"),
    "humerus": ("shoulder", "elbow"),
    "radius": ("elbow", "wrist"),
}


def write_cmu(folder: Path, frames: list[dict[str, np.ndarray]]) -> None:
    lines = [
        ":version 1.10",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        "  angle deg",
        ":documentation",
        "  made up",
        ":root",
    ]
    lines += ["  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]
    for i, (name, (_, direction, length, axis, dof)) in enumerate(ASF_BONES.items()):
        lines += ["  begin", f"    id {i + 1}", f"    name {name}", f"    direction {' '.join(map(str, direction))}"]
        lines += [f"    length {length}", f"    axis {' '.join(map(str, axis))}  XYZ"]
        if dof:
            lines += [f"    dof {dof}", "    limits (-180 180)", *["           (-180 180)"] * (len(dof.split()) - 1)]
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    parents = dict.fromkeys(p for p, *_ in ASF_BONES.values())
    lines += [f"    {p} {' '.join(n for n, b in ASF_BONES.items() if b[0] == p)}" for p in parents]
    (folder / "07.asf").write_text("\n".join([*lines, "  end"]) + "\n")
    rows = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for i, frame in enumerate(frames):
        rows += [str(i + 1)] + [f"{name} {' '.join(f'{x:.6f}' for x in numbers)}" for name, numbers in frame.items()]
    (folder / "07_01.amc").write_text("\n".join(rows) + "\n")


def test_cmu_keeps_the_directions_of_the_limbs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for t in range(3):
        frame = {"root": np.concatenate([[0, 17, 5.0 * t], rng.normal(0, 20, 3)])}
        frame |= {n: rng.normal(0, 20, len(b[4].split())) for n, b in ASF_BONES.items() if b[4]}
        frames.append(frame)
    write_cmu(tmp_path, frames)
    motion = load_motion(tmp_path / "07_01.amc")
    assert motion.frame_rate == 120

    for t, frame in enumerate(frames):
        turned = {"root": Rotation.from_euler("xyz", frame["root"][3:], degrees=True)}
        ours = joint_positions(motion)[t]
        for name, (parent, direction, _, axis, dof) in ASF_BONES.items():
            numbers = dict(zip(dof.split(), frame.get(name, []), strict=True))
            local = Rotation.from_euler("xyz", [numbers.get(f"r{a}", 0) for a in "xyz"], degrees=True)
            own = Rotation.from_euler("xyz", axis, degrees=True)
            turned[name] = turned[parent] * own * local * own.inv()
            if (part := BONES.get(name[1:])) is not None:
                side = {"l": "left", "r": "right"}[name[0]]
                a, b = (J[f"{side}_{p}"] for p in part)
                bone = torch.nn.functional.normalize(ours[b] - ours[a], dim=0)
                np.testing.assert_allclose(bone, turned[name].apply(direction), atol=1e-4)


# ---- operations and shipped clips


def test_resampling_takes_the_middle_of_the_arc() -> None:
    rotations = torch.zeros(3, 24, 3)
    rotations[1, 0, 1], rotations[2, 0, 1] = 3.0, -3.0  # over the back: the short way from 3.0 to -3.0
    motion = Motion("m", rotations, torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]), 10.0)
    fine = resample(motion, 20.0)
    assert (len(fine.translation), fine.frame_rate) == (5, 20.0)
    torch.testing.assert_close(fine.translation[:, 0], torch.tensor([0, 0.5, 1, 2, 3]))
    torch.testing.assert_close(fine.joint_rotations[[1], 0, 1], torch.tensor([1.5]), atol=1e-5, rtol=0)
    assert float(fine.joint_rotations[3, 0, 1].abs()) == pytest.approx(np.pi, abs=1e-3)
    same = resample(motion, 10.0)
    torch.testing.assert_close(
        axis_angle_to_matrix(same.joint_rotations), axis_angle_to_matrix(rotations), atol=1e-5, rtol=0
    )
    with pytest.raises(GdnaError, match="above 0"):
        resample(motion, 0.0)


def test_the_camera_keeps_a_steady_walk_in_view() -> None:
    time = torch.arange(120) / 30
    sway = 0.03 * torch.sin(2 * np.pi * time)
    translation = torch.stack([sway, 0.1 * torch.cos(time), 1.2 * time], 1)
    motion = keep_in_view(Motion("m", torch.zeros(120, 24, 3), translation, 30.0))
    assert float(motion.translation[:, 2].abs().max()) < 1e-3
    assert float(motion.translation[:, 0].abs().max()) > 0.02
    torch.testing.assert_close(motion.translation[:, 1], translation[:, 1])
    short = keep_in_view(Motion("m", torch.zeros(1, 24, 3), torch.ones(1, 3), 30.0))
    torch.testing.assert_close(short.translation, torch.tensor([[0.0, 1, 0]]))


def lowest_points(motion: Motion) -> Tensor:
    body = open_body()
    skin = body.faces.unique()
    count = len(motion.translation)
    posed = body(BodyParams(torch.zeros(count, body.num_betas), motion.joint_rotations, motion.translation))
    return posed.vertices[:, skin, 1].amin(1)


@pytest.mark.parametrize("name", shipped_motions())
def test_shipped_clips(name: str) -> None:
    motion = load_motion(name)
    assert motion.frame_rate == 30
    assert torch.isfinite(motion.joint_rotations).all()
    ahead = axis_angle_to_matrix(motion.joint_rotations[0, 0])[:, 2]
    assert float(ahead[2]) > 0.85, "starts towards +z"
    assert not motion.translation[0, [0, 2]].any()
    positions = joint_positions(motion)
    assert float((positions[1:] - positions[:-1]).norm(dim=-1).max()) < 0.55, "metres a frame: no jumps"
    some = slice(0, None, 20)
    low = lowest_points(Motion(name, motion.joint_rotations[some], motion.translation[some], 1.5))
    floor = lowest_points(Motion("zero", torch.zeros(1, 24, 3), torch.zeros(1, 3), 30.0))
    assert float((low - floor).min()) > -0.02, "not below the floor"
    assert float((low - floor).median()) < 0.03, "on the floor most of the time"
    assert {"walk", "run", "dance_a", "dance_b"} <= set(shipped_motions())


@pytest.mark.parametrize("name", ["walk", "run"])
def test_cyclic_clips_go_on_for_seconds_without_a_jump(name: str) -> None:
    motion = load_motion(name)
    assert len(motion.translation) >= 90
    assert float(motion.translation[-1, 2]) > 3
    assert float(motion.translation[-1, 0].abs()) < 0.05
    steps = (joint_positions(motion)[1:] - joint_positions(motion)[:-1]).norm(dim=-1).amax(1)
    assert float(steps.max() / steps.median()) < 2.5
