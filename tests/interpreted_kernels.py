"""Run by `test_fused.py` under TRITON_INTERPRET=1: every Triton kernel against plain torch, without a GPU."""

from __future__ import annotations

from dataclasses import replace

import conftest  # noqa: F401  shapes are checked here too, where alone the kernels' own modules run
import torch
from fused_scene import bent, cloud, elbow, elbow_weights, small_weights

from gdna.deform.blend import skin, skin_with_jacobian
from gdna.deform.engines import GridRoots, TorchEngine
from gdna.deform.fused import TritonEngine, search_fused
from gdna.deform.fused_networks import fused_networks
from gdna.deform.fused_triton import candidates, fill, jacobians, split_bones
from gdna.deform.grid import blend_grid, sample_weights
from gdna.deform.reference import drop_duplicates
from gdna.deform.search import FusedSettings, GridSettings, SearchSettings
from gdna.fields.leaky import leaky_by_kernels, leaky_plainly
from gdna.fields.volume import read_by_kernels, read_plainly

SETTINGS = SearchSettings(
    grid=GridSettings(shape=(6, 7, 8), low=(-0.7, -0.7, -0.7), high=(0.7, 0.7, 0.7)),
    init_bones=(0, 1, 2),
    fused=FusedSettings(steps=8, near=1e-5, candidate=0.1, fold=0.0),
)


def volumes() -> None:
    generator = torch.Generator().manual_seed(7)
    volume = torch.randn(2, 8, 3, 4, 5, generator=generator)
    points = 2.6 * torch.rand(2, 21, 3, generator=generator) - 1.3  # some outside
    side = torch.randn(2, 21, 8, generator=generator)
    answers = []
    for read in (read_plainly, read_by_kernels):
        leaves = [t.clone().requires_grad_() for t in (volume, points)]
        values = read(*leaves)
        frozen = points.clone().requires_grad_()
        alone = torch.autograd.grad((read(volume, frozen) * side).sum(), frozen)
        answers.append((values, *torch.autograd.grad((values * side).sum(), leaves), *alone))
    for plain, compiled in zip(*answers, strict=True):
        assert plain.abs().max() > 0.1
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)  # float32, other order of sums


def leaky() -> None:
    generator = torch.Generator().manual_seed(8)
    x, bias = torch.randn(2, 9, 300, 8, generator=generator), torch.randn(8, generator=generator)
    side = torch.randn(x.shape, generator=generator)
    answers = []
    for function in (leaky_plainly, leaky_by_kernels):
        leaves = [t.clone().requires_grad_() for t in (x, bias)]
        y = function(*leaves, 0.2, 1.5)
        once = torch.autograd.grad((y * side).sum(), leaves, retain_graph=True)
        weight = side.clone().requires_grad_()  # second derivatives, as of a gradient's penalty
        again = torch.autograd.grad((y * weight).sum(), leaves, create_graph=True)
        twice = torch.autograd.grad(again[0].square().sum() + again[1].square().sum(), weight)
        answers.append((y, *once, *again, *twice))
    for plain, compiled in zip(*answers, strict=True):
        assert plain.abs().max() > 0.1
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)  # float32, other order of 5400 summands
    half = leaky_by_kernels(x.bfloat16(), bias, 0.2)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), leaky_plainly(x, bias, 0.2), rtol=2**-7, atol=2**-7)


