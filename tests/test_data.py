"""Scans, inside tests, preparation and the prepared set, on small made-up scans."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.ndimage import binary_dilation

from gdna.body.open_body import open_body
from gdna.body.skeleton import blend_skinning
from gdna.data.cache_file import cache_path, read_cache, write_cache
from gdna.data.inside import Solids, components, inside, inside_reference
from gdna.data.prepare import PrepareSettings, is_prepared, prepare_scan
from gdna.data.prepared import PreparedSet, prepared_names, turn_to_view
from gdna.data.sample_file import SAMPLES, STEP, from_fixed, normal_map_path, read_samples, to_fixed
from gdna.data.scan import find_scans, read_mesh, read_params, read_scan, write_scan
from gdna.data.scan_body import pose_scan_body, skin_vertices
from gdna.data.sharding import shard
from gdna.data.solid import with_filled_mouth
from gdna.data.surface import (
    orient_outward,
    orient_outward_reference,
    sample_outer,
    sample_surface,
    sample_surface_reference,
    vertex_normals,
    vertex_normals_reference,
)
from gdna.errors import GdnaError
from gdna.render.camera import Orthographic
from gdna.types import BodyParams, Scan

SMALL = PrepareSettings(points=3000, surface_points=2000, held_out=500, views=4)


def sphere(radius: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0), turned: bool = False, fine: int = 4):
    mesh = trimesh.creation.icosphere(subdivisions=fine, radius=radius)
    faces = np.asarray(mesh.faces, np.int64)
    return np.asarray(mesh.vertices) + centre, faces[:, ::-1] if turned else faces


def joined(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(v) for v, _ in parts)])
    return np.concatenate([v for v, _ in parts]), np.concatenate(
        [f + s for (_, f), s in zip(parts, starts, strict=False)]
    )


@cache
def person(name: str = "anna", seed: int = 0) -> Scan:
    """A body in a suit 8 mm off its skin."""
    body = open_body()
    rng = np.random.default_rng(seed)
    betas = body.population_betas[rng.integers(len(body.population_betas))]
    rotations = np.zeros((24, 3), np.float32)
    rotations[[16, 17], 2] = -1.0, 0.9
    rotations[0, 1] = rng.uniform(-1, 1)
    params = BodyParams(torch.from_numpy(betas)[None], torch.from_numpy(rotations)[None], torch.zeros(1, 3))
    vertices = body(params).vertices[0].numpy()
    quads = body.helper_quads["tights"]
    suit = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    lifted = vertices + 0.008 * vertex_normals(vertices, suit)
    merged = joined((vertices, body.faces.numpy()), (lifted, suit))
    used, faces = np.unique(merged[1], return_inverse=True)
    return Scan(name, merged[0][used].astype(np.float32), faces.reshape(-1, 3), betas, rotations)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for i, name in enumerate(("anna", "ben")):
        prepare_scan(person(name, i), open_body(), folder, SMALL)
    for name in ("anna", "ben"):
        g = torch.Generator().manual_seed(len(name))
        write_cache(cache_path(folder / "cache", name), *made_up_cache(g))
    return folder


def made_up_cache(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 256, 256, 3, generator=generator), torch.rand(4, 256, 256, generator=generator) < 0.1


# ---- inside and surface


def test_inside_of_overlapping_open_and_inverted_shells() -> None:
    first, second, third = sphere(0.5), sphere(0.5, (0.6, 0, 0), turned=True), sphere(0.4, (-0.6, 0, 0))
    centres = first[0][first[1]].mean(1)
    holed = first[0], first[1][centres[:, 2] < 0.47]
    vertices, faces = joined(holed, second, third)
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (20_000, 3))
    spheres = ((0, 0.5), (0.6, 0.5), (-0.6, 0.4))
    distances = np.stack([np.linalg.norm(points - (x, 0, 0), axis=1) - r for x, r in spheres])
    # metres: triangles lie inside the sphere, and the hole is closed by a soft lid
    clear = (np.abs(distances).min(0) > 0.01) & ~((points[:, 2] > 0.4) & (np.linalg.norm(points[:, :2], axis=1) < 0.25))
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(inside(vertices, faces, points)[clear], (distances.min(0) < 0)[clear])
    assert [len(c) for c in components(faces, len(vertices))] == [len(holed[1]), len(second[1]), len(third[1])]


def test_a_component_alone_decides_as_the_plain_winding_number() -> None:
    import igl

    vertices, faces = sphere(0.5, fine=3)
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (5000, 3))
    plain = np.abs(igl.winding_number(vertices, faces, points)) > 0.5
    np.testing.assert_array_equal(inside(vertices, faces, points), plain)


def test_inside_without_libigl(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(4)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)[40:]  # a hole
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (3000, 3))
    expected = inside(vertices, faces, points)
    monkeypatch.setitem(sys.modules, "igl", None)
    found = inside(vertices, faces, points)
    assert 0.2 < found.mean() < 0.5
    assert (found != expected).mean() < 0.002  # on the soft cap of the hole


def test_crossings_agree_with_winding_numbers() -> None:
    # radius, x, turned: a solid, a shell within it, one across its border, one with a hole, one within that
    balls = (
        (0.5, 0.0, False), (0.2, 0.1, True), (0.4, 0.4, True), (0.3, -0.9, False), (0.1, -0.9, False)
    )  # fmt: skip
    shells = [sphere(radius, (x, 0.01, 0), turned, fine=3) for radius, x, turned in balls]
    shells[3] = shells[3][0], shells[3][1][:-20]
    vertices, faces = joined(*shells)
    solids = Solids.of(vertices, faces)
    assert [len(solids.closed), len(solids.open)] == [4, 1]
    rng = np.random.default_rng(0)
    corners = vertices[faces]
    on_edges = 0.5 * (corners + np.roll(corners, 1, axis=1))
    tied = rng.choice(np.concatenate([corners, on_edges]).reshape(-1, 3), 6000)  # rays through corners and edges
    tied += rng.uniform(-0.8, 0.8, (6000, 1)) * [0, 0, 1]
    points = np.concatenate([tied, rng.uniform(-1.2, 1.2, (4000, 3))])
    # a point on the surface itself counts to either side; triangles leave the sphere by 3 mm
    away = np.abs([np.linalg.norm(points - (x, 0.01, 0), axis=1) - radius for radius, x, _ in balls]).min(0) > 0.003
    found = inside(vertices, faces, points)
    assert 0.1 < found[away].mean() < 0.9
    np.testing.assert_array_equal(found[away], inside_reference(vertices, faces, points)[away])


def test_rays_through_edges_and_corners_are_counted_once() -> None:
    """Boxes of whole numbers, so that every sum in the kernel is exact and every tie a real one."""
    box = trimesh.creation.box(extents=(2, 2, 2))
    faces = np.asarray(box.faces)
    slanted = box.vertices + np.outer(box.vertices[:, 0], [0, 0, 1])  # a top that no ray meets squarely
    vertices, both = joined((slanted, faces), (0.5 * box.vertices, faces[:, ::-1]))
    steps = np.arange(-1.5, 1.75, 0.25)
    points = np.stack(np.meshgrid(steps, steps, steps + 0.1, indexing="ij"), -1).reshape(-1, 3)
    x, y, z = points.T
    # the kernel's own rule: a lower border belongs to the box, an upper one does not
    expected = (x >= -1) & (x < 1) & (y >= -1) & (y < 1) & (np.abs(z - x) < 1)
    small = (np.abs(points) < 0.5).all(1)
    np.testing.assert_array_equal(inside(vertices, both, points), expected | small)
    turns = [inside(vertices[:, turn], both, points[:, turn]) for turn in ([1, 2, 0], [2, 0, 1])]
    off = (np.abs(np.abs(x) - 1) > 0.01) & (np.abs(np.abs(y) - 1) > 0.01)
    for found in turns:
        np.testing.assert_array_equal(found[off], (expected | small)[off])


def test_components_that_are_inside_out_are_turned() -> None:
    good, bad, patch = sphere(0.5), sphere(0.3, (2, 0, 0), turned=True), sphere(0.5, (4, 0, 0))
    flat = patch[0], patch[1][patch[0][patch[1]].mean(1)[:, 2] > 0.45]
    vertices, faces = joined(good, bad, flat)
    turned = orient_outward(vertices, faces)
    np.testing.assert_array_equal(turned, orient_outward_reference(vertices, faces))
    same = (turned == faces).all(1)
    n = len(good[1])
    assert same[:n].all()
    assert not same[n : n + len(bad[1])].any()
    assert same[n + len(bad[1]) :].all()


def test_only_the_outer_surface_is_sampled() -> None:
    vertices, faces = joined(sphere(0.5), sphere(0.47))
    points, normals = sample_outer(Solids.of(vertices, faces), 4000, np.random.default_rng(0))
    radius = np.linalg.norm(points, axis=1)
    assert len(points) == 4000
    assert radius.min() > 0.495
    assert (normals * points).sum(1).min() > 0.99 * 0.495
    assert np.abs(points.mean(0)).max() < 0.02, "uniform by area"
    with pytest.raises(GdnaError, match="of the surface is on the outside"):
        sample_outer(Solids.of(vertices, faces[:, ::-1]), 4000, np.random.default_rng(0))


def test_sums_over_triangles_equal_the_reference_to_the_last_bit() -> None:
    vertices, faces = joined(sphere(0.5), sphere(0.1, (0.3, 0, 0), fine=2), sphere(1e-3, fine=1))
    faces[7] = faces[7, 0]  # no area
    fused, plain = (
        draw(vertices, faces, 5000, np.random.default_rng(1)) for draw in (sample_surface, sample_surface_reference)
    )
    for found, expected in zip(fused, plain, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(vertex_normals(vertices, faces), vertex_normals_reference(vertices, faces))


def test_vertex_normals_of_a_sphere() -> None:
    vertices, faces = sphere()
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices, atol=6e-3)  # the triangles differ in area


# ---- scans on disk


def test_a_scan_is_moved_into_the_frame_of_its_body(tmp_path: Path) -> None:
    scan = person()
    moved = trimesh.Trimesh(scan.vertices * 1.1 + [1, 2, 3], scan.faces, process=False)
    moved.export(tmp_path / "anna.obj")
    values = {"global_orient": scan.joint_rotations[:1], "body_pose": scan.joint_rotations[None, 1:]}
    values |= {"betas": scan.betas[None], "transl": np.array([1, 2, 3.0]), "scale": np.array([1.1])}
    (tmp_path / "anna_smpl.pkl").write_bytes(pickle.dumps(values))
    again = read_scan(tmp_path / "anna.obj")
    np.testing.assert_allclose(np.ptp(again.vertices, 0), np.ptp(scan.vertices, 0), atol=1e-5)
    np.testing.assert_allclose(again.vertices.min(0), scan.vertices.min(0), atol=1e-5)
    np.testing.assert_allclose(again.joint_rotations, scan.joint_rotations)
    np.testing.assert_allclose(again.betas, scan.betas)


def test_written_scans_are_found_and_read_back(tmp_path: Path) -> None:
    scan = person()
    for name in ("b", "a"):
        write_scan(tmp_path / "scans", dataclasses.replace(scan, name=name))
    found = find_scans(tmp_path / "scans")
    assert [f.name for f in found] == ["a", "b"]
    again = read_scan(found[0].mesh, found[0].params)
    np.testing.assert_array_equal(again.vertices[again.faces], scan.vertices[scan.faces])
    np.testing.assert_array_equal(again.betas, scan.betas)
    assert find_scans(tmp_path)[0].name == "a", "one folder below"


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl", "off"])
def test_formats_give_the_same_surface(tmp_path: Path, suffix: str) -> None:
    vertices, faces = sphere(fine=2)
    visual = trimesh.visual.TextureVisuals(uv=np.random.default_rng(0).random((len(vertices), 2)))
    trimesh.Trimesh(vertices, faces, process=False, visual=visual).export(tmp_path / f"s.{suffix}")
    read_vertices, read_faces = read_mesh(tmp_path / f"s.{suffix}")
    assert (len(read_vertices), len(read_faces)) == (len(vertices), len(faces)), "no seams"
    np.testing.assert_allclose(read_vertices[read_faces], vertices[faces], atol=1e-6)


def test_texture_seams_do_not_split_vertices(tmp_path: Path) -> None:
    vertices, faces = sphere(fine=2)
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"vt {i} 0" for i in range(3 * len(faces))]
    lines += ["f " + " ".join(f"{v + 1}/{3 * i + k + 1}" for k, v in enumerate(face)) for i, face in enumerate(faces)]
    (tmp_path / "seams.obj").write_text("\n".join(lines))
    assert len(read_mesh(tmp_path / "seams.obj")[0]) == len(vertices)


def test_parameters_of_the_original_and_wrong_ones(tmp_path: Path) -> None:
    def fails(match: str, **values: object) -> None:
        np.savez(tmp_path / "p.npz", **values)
        with pytest.raises(GdnaError, match=match):
            read_params(tmp_path / "p.npz")

    vector = np.arange(1, 87.0)
    np.savez(tmp_path / "o.npz", smpl_params=vector)
    params = read_params(tmp_path / "o.npz")
    assert (params.scale, params.translation.tolist()) == (1.0, [2, 3, 4])
    assert params.joint_rotations.flatten().tolist() == vector[4:76].tolist()
    assert params.betas.tolist() == vector[76:].tolist()
    fails("smpl_params has 85 numbers", smpl_params=vector[:85])
    fails("50 joint rotations, expected 24, 52, 55", betas=np.zeros(10), pose=np.zeros(150))
    fails("no betas", pose=np.zeros(72))
    fails("no joint_rotations", betas=np.zeros(10))
    fails("scale above 0", betas=np.zeros(10), pose=np.zeros(72), scale=0)
    (tmp_path / "t.npz").write_text("hello")
    with pytest.raises(GdnaError, match=r"t\.npz: not a readable npz"):
        read_params(tmp_path / "t.npz")


def test_unusable_meshes_are_named(tmp_path: Path) -> None:
    def fails(name: str, match: str) -> None:
        with pytest.raises(GdnaError, match=match) as caught:
            read_mesh(tmp_path / name)
        assert "\n" not in str(caught.value)

    vertices, faces = sphere(fine=2)
    fails("none.obj", "not found")
    (tmp_path / "empty.obj").touch()
    fails("empty.obj", "empty")
    (tmp_path / "text.ply").write_text("hello")
    fails("text.ply", "not a readable triangle mesh")
    trimesh.PointCloud(vertices).export(tmp_path / "points.ply")
    fails("points.ply", r"points\.ply: ")
    trimesh.creation.box().export(tmp_path / "box.stl")
    fails("box.stl", "12 triangles, expected at least 100")
    broken = vertices.copy()
    broken[3] = np.nan
    trimesh.Trimesh(broken, faces, process=False).export(tmp_path / "nan.ply")
    fails("nan.ply", "1 of 162 vertices are not finite")
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"f {a + 1} {b + 1} {c + 90}" for a, b, c in faces]
    (tmp_path / "range.obj").write_text("\n".join(lines))
    fails("range.obj", r"range\.obj: ")
    with pytest.raises(GdnaError, match=r"no body parameters beside it; expected box\.npz"):
        read_scan(tmp_path / "box.stl")
    (tmp_path / "none").mkdir()
    with pytest.raises(GdnaError, match="no meshes found"):
        find_scans(tmp_path / "none")


# ---- preparation


def test_stored_points_carry_their_own_occupancy(prepared: Path) -> None:
    scan, samples = person("anna", 0), read_samples(prepared / "anna" / SAMPLES)
    points = from_fixed(samples.occupancy_points)
    assert points.shape == (6000, 3)
    posed = pose_scan_body(scan.name, scan.betas, scan.joint_rotations, open_body()).posed
    solid = with_filled_mouth(scan, posed.vertices[0].numpy(), open_body())
    expected = inside(solid.vertices, orient_outward(solid.vertices, solid.faces), points.numpy())
    np.testing.assert_array_equal(samples.occupancy.numpy(), expected)
    near, box = samples.occupancy[:3000].float().mean(), samples.occupancy[3000:].float().mean()
    assert 0.4 < float(near) < 0.55
    assert 0.003 < float(box) < 0.03
    assert points[3000:].abs().max() <= 1
    surface = from_fixed(samples.surface_points)
    # metres: 1 cm of noise in each direction
    assert 0.008 < float(torch.cdist(points[:500], surface).amin(1).mean()) < 0.03
    held_out = from_fixed(samples.held_out_points)
    assert held_out.shape == (1000, 3)
    assert (held_out[:500].numpy() >= scan.vertices.min(0) - 0.0501).all()


def test_the_body_under_the_clothes_is_not_surface(prepared: Path) -> None:
    scan, samples = person("anna", 0), read_samples(prepared / "anna" / SAMPLES)
    points = from_fixed(samples.surface_points)
    torso = (points[:, 1].abs() < 0.12) & (points[:, 0].abs() < 0.12)
    skin = torch.from_numpy(scan.vertices[: len(skin_vertices(open_body()))])
    assert torso.sum() > 100
    # metres: the suit is 8 mm off the skin
    assert float(torch.cdist(points[torso], skin).amin(1).min()) > 0.003


def test_preparation_is_reproducible_and_resumable(prepared: Path, tmp_path: Path) -> None:
    scan = person("anna", 0)
    assert is_prepared(prepared, "anna", open_body(), SMALL)
    assert not is_prepared(prepared, "anna", open_body(), SMALL, seed=1)
    assert not is_prepared(prepared, "carl", open_body(), SMALL)
    (tmp_path / ".anna.123.part").mkdir(parents=True)  # of a run that was killed
    prepare_scan(scan, open_body(), tmp_path, SMALL)
    for file in sorted((prepared / "anna").rglob("*.*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "anna" / file.relative_to(prepared / "anna")).read_bytes()
    prepare_scan(scan, open_body(), tmp_path, SMALL, seed=1)
    assert not is_prepared(tmp_path, "anna", open_body(), SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anna", "body.safetensors"]
    first, second = (read_samples(f / "anna" / SAMPLES) for f in (prepared, tmp_path))
    assert not torch.equal(first.occupancy_points, second.occupancy_points)


def test_nothing_is_left_of_a_preparation_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gdna.data.prepare.write_samples", full)
    with pytest.raises(OSError, match="No space"):
        prepare_scan(person(), open_body(), tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["body.safetensors"]


def test_scans_that_do_not_fit_are_named(prepared: Path, tmp_path: Path) -> None:
    def fails(match: str, **changes: object) -> None:
        with pytest.raises(GdnaError, match=match):
            prepare_scan(dataclasses.replace(person(), **changes), open_body(), tmp_path, SMALL)

    scan = person()
    fails("scan anna: 178 m across.*check unit", vertices=scan.vertices * 100)
    fails("of the body's joints lie within", vertices=scan.vertices + np.float32(2))
    fails("10 numbers a body, this body model takes 40", betas=np.zeros(10, np.float32))
    fails("not finite", betas=np.full(40, np.nan, np.float32))
    fails("22 joint rotations, expected 24", joint_rotations=np.zeros((22, 3), np.float32))
    with pytest.raises(GdnaError, match="expected a name for a folder"):
        prepare_scan(dataclasses.replace(scan, name="../anna"), open_body(), tmp_path, SMALL)
    other = open_body().__class__()
    other.register_buffer("vertices_neutral", other.vertices_neutral + 0.1)
    with pytest.raises(GdnaError, match="prepared with another body model"):
        prepare_scan(scan, other, prepared, SMALL)


def test_normal_maps_show_the_turned_scan_on_white(prepared: Path) -> None:
    dataset = PreparedSet.open(prepared, ["anna"], fields="fine")
    body = open_body()
    canonical = dataset.vertices_canonical[:1]
    for view in range(4):
        image = np.array(Image.open(normal_map_path(prepared / "anna", view)))
        assert image.shape == (256, 256, 3)
        shown = (image != 255).any(-1)
        assert 0.03 < shown.mean() < 0.2
        shown = binary_dilation(shown)  # fingers are thinner than a pixel
        turned = turn_to_view(dataset.bone_transforms[:1], torch.tensor([view]), 4)
        posed = blend_skinning(canonical, body.skin_weights[skin_vertices(body)], turned)[0]
        pixel = Orthographic().to_pixels(posed).round().long()
        assert shown[pixel[:, 1], pixel[:, 0]].mean() > 0.99, "the turned body lies within the picture of the scan"
        torch.testing.assert_close(
            dataset.normal_maps(torch.tensor([0]), torch.tensor([view]))[0].permute(1, 2, 0),
            torch.from_numpy(image).float() / 127.5 - 1,
        )
    front = np.array(Image.open(normal_map_path(prepared / "anna", 0)))
    assert front[128, 128, 2] > 150, "the front faces the camera"


# ---- the prepared set


def test_the_set_stacks_what_was_prepared(prepared: Path) -> None:
    dataset = PreparedSet.open(prepared)
    body = open_body()
    skin = skin_vertices(body)
    assert dataset.names == ("anna", "ben") == tuple(prepared_names(prepared))
    assert len(dataset) == 2
    for i, name in enumerate(dataset.names):
        scan = person(name, i)
        betas, rotations = torch.from_numpy(scan.betas)[None], torch.from_numpy(scan.joint_rotations)[None]
        posed = body(BodyParams(betas, rotations, torch.zeros(1, 3)))
        torch.testing.assert_close(dataset.betas[i], torch.from_numpy(scan.betas))
        torch.testing.assert_close(dataset.joint_rotations[i], torch.from_numpy(scan.joint_rotations))
        torch.testing.assert_close(dataset.bone_transforms[i], posed.bone_transforms[0])
        torch.testing.assert_close(dataset.vertices_canonical[i], posed.vertices_canonical[0, skin])
        torch.testing.assert_close(dataset.vertices_posed[i], posed.vertices[0, skin])
    torch.testing.assert_close(dataset.body.vertices_neutral, body.vertices_neutral[skin])
    assert tuple(dataset.body.parents.tolist()) == body.parents
    held_out = dataset.held_out(1)
    assert held_out.uniform_points.shape == held_out.near_points.shape == (500, 3)
    assert 0.3 < float(held_out.near_occupancy.float().mean()) < 0.6


def test_coarse_draws_equal_a_plain_loop(prepared: Path) -> None:
    dataset = PreparedSet.open(prepared)
    indices = torch.tensor([1, 0, 1])
    batch = dataset.draw_coarse(indices, torch.Generator().manual_seed(3), points_per_frame=80)
    assert batch.points_posed.shape == (3, 90, 3)
    generator = torch.Generator().manual_seed(3)
    near = torch.randint(3000, (3, 80), generator=generator)
    box = torch.randint(3000, (3, 10), generator=generator)
    for b, i in enumerate(indices.tolist()):
        samples = read_samples(prepared / dataset.names[i] / SAMPLES)
        for n, point in enumerate([*near[b].tolist(), *(k + 3000 for k in box[b].tolist())]):
            torch.testing.assert_close(batch.points_posed[b, n], samples.occupancy_points[point].float() * STEP)
            assert bool(batch.occupancy[b, n]) == bool(samples.occupancy[point])
    torch.testing.assert_close(batch.bone_transforms, dataset.bone_transforms[indices])
    again = dataset.draw_coarse(indices, torch.Generator().manual_seed(3), points_per_frame=80)
    torch.testing.assert_close(again.points_posed, batch.points_posed)


def test_fine_draws_give_the_view_and_its_correspondences(prepared: Path) -> None:
    dataset = PreparedSet.open(prepared, fields="fine", cache_folder=prepared / "cache")
    indices, views = torch.tensor([1, 0, 1]), torch.tensor([0, 3, 2])
    batch = dataset.draw_fine(indices, views, torch.Generator().manual_seed(0), points_per_frame=50)
    assert batch.normal_maps.shape == (3, 3, 256, 256)
    assert float(batch.normal_maps.max()) == 1
    assert batch.surface_points.shape == batch.surface_normals.shape == (3, 50, 3)
    torch.testing.assert_close(batch.surface_normals.norm(dim=-1), torch.ones(3, 50), atol=2e-4, rtol=0)
    for b, (i, v) in enumerate(zip(indices.tolist(), views.tolist(), strict=True)):
        points, mask = made_up_cache(torch.Generator().manual_seed(len(dataset.names[i])))
        assert torch.equal(batch.cache_mask[b], mask[v].flatten())
        expected = (points[v] * mask[v][..., None]).flatten(0, 1)
        torch.testing.assert_close(batch.cache_points[b], expected)
    turned = batch.bone_transforms_view[0], batch.bone_transforms_view[1]
    torch.testing.assert_close(turned[0], batch.bone_transforms[0])
    quarter = torch.tensor([[0.0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # 270 degrees about y
    torch.testing.assert_close(turned[1], quarter @ batch.bone_transforms[1], atol=1e-6, rtol=0)


def test_draws_need_what_was_opened(prepared: Path) -> None:
    generator, zero = torch.Generator(), torch.tensor([0])
    dataset = PreparedSet.open(prepared, fields="body")
    with pytest.raises(GdnaError, match="fields='coarse'"):
        dataset.draw_coarse(zero, generator)
    with pytest.raises(GdnaError, match="fields='fine'"):
        dataset.draw_fine(zero, zero, generator)
    without_cache = PreparedSet.open(prepared, fields="fine").draw_fine(zero, zero, generator)
    assert without_cache.cache_points.shape == (1, 0, 3)
    assert without_cache.cache_mask.shape == (1, 0)


def test_inconsistent_sets_are_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(GdnaError, match="no prepared scans found"):
        PreparedSet.open(tmp_path)
    with pytest.raises(GdnaError, match=r"carl.samples\.safetensors: missing"):
        PreparedSet.open(prepared, ["anna", "carl"])
    copytree(prepared, tmp_path, dirs_exist_ok=True)
    rmtree(tmp_path / "cache")
    prepare_scan(person("ben", 1), open_body(), tmp_path, dataclasses.replace(SMALL, points=100))
    with pytest.raises(GdnaError, match="prepare all scans alike"):
        PreparedSet.open(tmp_path)
    with pytest.raises(GdnaError, match="compute the correspondence cache"):
        PreparedSet.open(tmp_path, ["anna"], fields="fine", cache_folder=tmp_path)
    normal_map_path(tmp_path / "anna", 1).unlink()
    with pytest.raises(GdnaError, match=r"0001_normal\.png: cannot be read"):
        PreparedSet.open(tmp_path, ["anna"], fields="fine")
    (tmp_path / "ben" / SAMPLES).write_bytes(b"hello")
    with pytest.raises(GdnaError, match=r"ben.samples\.safetensors: missing or not"):
        PreparedSet.open(tmp_path, ["ben"])


def test_fixed_point_numbers_are_close_and_clamped() -> None:
    values = torch.tensor([[0.123456, -1.9, 3.0]])
    restored = from_fixed(to_fixed(values))
    torch.testing.assert_close(restored[0, :2], values[0, :2], atol=STEP / 2, rtol=0)
    assert 1.999 < float(restored[0, 2]) < 2


def test_caches_are_whole_or_refused(tmp_path: Path) -> None:
    points, mask = made_up_cache(torch.Generator().manual_seed(0))
    write_cache(tmp_path / "c.safetensors", points, mask)
    cache = read_cache(tmp_path / "c.safetensors")
    assert torch.equal(cache.mask, mask)
    assert torch.equal(cache.points_neutral, points[mask])
    assert (tmp_path / "c.safetensors").stat().st_size < 12 * mask.sum() + mask.numel() / 8 + 1000
    with pytest.raises(GdnaError, match="not found"):
        read_cache(tmp_path / "d.safetensors")
    (tmp_path / "d.safetensors").write_bytes(b"hello")
    with pytest.raises(GdnaError, match="cannot be read"):
        read_cache(tmp_path / "d.safetensors")


@pytest.mark.parametrize(("count", "total"), [(10, 3), (3, 5), (0, 2), (7, 7)])
def test_shards_are_those_of_numpy(count: int, total: int) -> None:
    expected = [part.tolist() for part in np.array_split(np.arange(count), total)]
    assert [shard(range(count), total, k) for k in range(total)] == expected
    with pytest.raises(GdnaError, match="0 <= id < tot"):
        shard(range(count), total, total)


def test_training_machines_need_no_mesh_libraries() -> None:
    blocked = ("trimesh", "igl", "scipy", "numba", "av", "hydra", "PIL")
    code = f"import sys\nfor n in {blocked!r}: sys.modules[n] = None\nimport gdna.data.prepared, gdna.data.cache_file"
    subprocess.run([sys.executable, "-c", code], check=True)
