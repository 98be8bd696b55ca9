"""Broyden's method on many small systems at once (Broyden 1965, the "good" update by Sherman and Morrison)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.deform.packing import gather
from gdna.geometry.linalg import matvec

Residual = Callable[[Tensor, Tensor], Tensor]
"""(points (B, A, 3), index (B, A) of the start each belongs to) -> residual (B, A, 3)."""


@dataclass(frozen=True)
class BroydenSettings:
    max_steps: int = 50
    tolerance: float = 1e-5  # of the residual's norm: below it a point is finished
    divergence: float = 1.0  # above it, it is given up
    repack: int = 1  # steps between dropping finished points from the batch, 0 for never; waits for the device


@dataclass(frozen=True)
class Roots:
    """The best iterate of every start."""

    points: Float[Tensor, "B M 3"]
    residual_norm: Float[Tensor, "B M"]
    converged: Bool[Tensor, "B M"]
    inverse_jacobian: Float[Tensor, "B M 3 3"]  # as last updated


@dataclass(frozen=True)
class _Active:
    """What is still iterated, in A <= M columns."""

    points: Float[Tensor, "B A 3"]
    value: Float[Tensor, "B A 3"]
    inverse: Float[Tensor, "B A 3 3"]
    best_points: Float[Tensor, "B A 3"]
    best_norm: Float[Tensor, "B A"]
    going: Bool[Tensor, "B A"]
    index: Int[Tensor, "B A"]  # column -> start; M in padding columns


@torch.no_grad()
def broyden(
    residual: Residual,
    start: Float[Tensor, "B M 3"],
    inverse_jacobian: Float[Tensor, "B M 3 3"],
    settings: BroydenSettings,
    value: Float[Tensor, "B M 3"] | None = None,
) -> Roots:
    """Look for residual(x) = 0 from every start, whose residual is `value` where that is known already.

    Not converging is an answer, not an error.
    """
    batch, count, _ = start.shape
    index = torch.arange(count, device=start.device).expand(batch, -1)
    value = residual(start, index) if value is None else value
    norm = value.norm(dim=-1)
    state = _Active(start, value, inverse_jacobian, start, norm, norm > settings.tolerance, index)
    results = [_extended(start), _extended(norm), _extended(inverse_jacobian)]
    for step in range(settings.max_steps):
        if settings.repack and step % settings.repack == 0:
            left = int(state.going.sum(1).max())
            if left == 0:
                break
            if left < 0.8 * state.going.shape[1]:
                _write(results, state)
                state = _shrink(state, left, count)
        state = _step(residual, state, settings, count)
    _write(results, state)
    points, norm, inverse = (r[:, :count] for r in results)
    return Roots(points, norm, norm < settings.tolerance, inverse)


def _step(residual: Residual, state: _Active, settings: BroydenSettings, count: int) -> _Active:
    """One step of what is going; the others stay where they are, and so do their residuals."""
    there = state.points - matvec(state.inverse, state.value)
    points = torch.where(state.going[..., None], there, state.points)
    value = residual(points, state.index.clamp_max(count - 1))
    norm = value.norm(dim=-1)
    best_norm = torch.fmin(norm, state.best_norm)
    return replace(
        state,
        points=points,
        value=value,
        inverse=_updated(state.inverse, points - state.points, value - state.value),
        best_points=torch.where((norm < state.best_norm)[..., None], points, state.best_points),
        best_norm=best_norm,
        going=(best_norm > settings.tolerance) & (norm < settings.divergence),
    )


def _updated(
    inverse: Float[Tensor, "B A 3 3"], move: Float[Tensor, "B A 3"], change: Float[Tensor, "B A 3"]
) -> Float[Tensor, "B A 3 3"]:
    """Smallest change of the Jacobian that explains the last move; none where the quotient would blow up."""
    direction = matvec(inverse.mT, move)
    scale = (direction * change).sum(-1, keepdim=True)
    sound = scale.abs() > 1e-2 * (move * move).sum(-1, keepdim=True)
    column = torch.where(sound, (move - matvec(inverse, change)) / scale, 0.0)
    return torch.addcmul(inverse, column[..., None], direction[..., None, :])


def _extended(values: Tensor) -> Tensor:
    """A copy with one more column, which takes what padding columns write."""
    return torch.cat([values, values[:, :1]], 1)


def _write(results: list[Tensor], state: _Active) -> None:
    for result, values in zip(results, (state.best_points, state.best_norm, state.inverse), strict=True):
        index = state.index.reshape(*state.index.shape, *[1] * (values.ndim - 2)).expand_as(values)
        result.scatter_(1, index, values)


def _shrink(state: _Active, columns: int, count: int) -> _Active:
    """The points still going, in the fewest columns; `columns` is the largest number of them in a subject."""
    order = state.going.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :columns]
    going = state.going.gather(1, order)
    index = torch.where(going, state.index.gather(1, order), count)
    fields = (state.points, state.value, state.inverse, state.best_points)
    points, value, inverse, best_points = (gather(f, order) for f in fields)
    return _Active(points, value, inverse, best_points, state.best_norm.gather(1, order), going, index)
