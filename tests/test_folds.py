"""Predicted normals become geometry: known bumps come back, low frequencies and contradictions stay out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, diags_array, kron
from scipy.sparse.linalg import spsolve

import gdna
from gdna.evaluate.maps import degrees_between
from gdna.extract.detail import (
    FoldSettings,
    conjugate_gradients,
    cotangent_weights,
    displacement,
    evened,
    fold_system,
    folds_in_pose,
    unique_edges,
    unturned,
    with_folds,
    without_folds,
)
from gdna.extract.refine import extract_surface
from gdna.extract.subdivide import subdivided
from gdna.geometry.mesh import face_normals, genus, vertex_normals
from gdna.types import AvatarMesh

RADIUS = 0.1  # metres
BUMP = 0.002  # metres high
SETTINGS = FoldSettings()
Mesh = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    """About 6,000 even triangles of 5 mm, marching cubes' slivers gone."""
    low = torch.full((3,), -0.128)
    vertices, faces = extract_surface(lambda p: RADIUS - p.norm(dim=1), low, -low, 48, polish=2)
    return evened(vertices, faces), faces


def bumps(vertices: torch.Tensor, waves: float) -> torch.Tensor:
    """Heights of ripples, `waves` around the equator."""
    direction = torch.nn.functional.normalize(vertices, dim=1)
    return BUMP * torch.sin(waves * direction[:, 0]) * torch.cos(waves * direction[:, 1])


def raised(mesh: Mesh, heights: torch.Tensor) -> torch.Tensor:
    return mesh[0] + heights[:, None] * vertex_normals(*mesh)


def recovered(mesh: Mesh, heights: torch.Tensor, settings: FoldSettings = SETTINGS) -> torch.Tensor:
    """The share of known heights that comes back from the bumpy mesh's normals alone, and the share missed."""
    found = lifted(mesh, vertex_normals(raised(mesh, heights), mesh[1]), settings)
    own = heights - heights.mean()
    return torch.stack([(found @ own) / (own @ own), (found - own).norm() / own.norm()])


def lifted(mesh: Mesh, normals: torch.Tensor, settings: FoldSettings = SETTINGS) -> torch.Tensor:
    """How far vertices move along the mesh's own normals."""
    return (displacement(*mesh, normals, settings) * vertex_normals(*mesh)).sum(1)


def test_bumps_on_a_sphere_come_back(sphere):
    """Ripples every 4 to 5 cm, 4 mm from top to bottom, on triangles of 5 mm: 83 % of them."""
    share, missed = recovered(sphere, bumps(sphere[0], 12.0)).tolist()
    assert share > 0.8
    assert missed < 0.2


def test_long_waves_stay_with_the_surface(sphere):
    """The shorter the reach against the wave, the less of it comes back."""
    heights = bumps(sphere[0], 12.0)
    shares = [float(recovered(sphere, heights, replace(SETTINGS, reach=reach))[0]) for reach in (1.0, 0.01, 0.002)]
    assert shares[0] > 0.9
    assert 0.4 < shares[1] < 0.7
    assert shares[2] < 0.1
    own = displacement(*sphere, vertex_normals(*sphere), SETTINGS)  # the sphere's own normals tell of no height
    assert own.abs().max() < 0.05 * BUMP


