"""Rotations and files that are whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    rotation_y,
)


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
