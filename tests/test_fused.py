"""The fused search and the exact Jacobian of skinning, each against its plain form."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fused_scene import bent, cloud, elbow, elbow_weights, small_weights

from gdna.deform.blend import skin, skin_with_jacobian
from gdna.deform.engines import GridRoots, NumbaEngine, TorchEngine
from gdna.deform.folds import lost_direction
from gdna.deform.fused import why_not_here
from gdna.deform.fused_networks import why_not_fused
from gdna.deform.grid import sample_weights
from gdna.deform.implicit import attach_gradient, attach_gradients
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.reference import drop_duplicates
from gdna.deform.search import FusedSettings, GridSettings, SearchSettings, find_correspondences, make_grid
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix

HERE = Path(__file__).parent
SETTINGS = SearchSettings(
    backend="fused",
    grid=GridSettings(shape=(10, 11, 12), low=(-0.7, -0.7, -0.7), high=(0.7, 0.7, 0.7)),
    init_bones=(0, 1, 2),
)
EXACT = replace(SETTINGS, fused=FusedSettings(near=SETTINGS.tolerance, fold=0.0))  # two engines end at the same points
FINE = replace(
    EXACT, fused=FusedSettings(steps=20, near=SETTINGS.tolerance), grid=replace(SETTINGS.grid, shape=(28,) * 3)
)


def test_the_jacobian_of_skinning_is_that_of_autograd_and_of_differences():
    weights, transforms, points = (
        small_weights(dtype=torch.float64),
        bent(dtype=torch.float64),
        cloud(dtype=torch.float64),
    )
    posed, jacobians = skin_with_jacobian(points, transforms, weights)
    jacobian = jacobians.posed
    torch.testing.assert_close(posed, skin(points, transforms, weights))
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-5
        ahead, behind = (skin(points + s * step, transforms, weights) for s in (1, -1))
        # metres per metre: the softplus bends within a centimetre, so central differences are off by about 1e-5
        torch.testing.assert_close(jacobian[..., axis], (ahead - behind) / 2e-5, rtol=0, atol=1e-4)
        ahead, behind = (weights.neutral(points + s * step) for s in (1, -1))
        torch.testing.assert_close(jacobians.neutral[..., axis], (ahead - behind) / 2e-5, rtol=0, atol=1e-4)
    variable = points.clone().requires_grad_()
    for row in range(3):
        (wanted,) = torch.autograd.grad(skin(variable, transforms, weights)[..., row].sum(), variable)
        # torch takes softplus for straight beyond 20: a slope of 1 instead of 1 - 2e-9
        torch.testing.assert_close(jacobian[:, :, row], wanted, rtol=0, atol=1e-7)


def test_gradients_by_the_exact_jacobian_are_those_by_autograd():
    weights, points = small_weights(dtype=torch.float64), cloud(dtype=torch.float64)
    transforms = bent(dtype=torch.float64).requires_grad_()
    posed = skin(points, transforms, weights).detach().requires_grad_()
    parameters = [posed, transforms, weights.skinning.weights[0], weights.warp.weights[-1], weights.warp.offset]
    side = torch.randn(2, *points.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain_roots = attach_gradient(points, posed, transforms, lambda x: weights(x))
    plain = plain_roots, weights.neutral(plain_roots)
    both = attach_gradients(points, posed, transforms, weights)
    for one, two in zip(plain, both, strict=True):
        torch.testing.assert_close(one, two)
    gradients = [
        torch.autograd.grad((side[0] * roots + side[1] * neutral).sum(), parameters) for roots, neutral in (plain, both)
    ]
    for one, two in zip(*gradients, strict=True):
        assert two.abs().max() > 1e-3
        torch.testing.assert_close(one, two)
    with torch.no_grad():
        roots, neutral = attach_gradients(points, posed, transforms, weights)
    assert torch.equal(roots, points)
    torch.testing.assert_close(neutral, both[1])


def test_packing_in_a_fixed_capacity_drops_and_counts_what_does_not_fit():
    values = torch.arange(12.0).reshape(2, 6)
    mask = torch.tensor([[True, False, True, True, True, False], [False, True, False, False, False, False]])
    packed = pack(values, mask, capacity=3)
    assert packed.values[0].tolist() == [0.0, 2.0, 3.0]
    assert packed.mask.tolist() == [[True, True, True], [True, False, False]]
    assert packed.kept.tolist() == [[True, False, True, True, False, False], [False, True] + [False] * 4]
    assert int(packed.overflow) == 1
    back = unpack(packed.values, packed, torch.full_like(values, -1.0))
    assert torch.equal(back, torch.where(packed.kept, values, -1.0))
    assert torch.equal(gather(packed.values, packed.position)[packed.kept], values[packed.kept])
    roomy = pack(values, mask, capacity=8)
    assert roomy.values.shape == (2, 8)
    assert int(roomy.overflow) == int(pack(values, mask).overflow) == 0
    assert torch.equal(roomy.kept, mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_search_on_a_grid_is_that_of_torch(dtype):
    weights, transforms = small_weights(dtype=dtype), bent(dtype=dtype)
    posed = skin(cloud(dtype=dtype), transforms, weights).detach()
    plain, compiled = TorchEngine(weights), NumbaEngine(weights)
    grid = plain.fill(transforms, SETTINGS.grid)
    rows = plain.starts(transforms)
    one, two = (engine.search(grid, posed, rows, EXACT) for engine in (plain, compiled))
    converged = one.norms < SETTINGS.tolerance
    assert converged.double().mean() > 0.8
    agree = converged == (two.norms < SETTINGS.tolerance)
    assert agree.double().mean() > 0.99  # rounding decides the last step of a few
    atol = 1e-9 if dtype == torch.float64 else 2e-5  # metres: rounding; in float32, the tolerance
    torch.testing.assert_close(one.points[converged & agree], two.points[converged & agree], rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fused_search_finds_what_the_reference_finds(dtype):
    weights, transforms, truth = small_weights(dtype=dtype), bent(dtype=dtype), cloud(2, 150, dtype)
    posed = skin(truth, transforms, weights).detach()
    recall = {}
    for backend in ("reference", "fused"):
        found = find_correspondences(posed, transforms, weights, replace(SETTINGS, backend=backend))
        near = (found.points_canonical - truth[:, :, None]).norm(dim=-1) < 2e-3
        recall[backend] = (near & found.converged).any(-1).double().mean().item()
        again = skin(found.points_canonical.flatten(1, 2), transforms, weights).view_as(found.points_canonical)
        assert (again - posed[:, :, None]).norm(dim=-1)[found.converged].max() < 1.5e-5  # m, the tolerance
    assert recall["reference"] > 0.9
    assert recall["fused"] >= recall["reference"]


def missing(one: GridRoots, other: GridRoots) -> float:
    """Share of the distinct roots of one that the other has not."""
    apart = (one.points[:, :, :, None] - other.points[:, :, None]).norm(dim=-1)
    apart = apart.where((other.norms < SETTINGS.tolerance)[:, :, None], torch.inf).min(-1).values
    distinct = drop_duplicates(one.points, one.norms < SETTINGS.tolerance, 1e-3)
    return (apart > 1e-4)[distinct].double().mean().item()


def test_the_search_from_beyond_folds_finds_more_and_compiled_the_same():
    transforms = elbow(dtype=torch.float64)
    posed = skin(0.4 * cloud(2, 300, torch.float64), transforms, elbow_weights)
    grid = TorchEngine(elbow_weights).fill(transforms, FINE.grid)
    rows = TorchEngine(elbow_weights).starts(transforms[:, :1].expand(-1, 6, -1, -1))
    plain, compiled = (engine(elbow_weights).search(grid, posed, rows, FINE) for engine in (TorchEngine, NumbaEngine))
    without = TorchEngine(elbow_weights).search(grid, posed, rows, replace(FINE, fused=replace(FINE.fused, fold=0.0)))
    assert missing(plain, without) > 0.02
    assert missing(without, plain) == 0.0  # only columns of duplicates are taken
    assert max(missing(plain, compiled), missing(compiled, plain)) < 0.01


def test_a_fold_is_where_the_map_loses_a_direction():
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64))
    jacobians = torch.stack(
        [turn @ torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([1.0, 0.9, 0.2], [0.6, 1, 1])]
    )
    found = lost_direction(jacobians, 0.5)
    torch.testing.assert_close(found[0].abs(), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-6)
    assert not found[1].any()


def test_roots_outside_the_box_of_the_grid_are_left_out():
    weights, transforms = small_weights(), bent()
    posed = skin(cloud(), transforms, weights).detach()
    small = GridSettings(shape=(10, 11, 12), low=(0.0, -0.7, -0.7), high=(0.7, 0.7, 0.7))
    found = find_correspondences(posed, transforms, weights, replace(SETTINGS, grid=small))
    everywhere = find_correspondences(posed, transforms, weights, SETTINGS)
    assert found.points_canonical[found.converged][:, 0].min() > -0.01  # metres: polishing moves them
    assert everywhere.points_canonical[everywhere.converged][:, 0].min() < -0.2


def test_grids_of_weights_and_of_transforms_serve_alike():
    weights, transforms = small_weights(), bent()
    posed = skin(cloud(), transforms, weights).detach()
    of_weights, of_transforms = (
        sample_weights(weights, posed, SETTINGS.grid),
        make_grid(posed, transforms, weights, SETTINGS),
    )
    answers = [find_correspondences(posed, transforms, weights, SETTINGS, g) for g in (None, of_weights, of_transforms)]
    for answer in answers[1:]:
        assert torch.equal(answer.points_canonical, answers[0].points_canonical)


def test_what_the_grid_does_not_lead_near_is_left():
    weights, transforms = small_weights(), bent()
    posed = skin(cloud(), transforms, weights).detach()
    nothing = replace(SETTINGS, fused=FusedSettings(candidate=0.0))
    assert not find_correspondences(posed, transforms, weights, nothing).converged.any()


def test_what_cannot_run_says_why():
    weights = small_weights()
    with pytest.raises(GdnaError, match="'fused': found a device of type meta, expected cuda or cpu; backend 'auto'"):
        find_correspondences(
            torch.zeros(1, 2, 3, device="meta"), torch.zeros(1, 3, 4, 4, device="meta"), weights, SETTINGS
        )
    assert why_not_here(torch.zeros(1, 2, 3), weights) is None
    assert why_not_fused(weights) is None
    assert "a function" in why_not_fused(lambda x: x)
    assert "layers of 256, the kernels take at most 128" in why_not_fused(small_weights(width=256))
    assert "torch.float64" in why_not_fused(small_weights(dtype=torch.float64))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_triton_kernels_agree_with_torch_under_the_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    script = HERE / "interpreted_kernels.py"
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_importing_the_search_imports_no_compiler():
    code = "import sys, gdna.deform.search, gdna.model.avatar_model; assert not {'triton', 'numba'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
