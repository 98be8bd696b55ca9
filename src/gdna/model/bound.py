"""The fields of one person, their weights normalised and their conditions worked in once, to be asked many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gdna.fields.normal import BoundNormals
from gdna.fields.occupancy import Ask


@dataclass(frozen=True)
class BoundFields:
    """For the parameters as they were when bound; points are (B, N, 3)."""

    to_neutral: Callable[[Tensor], Tensor]  # canonical -> neutral points
    occupancy: Ask
    read: Ask  # the same with what `normals` read in the place of the hidden activation
    skin_weights: Callable[[Tensor], Tensor]  # neutral points -> rows that sum to 1
    normals: Callable[[Tensor, Tensor], Tensor] | None  # neutral points, what is read -> unit; None: not trained
    posable: BoundNormals | None = None  # the same, where normals see the pose; `normals` are the canonical pose's then
