"""Run by `test_fused.py` under TRITON_INTERPRET=1: every Triton kernel against plain torch, without a GPU."""

from __future__ import annotations

import torch
from fused_scene import bent, cloud, small_weights

from gdna.deform.blend import skin
from gdna.deform.fused import Candidates, TorchEngine, TritonEngine, inverse_rows, search_fused
from gdna.deform.fused_networks import fused_networks
from gdna.deform.fused_triton import fill
from gdna.deform.search import FusedSettings, GridSettings, SearchSettings

SETTINGS = SearchSettings(
    grid=GridSettings(shape=(6, 7, 8), low=(-0.7, -0.7, -0.7), high=(0.7, 0.7, 0.7)),
    fused=FusedSettings(steps=8, candidate=0.1, rescue_evaluations=4),
)


@torch.no_grad()
def main() -> None:
    weights, transforms = small_weights(), bent()
    truth = cloud(2, 5)
    posed = skin(truth, transforms, weights)
    networks = fused_networks(weights, 2)
    plain, kernels = TorchEngine(weights), TritonEngine(networks)

    wanted = plain.fill(transforms, SETTINGS.grid)
    torch.testing.assert_close(kernels.fill(transforms, SETTINGS.grid).values, wanted.values, rtol=0, atol=1e-2)  # half
    exact = fill(networks, transforms, SETTINGS.grid, split=True)
    torch.testing.assert_close(exact.values, wanted.values, rtol=0, atol=1e-5)  # float32 after seven layers

    starts = inverse_rows(transforms, (0, 1, 2))
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

    some = Candidates(
        truth + 0.01, posed, torch.eye(3).flatten().expand(2, 5, 9), torch.tensor([5, 3])
    )  # two columns are padding
    (found, norms, _), (found_too, norms_too, _) = (
        engine.polish(some, transforms, SETTINGS, 12) for engine in (plain, kernels)
    )
    assert torch.equal(norms < SETTINGS.tolerance, norms_too < SETTINGS.tolerance)
    done = norms < SETTINGS.tolerance
    assert done.sum() >= 6
    assert not (norms_too[1, 3:] < SETTINGS.tolerance).any()
    torch.testing.assert_close(found[done], found_too[done], rtol=0, atol=3e-5)  # m, the tolerance

    whole = search_fused(posed, transforms, kernels, SETTINGS, kernels.fill(transforms, SETTINGS.grid))
    near = (whole.points_canonical - truth[:, :, None]).norm(dim=-1) < 1e-3
    assert (near & whole.converged).any(-1).float().mean() > 0.7
    again = skin(whole.points_canonical.flatten(1, 2), transforms, weights).view_as(whole.points_canonical)
    assert (again - posed[:, :, None]).norm(dim=-1)[whole.converged].max() < 1.5e-5  # m, the tolerance and rounding


if __name__ == "__main__":
    main()
