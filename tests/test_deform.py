from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gdna.deform.blend import in_chunks, rigid_starts, skin
from gdna.deform.broyden import BroydenSettings, broyden
from gdna.deform.grid import blend_grid, sample_weights
from gdna.deform.implicit import attach_gradient
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.reference import drop_duplicates
from gdna.deform.search import GridSettings, SearchSettings, find_correspondences, uses_grid
from gdna.errors import GdnaError
from gdna.geometry.linalg import inverse_3x3, matvec
from gdna.geometry.rotations import axis_angle_to_matrix, rigid

SEARCH = SearchSettings(init_bones=(0, 1), backend="reference")
GRID = replace(
    SEARCH, backend="grid", grid=GridSettings(shape=(6, 24, 24), low=(-1.0, -1.0, -0.3), high=(1.0, 1.0, 0.3))
)


def arm_weights(sharpness: float | torch.Tensor = 12.0):
    """Two bones along x with the joint at the origin; smooth."""

    def weights_at(points):
        first = torch.sigmoid(-sharpness * points[..., 0])
        return torch.stack([first, 1 - first], -1)

    return weights_at


def bent_arm(*angles: float, dtype=torch.float64):
    """One subject per angle: bone 1 turns about z at the origin."""
    turn = torch.tensor([[0.0, 0.0, a] for a in angles], dtype=dtype)
    bone = rigid(axis_angle_to_matrix(turn), torch.zeros_like(turn))
    return torch.stack([torch.eye(4, dtype=dtype).expand_as(bone), bone], 1)