@torch.no_grad()
def main() -> None:
    weights, transforms = small_weights(), bent()
    truth = cloud(2, 5)
    posed = skin(truth, transforms, weights)
    networks = fused_networks(weights, 2)
    plain, kernels = TorchEngine(weights), TritonEngine(networks)

    wanted = plain.fill(transforms, SETTINGS.grid)
    nodes = 0.7 * (2 * torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(6)) - 1)
    half, exact = kernels.fill(transforms, SETTINGS.grid), fill(networks, transforms, SETTINGS.grid, split=True)
    assert half.values.dtype == torch.float16
    torch.testing.assert_close(half.read(nodes), wanted.read(nodes), rtol=0, atol=1e-2)  # half
    torch.testing.assert_close(exact.read(nodes), wanted.read(nodes), rtol=0, atol=1e-5)  # float32 after seven layers

    plain_jacobians = skin_with_jacobian(truth, transforms, weights)[1]
    found = jacobians(truth, networks, transforms)
    # slopes of about 1, by half-precision products after seven layers
    torch.testing.assert_close(found.posed, plain_jacobians.posed, rtol=0, atol=2e-2)
    torch.testing.assert_close(found.neutral, plain_jacobians.neutral, rtol=0, atol=5e-3)

    wanted = replace(half, values=half.values.float())  # has origins
    starts = plain.starts(transforms)
    torch.testing.assert_close(kernels.starts(transforms), starts, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        split_bones(transforms, 16).float().sum(1)[:, :3, :12], transforms[:, :, :3].flatten(2), rtol=0, atol=1e-6
    )
    one, two = (engine.search(wanted, posed, starts, SETTINGS) for engine in (plain, kernels))
    converged = one.norms < SETTINGS.tolerance
    assert converged.float().mean() > 0.5
    assert torch.equal(converged, two.norms < SETTINGS.tolerance)
    torch.testing.assert_close(one.points[converged], two.points[converged], rtol=0, atol=2e-5)  # m, the tolerance

    points = torch.cat([one.points, one.points + 5e-4, one.points + 0.1], 2)
    norms = torch.cat([one.norms, one.norms, one.norms + 1e-3], 2)
    for limit in (1e-5, 1e-2):
        kept = [engine.keep(points, norms, limit, 1e-3) for engine in (plain, kernels)]
        assert torch.equal(*kept)
        assert kept[0].any()
        assert not kept[0].all()

    first = GridRoots(one.points.clone(), one.norms.clone(), one.inverse_jacobians.clone())
    found, found_too = (
        engine.refine(roots, posed, transforms, SETTINGS) for engine, roots in ((plain, one), (kernels, first))
    )
    done = found.norms < SETTINGS.tolerance
    assert torch.equal(done, found_too.norms < SETTINGS.tolerance)
    assert done.any(-1).float().mean() > 0.7
    torch.testing.assert_close(found.points[done], found_too.points[done], rtol=0, atol=3e-5)  # m, the tolerance
    assert found.dropped == found_too.dropped == 0

    wanted = torch.tensor([True, True, False, True, True])
    norms = torch.where(wanted, 0.0, 1.0)[None, :, None].expand(2, -1, 3).contiguous()
    few, fresh = candidates(one.points, norms, 0.5, 0.0, 7)
    assert few.counts.tolist() == [12, 12]  # five do not fit
    assert set(few.where[1].tolist()) < {0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14}
    assert (fresh == torch.where(norms < 0.5, 2e6, 1e6)).all()

    whole = search_fused(posed, transforms, kernels, SETTINGS, kernels.fill(transforms, SETTINGS.grid))
    near = (whole.points_canonical - truth[:, :, None]).norm(dim=-1) < 1e-3
    assert (near & whole.converged).any(-1).float().mean() > 0.7
    again = skin(whole.points_canonical.flatten(1, 2), transforms, weights).view_as(whole.points_canonical)
    assert (again - posed[:, :, None]).norm(dim=-1)[whole.converged].max() < 1.5e-5  # m, the tolerance and rounding


@torch.no_grad()
def folds() -> None:
    transforms = elbow()
    fine = replace(SETTINGS.grid, shape=(20, 20, 20))
    settings = replace(SETTINGS, grid=fine, fused=FusedSettings(steps=20, near=1e-5))
    posed = skin(0.4 * cloud(2, 60), transforms, elbow_weights)
    plain, kernels = TorchEngine(elbow_weights), TritonEngine(fused_networks(small_weights(), 2))
    grid = blend_grid(sample_weights(elbow_weights, posed, fine), transforms, columns=16)
    starts = plain.starts(transforms[:, :1].expand(-1, 6, -1, -1))
    one, two = (engine.search(grid, posed, starts, settings) for engine in (plain, kernels))
    without = plain.search(grid, posed, starts, replace(settings, fused=replace(settings.fused, fold=0.0)))
    assert missing(one, without) > 0.02
    assert max(missing(one, two), missing(two, one)) < 0.03  # rounding decides a start in a hundred


def missing(one: GridRoots, other: GridRoots) -> float:
    """Share of the distinct roots of one that the other has not."""
    apart = (one.points[:, :, :, None] - other.points[:, :, None]).norm(dim=-1)
    apart = apart.where((other.norms < SETTINGS.tolerance)[:, :, None], torch.inf).min(-1).values
    distinct = drop_duplicates(one.points, one.norms < SETTINGS.tolerance, 1e-3)
    return (apart > 1e-3)[distinct].double().mean().item()


if __name__ == "__main__":
    main()
    folds()
    volumes()
    leaky()
