"""SMPL from made-up files in its exact layout, against an independent float64 implementation; refused pickles."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix
from scipy.spatial.transform import Rotation

from gdna.body.pickle_reader import read_array_file, read_pickle
from gdna.body.skeleton import PARENTS, blend_skinning
from gdna.body.smpl import KEYS, Smpl
from gdna.errors import GdnaError
from gdna.types import BodyParams

VERTICES, JOINTS = 6890, 24
OPEN_HIPS = {1: [0, 0, np.pi / 6], 2: [0, 0, -np.pi / 6]}


def made_up(num_betas: int = 10) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = rng.random((VERTICES, JOINTS)) ** 8
    regressor = np.zeros((JOINTS, VERTICES))
    regressor[np.arange(JOINTS)[:, None], rng.integers(0, VERTICES, (JOINTS, 5))] = 0.2
    parents = np.array(PARENTS)
    parents[0] = -1
    return {
        "v_template": rng.normal(0, 0.5, (VERTICES, 3)),
        "shapedirs": rng.normal(0, 0.02, (VERTICES, 3, num_betas)),
        "posedirs": rng.normal(0, 0.01, (VERTICES, 3, 207)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(JOINTS)]).astype(np.uint32),
        "f": rng.integers(0, VERTICES, (13776, 3)).astype(np.uint32),
    }


def reference(
    data: dict[str, np.ndarray], betas: np.ndarray, pose: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, joints and the transforms from the zero pose (Loper et al., equations 2 to 10), one body, doubles."""
    shaped = data["v_template"] + data["shapedirs"][:, :, : len(betas)] @ betas
    joints = data["J_regressor"] @ shaped
    rotations = Rotation.from_rotvec(pose).as_matrix()
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    corrected = shaped + data["posedirs"] @ feature
    world = []
    for j, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    world = np.stack(world)
    transforms = world.copy()
    for j in range(JOINTS):
        transforms[j, :3, 3] -= world[j, :3, :3] @ joints[j]
    homogeneous = np.concatenate([corrected, np.ones((VERTICES, 1))], 1)
    vertices = np.einsum("vj,jab,vb->va", data["weights"], transforms, homogeneous)[:, :3]
    return vertices, world[:, :3, 3], transforms


