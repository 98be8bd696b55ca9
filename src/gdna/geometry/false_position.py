"""Roots of many functions of one variable at once, each between two points where its sign differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Bracket:
    """Where the value is not positive ("outside") and where it is ("inside"), and those values."""

    outside: Float[Tensor, " N"]
    inside: Float[Tensor, " N"]
    value_outside: Float[Tensor, " N"]
    value_inside: Float[Tensor, " N"]

    def crossing(self) -> Float[Tensor, " N"]:
        """Where the straight line between the ends is zero."""
        share = self.value_outside / (self.value_outside - self.value_inside)
        return self.outside + (self.inside - self.outside) * share


def false_position(
    value_at: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]], bracket: Bracket, steps: int
) -> Float[Tensor, " N"]:
    """The crossing after `steps` times replacing one end by it.

    The value of an end that stays twice is halved (the Illinois rule), or steep functions would pin the crossing to
    the other end.
    """
    moved = torch.zeros_like(bracket.outside)  # -1: the outer end moved last, +1: the inner
    for _ in range(steps):
        at = bracket.crossing()
        value = value_at(at)
        enters = value > 0
        kept_outside = torch.where(moved > 0, bracket.value_outside / 2, bracket.value_outside)
        kept_inside = torch.where(moved < 0, bracket.value_inside / 2, bracket.value_inside)
        bracket = Bracket(
            torch.where(enters, bracket.outside, at),
            torch.where(enters, at, bracket.inside),
            torch.where(enters, kept_outside, value),
            torch.where(enters, value, kept_inside),
        )
        moved = enters.to(moved) * 2 - 1
    return bracket.crossing()
