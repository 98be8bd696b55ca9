"""Rotations, files that are whole or not there, and triangles in a tree."""

from __future__ import annotations

import errno
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
import trimesh

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    rotation_y,
)
from gdna.geometry.triangle_tree import TriangleTree


def vectors(scale: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn(200, 3, generator=g, dtype=torch.float64), dim=-1)
    return v * torch.linspace(0, scale, 200, dtype=torch.float64)[:, None]


def test_axis_angle_round_trip():
    v = vectors(3.1)
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(v)), v, atol=1e-7, rtol=0)


def test_matrices_are_rotations_and_equal_the_exponential():
    v = vectors(6.0)
    m = axis_angle_to_matrix(v)
    eye = torch.eye(3, dtype=torch.float64).expand_as(m)
    torch.testing.assert_close(m @ m.mT, eye, atol=1e-12, rtol=0)
    from gdna.geometry.rotations import cross_matrix

    torch.testing.assert_close(m, torch.linalg.matrix_exp(cross_matrix(v)), atol=1e-12, rtol=0)


def test_quaternions_turn_as_the_matrix_does():
    m = axis_angle_to_matrix(vectors(3.14))
    q = matrix_to_quaternion(m)
    xyz, w = q[:, :3], q[:, 3:]
    p = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64).expand_as(xyz)
    turned = p + 2 * torch.cross(xyz, torch.cross(xyz, p, dim=1) + w * p, dim=1)
    torch.testing.assert_close(turned, (m @ p[..., None])[..., 0], atol=1e-12, rtol=0)


def test_gradient_at_zero_rotation_is_the_generator():
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, torch.zeros(3, dtype=torch.float64))
    assert torch.isfinite(jacobian).all()
    assert jacobian[2, 1, 0] == pytest.approx(1.0)


def test_rotation_y_turns_z_to_x():
    turned = rotation_y(torch.pi / 2) @ torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_interrupted_write_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted_write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_one_line(tmp_path: Path):
    def full_disk() -> None:
        with atomic_path(tmp_path / "b.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(GdnaError, match=r"b\.txt: the disk is full"):
        full_disk()
    assert list(tmp_path.iterdir()) == []


def torn_torus() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface with holes, two faces without area, and points near and far."""
    rng = np.random.default_rng(0)
    torus = trimesh.creation.torus(0.5, 0.2)
    faces = np.asarray(torus.faces)[rng.uniform(size=len(torus.faces)) < 0.8]
    faces = np.concatenate([faces, [[3, 3, 7], [5, 5, 5]]])
    near = torus.vertices[rng.integers(0, len(torus.vertices), 6000)] + rng.normal(0, 0.05, (6000, 3))
    return np.asarray(torus.vertices), faces, np.concatenate([near, rng.uniform(-2, 2, (500, 3))])


def test_a_tree_finds_the_nearest_point_of_every_triangle():
    vertices, faces, points = torn_torus()
    squared, face, nearest = TriangleTree.of(vertices, faces).nearest(points)
    expected = igl.point_mesh_squared_distance(points, vertices, faces)[0]
    np.testing.assert_allclose(squared, expected, atol=1e-12)
    np.testing.assert_allclose(np.square(points - nearest).sum(1), squared, atol=1e-12)
    on_face = [
        igl.point_mesh_squared_distance(nearest[i : i + 1], vertices, faces[[f]])[0] for i, f in enumerate(face[:50])
    ]
    assert np.max(on_face) < 1e-20


def test_a_tree_counts_windings():
    vertices, faces, points = torn_torus()
    found, exact = TriangleTree.of(vertices, faces).winding(points), igl.winding_number(vertices, faces, points)
    np.testing.assert_allclose(found, exact, atol=0.03)
    assert exact.max() > 0.8


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_tree_of_few_triangles(count):
    vertices, faces, points = torn_torus()
    tree = TriangleTree.of(vertices, faces[:count])
    expected = igl.point_mesh_squared_distance(points, vertices, faces[:count])[0]
    np.testing.assert_allclose(tree.nearest(points)[0], expected, atol=1e-12)
    np.testing.assert_allclose(tree.winding(points), igl.winding_number(vertices, faces[:count], points), atol=0.01)