def write_pickle(path: Path, data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    """As the distributed files are: chumpy arrays and a sparse regressor."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x

    class Select:
        def __init__(self, a: Ch, shape: tuple[int, ...]) -> None:
            self.a, self.idxs, self.preferred_shape = a, np.arange(np.prod(shape)), shape

    for kind, name in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        kind.__module__, kind.__qualname__ = name, kind.__name__
        module = types.ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        monkeypatch.setitem(sys.modules, name, module)
    stored = {
        **data,
        "v_template": Ch(data["v_template"]),
        "shapedirs": Select(Ch(data["shapedirs"]), data["shapedirs"].shape),
        "J_regressor": csc_matrix(data["J_regressor"]),
        "bs_type": "lrotmin",
    }
    path.write_bytes(pickle.dumps(stored, protocol=protocol))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)


def write_npz(path: Path, data: dict[str, np.ndarray]) -> None:
    np.savez(path, **{**data, "J_regressor": np.array(csc_matrix(data["J_regressor"]), dtype=object)})


def params(count: int, num_betas: int = 10) -> BodyParams:
    g = torch.Generator().manual_seed(1)
    return BodyParams(
        torch.randn(count, num_betas, generator=g),
        torch.randn(count, JOINTS, 3, generator=g) * 0.4,
        torch.randn(count, 3, generator=g),
    )


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    return made_up()


@pytest.fixture(scope="module")
def smpl(data: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Smpl:
    path = tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz"
    write_npz(path, data)
    return Smpl(path)


def test_matches_an_independent_float64_implementation(data: dict[str, np.ndarray], smpl: Smpl) -> None:
    p = params(2)
    body = smpl(p)
    for b in range(2):
        pose = p.joint_rotations[b].double().numpy()
        betas = p.betas[b].double().numpy()
        opened = np.zeros((JOINTS, 3))
        for joint, rotation in OPEN_HIPS.items():
            opened[joint] = rotation
        vertices, joints, transforms = reference(data, betas, pose)
        canonical, joints_canonical, canonical_transforms = reference(data, betas, opened)
        translation = p.translation[b].double().numpy()
        moved = transforms @ np.linalg.inv(canonical_transforms)
        moved[:, :3, 3] += translation
        # metres; single precision of coordinates up to a few metres, through eight joints
        tolerance = {"atol": 2e-5, "rtol": 0}
        np.testing.assert_allclose(body.vertices[b], vertices + translation, **tolerance)
        np.testing.assert_allclose(body.joints[b], joints + translation, **tolerance)
        np.testing.assert_allclose(body.vertices_canonical[b], canonical, **tolerance)
        np.testing.assert_allclose(body.joints_canonical[b], joints_canonical, **tolerance)
        np.testing.assert_allclose(body.bone_transforms[b], moved, **tolerance)


def test_neutral_is_canonical_with_zero_betas(smpl: Smpl) -> None:
    body = smpl(BodyParams(torch.zeros(1, 10), torch.randn(1, JOINTS, 3), torch.zeros(1, 3)))
    torch.testing.assert_close(body.vertices_canonical[0], smpl.vertices_neutral, atol=1e-6, rtol=0)
    torch.testing.assert_close(body.joints_canonical[0], smpl.joints_neutral, atol=1e-6, rtol=0)


def test_bone_transforms_skin_the_canonical_body_into_a_rigid_turn(smpl: Smpl) -> None:
    """Where only the root turns, the correctives are the canonical ones, and skinning is exact."""
    p = params(1)
    rotations = torch.zeros(1, JOINTS, 3)
    rotations[0, 0] = torch.tensor([0.3, -1.0, 0.2])
    for joint, rotation in OPEN_HIPS.items():
        rotations[0, joint] = torch.tensor(rotation)
    body = smpl(BodyParams(p.betas, rotations, p.translation))
    skinned = blend_skinning(body.vertices_canonical, smpl.skin_weights, body.bone_transforms)
    torch.testing.assert_close(skinned, body.vertices, atol=2e-5, rtol=0)


def test_a_batch_equals_its_singles(smpl: Smpl) -> None:
    p = params(3)
    whole = smpl(p)
    for b in range(3):
        torch.testing.assert_close(whole.vertices[b : b + 1], smpl(p[b : b + 1]).vertices, atol=1e-5, rtol=0)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_and_npz_read_the_same(
    data: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    small = {**data, "posedirs": data["posedirs"][:50], "shapedirs": data["shapedirs"][:50]}
    write_pickle(tmp_path / "a.pkl", small, monkeypatch, protocol)
    write_npz(tmp_path / "a.npz", small)
    one, two = read_array_file(tmp_path / "a.pkl", KEYS), read_array_file(tmp_path / "a.npz", KEYS)
    for key in KEYS:
        np.testing.assert_array_equal(one[key], small[key])
        np.testing.assert_array_equal(two[key], small[key])


def test_a_pickled_model_with_more_components_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pickle(tmp_path / "SMPL_MALE.pkl", made_up(16), monkeypatch, 2)
    assert Smpl(tmp_path / "SMPL_MALE.pkl").shape_basis.shape == (10, 3 * VERTICES)
    with pytest.raises(GdnaError, match=r"16 shape components, asked for num_betas=20"):
        Smpl(tmp_path / "SMPL_MALE.pkl", num_betas=20)


def test_python_2_pickles_and_sparse_formats(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    for matrix in (csc_matrix(array), csr_matrix(array), coo_matrix(array)):
        (tmp_path / "m.pkl").write_bytes(pickle.dumps({"m": [matrix]}, protocol=2))
        np.testing.assert_array_equal(read_pickle(tmp_path / "m.pkl")["m"][0], array)
    # {'a': numpy.array([1, 2])} as Python 2.7 with numpy 1.8 wrote it
    old = (
        b"\x80\x02}q\x01U\x01aq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02i4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x01\x00\x00\x00\x02\x00\x00\x00tbs."
    )
    (tmp_path / "old.pkl").write_bytes(old)
    np.testing.assert_array_equal(read_pickle(tmp_path / "old.pkl")["a"], [1, 2])


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    trace, file = tmp_path / "trace", tmp_path / f"SMPL.{suffix}"
    if suffix == "pkl":
        file.write_bytes(pickle.dumps({"v_template": Evil(trace)}))
    else:
        np.savez(file, v_template=np.array(Evil(trace), dtype=object))
    with pytest.raises(GdnaError, match=rf"SMPL\.{suffix}: refused to load \w+\.open") as caught:
        Smpl(file)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("functools", "partial")]
)
def test_other_globals_are_refused(tmp_path: Path, module: str, name: str) -> None:
    (tmp_path / "x.pkl").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(GdnaError, match=rf"refused to load {module}\.{name}"):
        read_pickle(tmp_path / "x.pkl")


def test_files_that_do_not_fit_are_named(data: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(GdnaError, match="not found"):
        Smpl(tmp_path / "none.pkl")
    (tmp_path / "text.pkl").write_text("hello")
    with pytest.raises(GdnaError, match=r"text\.pkl: not a readable pickle"):
        Smpl(tmp_path / "text.pkl")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(GdnaError, match=r"text\.npz: not a readable npz"):
        Smpl(tmp_path / "text.npz")
    lean = {k: v[:10] if len(v) == VERTICES else v for k, v in data.items()}
    np.savez(tmp_path / "lacks.npz", **{k: v for k, v in lean.items() if k != "f"})
    with pytest.raises(GdnaError, match=r"lacks\.npz: no f;"):
        Smpl(tmp_path / "lacks.npz")
    np.savez(tmp_path / "mano.npz", **{**lean, "weights": np.ones((10, 16))})
    with pytest.raises(GdnaError, match="16 joints, expected 24, 52, 55"):
        Smpl(tmp_path / "mano.npz")
    np.savez(tmp_path / "tree.npz", **{**lean, "J_regressor": np.ones((24, 10)), "kintree_table": np.zeros((2, 24))})
    with pytest.raises(GdnaError, match="joint tree"):
        Smpl(tmp_path / "tree.npz")
    np.savez(tmp_path / "shape.npz", **{**lean, "posedirs": np.ones((10, 3, 9))})
    with pytest.raises(GdnaError, match=r"posedirs has shape \(10, 3, 9\)"):
        Smpl(tmp_path / "shape.npz")


def test_wrong_parameters_are_named(smpl: Smpl) -> None:
    with pytest.raises(GdnaError, match="40 numbers a body"):
        smpl(params(1, num_betas=40))
    with pytest.raises(GdnaError, match="found 22 joints"):
        smpl(BodyParams(torch.zeros(1, 10), torch.zeros(1, 22, 3), torch.zeros(1, 3)))