def cloud(batch: int, count: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(batch, count, 3, generator=generator, dtype=dtype) * 2 - 1
    return points * torch.tensor([0.8, 0.12, 0.12], dtype=dtype)


def recall(found, truth) -> float:
    near = (found.points_canonical - truth[:, :, None]).norm(dim=-1) < 1e-3
    return (near & found.converged).any(-1).double().mean().item()


def test_inverse_3x3():
    matrix = torch.randn(50, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse_3x3(matrix), torch.linalg.inv(matrix))
    assert inverse_3x3(torch.zeros(2, 3, 3)).isfinite().all()
    assert inverse_3x3(torch.ones(2, 3, 3)).isfinite().all()


def test_pack_and_unpack_round_trip():
    values = torch.randn(3, 7, 2)
    mask = torch.rand(3, 7) < 0.5
    mask[1] = False
    mask[2] = True
    packed = pack(values, mask)
    assert packed.values.shape == (3, 7, 2)
    assert (packed.mask.sum(1) == mask.sum(1)).all()
    for b in range(3):
        torch.testing.assert_close(packed.values[b][packed.mask[b]], values[b][mask[b]])
    back = unpack(packed.values, packed, torch.full_like(values, -9.0))
    torch.testing.assert_close(back, torch.where(mask[..., None], values, -9.0))
    torch.testing.assert_close(gather(packed.values, packed.position)[mask], values[mask])


def test_pack_keeps_one_column_where_nothing_is_kept():
    packed = pack(torch.ones(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool))
    assert packed.values.shape == (2, 1, 3)
    assert not packed.mask.any()
    assert (unpack(packed.values, packed, torch.zeros(2, 4, 3)) == 0).all()


def test_unpack_passes_gradients_of_kept_entries_only():
    values = torch.randn(2, 5, requires_grad=True)
    mask = torch.tensor([[True, False, True, False, False], [True, True, True, False, True]])
    packed = pack(values, mask)
    unpack(packed.values * 2, packed, torch.zeros(2, 5)).sum().backward()
    torch.testing.assert_close(values.grad, 2.0 * mask)


@pytest.mark.parametrize("repack", [0, 1, 3])
def test_broyden_solves_linear_systems(repack):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(
        2, 30, 3, 3, generator=generator, dtype=torch.float64
    )
    target = torch.randn(2, 30, 3, generator=generator, dtype=torch.float64)
    inverse = torch.eye(3, dtype=torch.float64).expand(2, 30, 3, 3)

    def residual(points, index):
        return matvec(gather(matrix, index), points) - gather(target, index)

    settings = BroydenSettings(30, 1e-9, 100.0, repack)
    roots = broyden(residual, torch.zeros_like(target), inverse, settings)
    assert roots.converged.all()
    torch.testing.assert_close(matvec(matrix, roots.points), target, rtol=0, atol=1e-8)


def test_broyden_keeps_the_best_iterate():
    """x^2 + 0.1 has no root and its iterates wander: the one with the smallest residual is kept."""
    seen = []

    def residual(points, index):
        seen.append(points.clone())
        return points * points + 0.1

    start = torch.full((1, 1, 3), 0.3, dtype=torch.float64)
    roots = broyden(
        residual, start, 0.3 * torch.eye(3, dtype=torch.float64)[None, None], BroydenSettings(12, 1e-5, 9.0)
    )
    norms = torch.stack([(p * p + 0.1).norm() for p in seen])
    assert not roots.converged.any()
    torch.testing.assert_close(roots.residual_norm[0, 0], norms.min())
    torch.testing.assert_close(roots.points, seen[int(norms.argmin())])


def test_broyden_gives_up_beyond_divergence_and_survives_nan():
    def residual(points, index):
        return torch.where(points > 0.5, torch.nan, points + 2.0)

    start = torch.zeros(1, 2, 3)
    inverse = torch.stack([torch.eye(3), -torch.eye(3)])[None]  # the second runs into the NaN
    roots = broyden(residual, start, inverse, BroydenSettings(5, 1e-5, 1.0))
    assert roots.converged.tolist() == [[True, False]]
    assert roots.points.isfinite().all()


def test_starts_are_rigid_inverses():
    transforms = bent_arm(0.7, -1.0)
    points = cloud(2, 10)
    starts = rigid_starts(points, transforms, (0, 1))
    torch.testing.assert_close(starts[:, :, 0], points)
    homogeneous = torch.cat([starts[:, :, 1], torch.ones(2, 10, 1, dtype=torch.float64)], -1)
    torch.testing.assert_close((homogeneous @ transforms[:, 1].mT)[..., :3], points)


@pytest.mark.parametrize("settings", [SEARCH, GRID], ids=["reference", "grid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_search_finds_where_points_came_from(settings, dtype):
    truth, transforms = cloud(2, 300, dtype), bent_arm(0.6, -0.9, dtype=dtype)
    posed = skin(truth, transforms, arm_weights())
    found = find_correspondences(posed, transforms, arm_weights(), settings)
    assert recall(found, truth) > 0.98
    again = skin(found.points_canonical.flatten(1, 2), transforms, arm_weights()).unflatten(1, (300, 2))
    miss = (again - posed[:, :, None]).norm(dim=-1)
    assert miss[found.converged].max() < 1.5e-5  # metres: the tolerance and rounding


def test_a_batch_equals_its_singles():
    truth, transforms = cloud(2, 40), bent_arm(0.6, -0.9)
    posed = skin(truth, transforms, arm_weights())
    for settings in (SEARCH, GRID):
        both = find_correspondences(posed, transforms, arm_weights(), settings)
        for b in range(2):
            one = find_correspondences(posed[b : b + 1], transforms[b : b + 1], arm_weights(), settings)
            assert (one.converged[0] == both.converged[b]).all()
            mask = one.converged[0]
            torch.testing.assert_close(one.points_canonical[0][mask], both.points_canonical[b][mask])


def test_grid_and_reference_find_the_same_roots():
    truth, transforms = cloud(1, 300), bent_arm(1.2)
    posed = skin(truth, transforms, arm_weights())
    reference = find_correspondences(posed, transforms, arm_weights(), SEARCH)
    grid = find_correspondences(posed, transforms, arm_weights(), GRID)
    gap = (reference.points_canonical[:, :, :, None] - grid.points_canonical[:, :, None]).norm(dim=-1)
    seen = ((gap < 1e-3) & grid.converged[:, :, None]).any(-1)
    assert seen[reference.converged].double().mean() > 0.98


def test_a_given_grid_changes_nothing_and_is_taken():
    truth, transforms = cloud(1, 50), bent_arm(0.6)
    posed = skin(truth, transforms, arm_weights())
    grid = sample_weights(arm_weights(), posed, GRID.grid)
    assert uses_grid(replace(GRID, backend="auto"), posed, have_grid=True)
    assert not uses_grid(replace(GRID, backend="auto"), posed)
    one, two = (find_correspondences(posed, transforms, arm_weights(), GRID, g) for g in (None, grid))
    assert torch.equal(one.points_canonical, two.points_canonical)


def test_grid_reads_linear_weights_exactly_and_clamps_outside():
    def weights_at(points):
        first = (points[..., 0] + 1) / 2
        return torch.stack([first, 1 - first], -1)

    transforms = bent_arm(0.8)
    grid = blend_grid(sample_weights(weights_at, cloud(1, 1), GRID.grid), transforms)
    points = cloud(1, 60)
    expected = skin(points, transforms, weights_at)
    read = grid.read(points)
    torch.testing.assert_close(matvec(read[..., :3], points) + read[..., 3], expected, rtol=0, atol=1e-9)
    far = torch.tensor([[[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(*grid.read(far).unbind(1))


def test_duplicates_of_earlier_starts_are_dropped():
    points = torch.tensor([[0.0], [0.5e-3], [0.1], [0.1002], [0.0]])[None, None].expand(1, 1, 5, 3).contiguous()
    converged = torch.tensor([[[True, True, False, True, True]]])
    assert drop_duplicates(points, converged, 1e-3).tolist() == [[[True, False, False, True, False]]]


def test_points_without_any_root_are_not_found():
    settings = replace(SEARCH, max_steps=1)
    found = find_correspondences(cloud(1, 5) + 1.0, bent_arm(2.5), arm_weights(60.0), settings)
    assert found.converged.shape == (1, 5, 2)
    nothing = replace(GRID, grid=replace(GRID.grid, candidate=0.0))
    assert not find_correspondences(cloud(1, 5), bent_arm(1.0), arm_weights(), nothing).converged.any()


def test_chunks_change_nothing():
    points = cloud(3, 5000)
    torch.testing.assert_close(in_chunks(arm_weights())(points), arm_weights()(points))


def test_unknown_backend_is_named():
    with pytest.raises(GdnaError, match=r"fast.*auto, reference, grid"):
        SearchSettings(backend="fast")


@pytest.mark.parametrize("subject_of", ["weights", "posed point", "bone angle"])
def test_implicit_gradient_is_the_finite_difference_of_the_solved_root(subject_of):
    """Central differences of 1e-5 in float64 on roots solved to 1e-12: error about 1e-7."""
    exact = replace(SEARCH, tolerance=1e-12)
    posed = skin(cloud(1, 20), bent_arm(0.7), arm_weights())
    side = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)

    def setup(step: torch.Tensor):
        sharpness = 12.0 + step if subject_of == "weights" else 12.0
        target = posed + step * side if subject_of == "posed point" else posed
        angle = step * torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        turn = rigid(axis_angle_to_matrix(angle), torch.zeros(1, 3, dtype=torch.float64))
        transforms = bent_arm(0.7)
        if subject_of == "bone angle":
            transforms = torch.stack([transforms[:, 0], turn @ transforms[:, 1]], 1)
        return target, transforms, arm_weights(sharpness)

    def root(step: float) -> torch.Tensor:
        target, transforms, weights_at = setup(torch.tensor(step, dtype=torch.float64))
        found = find_correspondences(target, transforms, weights_at, exact)
        assert found.converged.any(-1).all()
        return found.points_canonical.gather(2, found.converged.int().argmax(-1)[..., None, None].expand(-1, -1, 1, 3))

    step = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    target, transforms, weights_at = setup(step)
    attached = attach_gradient(root(0.0)[:, :, 0], target, transforms, weights_at)
    torch.testing.assert_close(attached.detach(), root(0.0)[:, :, 0], rtol=0, atol=1e-12)
    weighting = torch.randn(attached.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((attached * weighting).sum(), step)
    difference = ((root(1e-5) - root(-1e-5))[:, :, 0] * weighting).sum() / 2e-5
    assert math.isclose(gradient.item(), difference.item(), rel_tol=1e-5)


def test_without_gradient_mode_roots_come_back_as_they_are():
    points = cloud(1, 5)
    with torch.no_grad():
        assert torch.equal(attach_gradient(points, points, bent_arm(0.0), arm_weights()), points)


@pytest.mark.parametrize("settings", [SEARCH, GRID], ids=["reference", "grid"])
def test_the_search_keeps_full_precision_under_autocast(settings):
    truth, transforms = cloud(1, 40, torch.float32), bent_arm(0.6, dtype=torch.float32)
    posed = skin(truth, transforms, arm_weights())
    expected = find_correspondences(posed, transforms, arm_weights(), settings)
    with torch.autocast("cpu", torch.bfloat16):
        found = find_correspondences(posed, transforms, arm_weights(), settings)
    assert torch.equal(found.converged, expected.converged)
    assert torch.equal(found.points_canonical, expected.points_canonical)