def test_the_solution_is_the_factorisations(sphere):
    normals = vertex_normals(raised(sphere, bumps(sphere[0], 12.0)), sphere[1])
    system = fold_system(*(t.double() if t.is_floating_point() else t for t in (*sphere, normals)), SETTINGS)
    count, edges = len(sphere[0]), system.edges.numpy()
    rows, axes = np.repeat(np.arange(len(edges)), 6), np.tile(np.arange(3), 2)
    columns = (3 * np.repeat(edges, 3, axis=1) + axes).flatten()
    signed = torch.cat([system.directions, -system.directions], 1).flatten().numpy()
    slopes = coo_array((signed, (rows, columns)), (len(edges), 3 * count)).tocsr()
    ends = coo_array((np.tile([1.0, -1.0], len(edges)), (np.arange(2 * len(edges)) // 2, edges.flatten()))).tocsr()
    shear = system.stiffness * ends.T @ diags_array(system.weights.numpy()) @ ends + diags_array(system.screen.numpy())
    matrix = ((1 - system.stiffness) * slopes.T @ slopes + kron(shear, np.eye(3))).tocsc()
    expected = torch.from_numpy(spsolve(matrix, slopes.T @ system.targets.numpy())).view(-1, 3)
    found = displacement(*sphere, normals, SETTINGS).double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)  # m: a two-thousandth of the bumps
    u = torch.linspace(-1, 1, 3 * count, dtype=torch.float64)
    torch.testing.assert_close(system.product(u.view(-1, 3)).flatten(), torch.from_numpy(matrix @ u.numpy()))
    torch.testing.assert_close(system.diagonal.flatten(), torch.from_numpy(matrix.diagonal()))


def test_products_by_vertices_are_those_by_edges(sphere):
    normals = vertex_normals(raised(sphere, bumps(sphere[0], 12.0)), sphere[1])
    system = fold_system(*sphere, normals, SETTINGS)
    u = torch.randn(len(sphere[0]), 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(system.product(u), system.product_by_edges(u), rtol=1e-5, atol=1e-5)


def test_conjugate_gradients_on_any_system():
    torch.manual_seed(0)
    root = torch.randn(30, 30, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(30)
    right = torch.randn(30, dtype=torch.float64)
    found = conjugate_gradients(lambda x: matrix @ x, right, matrix.diagonal(), 60)
    torch.testing.assert_close(matrix @ found, right, atol=1e-6, rtol=0)
    assert not conjugate_gradients(lambda x: matrix @ x, 0 * right, matrix.diagonal(), 9).any()  # and nothing is NaN


def test_contradicting_normals_raise_no_folds(sphere):
    """Inside out on one side: that side stays, the other keeps its bumps."""
    heights = bumps(sphere[0], 12.0)
    normals = vertex_normals(raised(sphere, heights), sphere[1])
    behind = sphere[0][:, 2] < 0
    found = lifted(sphere, torch.where(behind[:, None], -normals, normals))
    assert found[sphere[0][:, 2] < -0.05].abs().max() < 0.4 * BUMP
    front = sphere[0][:, 2] > 0.05
    assert (found - heights)[front].std() < 0.2 * heights[front].std()


def test_no_vertex_moves_farther_than_the_limit(sphere):
    normals = vertex_normals(raised(sphere, bumps(sphere[0], 12.0)), sphere[1])
    found = displacement(*sphere, normals, replace(SETTINGS, limit=1e-3))
    assert found.norm(dim=1).max() == pytest.approx(1e-3)


def test_edges_and_cotangents_of_two_triangles():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    edges, weights = cotangent_weights(vertices, faces)
    assert edges.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.0, 0.5, 0.5, 0.5]))  # right angles face the diagonal
    _, side = unique_edges(faces, 4)
    assert edges[side].sort(1).values.tolist() == [[0, 1], [0, 2], [1, 2], [2, 3], [0, 2], [0, 3]]


def test_no_face_is_turned_over(sphere):
    """A displacement of chance stands faces on edge; what is left of it does not, and calm places stay."""
    torch.manual_seed(0)
    vertices, faces = sphere
    own, before = vertex_normals(vertices, faces), face_normals(vertices, faces)
    chance = 0.01 * torch.randn(len(vertices), 1) * own * (vertices[:, :1] > 0)
    calm = bumps(vertices, 6.0)[:, None] * own * (vertices[:, :1] < -0.02)

    def turned(moved: torch.Tensor) -> float:
        return float(((face_normals(vertices + moved, faces) * before).sum(1) < 0.3).float().mean())

    settled = unturned(vertices, faces, chance + calm)
    assert turned(chance + calm) > 0.1
    assert turned(settled) < 0.01 * turned(chance + calm)
    assert torch.equal(settled[vertices[:, 0] < -0.03], calm[vertices[:, 0] < -0.03])


def test_evened_triangles_lie_on_the_same_surface(sphere):
    low = torch.full((3,), -0.128)
    rough, faces = extract_surface(lambda p: RADIUS - p.norm(dim=1), low, -low, 48, polish=2)

    def worst(vertices: torch.Tensor) -> torch.Tensor:
        sides = torch.stack([(vertices[faces[:, k]] - vertices[faces[:, k - 1]]).norm(dim=1) for k in range(3)])
        return (sides.amin(0) / sides.amax(0)).quantile(0.05)

    assert worst(rough) < 0.3
    assert worst(sphere[0]) > 0.5
    # m: within the surface; a chord of 5 mm leaves a sphere of 10 cm by 0.03 mm
    assert (sphere[0].norm(dim=1) - RADIUS).abs().max() < 1e-4


def test_a_mesh_with_folds_and_back(sphere):
    vertices, faces = sphere
    normals = vertex_normals(raised(sphere, bumps(vertices, 12.0)), faces)
    flat = AvatarMesh(vertices, faces, normals, torch.ones(len(vertices), 1), torch.zeros(1, 3), (-1,))
    folded = with_folds(flat)
    before, after = (degrees_between(vertex_normals(m.vertices, faces), normals).mean() for m in (flat, folded))
    assert after < 0.2 * before
    assert (face_normals(folded.vertices, faces) * face_normals(vertices, faces)).sum(1).min() > 0.5  # none turned over
    assert torch.equal(without_folds(folded).vertices, vertices)
    assert without_folds(flat) is flat
    pose = torch.eye(4)[None]
    assert folds_in_pose(folded, pose) is folded  # its normals do not see the pose
    other = replace(folded, normals_in=lambda bones: vertex_normals(vertices, faces)[None])
    torch.testing.assert_close(folds_in_pose(other, pose).vertices, vertices, atol=0.05 * BUMP, rtol=0)


def test_subdivided_is_the_same_surface_with_four_times_the_faces(sphere):
    vertices, faces = sphere
    shares = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    weights, normals = shares / shares.sum(1, keepdim=True), vertex_normals(vertices, faces)
    mesh = AvatarMesh(vertices, faces, normals, weights, torch.zeros(3, 3), (-1, 0, 0), lambda bones: normals[None])
    fine = subdivided(mesh)
    assert len(fine.faces) == 4 * len(faces)
    assert genus(fine.faces) == genus(faces) == 0
    before, after = face_normals(vertices, faces), face_normals(fine.vertices, fine.faces)
    torch.testing.assert_close(after, before.repeat(4, 1), atol=1e-3, rtol=0)
    assert torch.equal(fine.vertices[: len(vertices)], vertices)
    torch.testing.assert_close(fine.skin_weights.sum(1), torch.ones(len(fine.vertices)))
    torch.testing.assert_close(fine.normals_in(torch.eye(4)[None, None])[0], fine.normals)
    torch.testing.assert_close(fine.normals.norm(dim=1), torch.ones(len(fine.vertices)))


def test_finer_triangles_take_more_of_short_ripples(sphere):
    """Ripples every 2 cm on triangles of 5 mm and of 2.5 mm, known by their normals at the coarser vertices."""
    vertices, faces = sphere
    normals = vertex_normals(raised(sphere, bumps(vertices, 30.0)), faces)
    flat = AvatarMesh(vertices, faces, normals, torch.ones(len(vertices), 1), torch.zeros(1, 3), (-1,))
    left = [
        degrees_between(vertex_normals(m.vertices, m.faces), m.normals).mean()
        for m in (with_folds(flat), with_folds(subdivided(flat)))
    ]
    assert left[1] < 0.8 * left[0]


def test_the_shipped_models_people_have_folds():
    """Fine: the surface agrees better with what is predicted; coarse: the occupancy's, cut into the same cells."""
    person = gdna.load(device="cpu").training_person(7)
    fine = person.mesh(96)
    flat = without_folds(fine)
    before, after = (degrees_between(vertex_normals(m.vertices, m.faces), m.normals).mean() for m in (flat, fine))
    assert after < 0.85 * before
    assert 1e-4 < (fine.vertices - flat.vertices).norm(dim=1).mean() < 5e-3  # m
    coarse = person.mesh(96, "coarse")
    assert coarse.base is None
    assert torch.equal(coarse.faces, fine.faces)
    away = flat.vertices - coarse.vertices
    along = (away * vertex_normals(coarse.vertices, coarse.faces)).sum(1)
    assert along.abs().mean() < 0.25 * away.norm(dim=1).mean()  # evened within the surface, in cells of 21 mm
    finest = person.mesh(96, "finest")
    assert len(finest.faces) == 4 * len(fine.faces)
    assert int((finest.skin_weights > 0).sum(1).max()) <= 8
    assert torch.equal(without_folds(finest).vertices[: len(flat.vertices)], flat.vertices)
    agreed = degrees_between(vertex_normals(finest.vertices, finest.faces), finest.normals).mean()
    assert agreed < 1.05 * after
