"""Keep only the entries that matter, so that networks see nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """The kept ones of N entries per subject, moved to the front of M columns."""

    values: Shaped[Tensor, "B M *v"]
    mask: Bool[Tensor, "B M"]  # false in padding columns, whose values repeat entry 0
    index: Int[Tensor, "B M"]  # column -> entry
    position: Int[Tensor, "B N"]  # entry -> column, 0 where not kept
    kept: Bool[Tensor, "B N"]  # the mask, but for entries that found no column
    overflow: Int[Tensor, ""]  # entries that found no column


def gather(values: Shaped[Tensor, "B N *v"], index: Int[Tensor, "B M"]) -> Shaped[Tensor, "B M *v"]:
    """Rows of `values` by subject."""
    shaped = index.reshape(*index.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:])
    return values.gather(1, shaped)


def pack(values: Shaped[Tensor, "B N *v"], mask: Bool[Tensor, "B N"], capacity: int | None = None) -> Packed:
    """Kept entries in their order, in `capacity` columns; later entries that find no room are counted and dropped.

    Without a capacity the columns are the largest count of the batch, at least 1, so that no network meets an empty
    batch; finding it waits for the device once. With one, nothing waits.
    """
    batch, count = mask.shape
    place = mask.cumsum(1, dtype=torch.int32)  # in half the time of 64 bit
    total = place[:, -1]
    columns = max(1, int(total.max())) if capacity is None else capacity
    kept = mask & (place <= columns)
    place = torch.where(kept, place - 1, columns).long()  # column `columns` takes what is dropped
    entries = torch.arange(count, device=mask.device).expand(batch, -1)
    index = torch.zeros(batch, columns + 1, dtype=torch.long, device=mask.device).scatter(1, place, entries)[:, :-1]
    filled = torch.arange(columns, device=mask.device) < total[:, None]
    overflow = (total - columns).clamp_min(0).sum()
    return Packed(gather(values, index), filled, index, torch.where(kept, place, 0), kept, overflow)


def unpack(
    values: Shaped[Tensor, "B M *v"], packed: Packed, fill: Shaped[Tensor, "B N *v"]
) -> Shaped[Tensor, "B N *v"]:
    """`fill` with the kept entries replaced by `values`; gradients pass to both."""
    count = fill.shape[1]
    index = torch.where(packed.mask, packed.index, count)
    index = index.reshape(*index.shape, *[1] * (values.ndim - 2)).expand_as(values)
    padded = torch.cat([fill, torch.zeros_like(fill[:, :1])], 1)
    return padded.scatter(1, index, values)[:, :count]
