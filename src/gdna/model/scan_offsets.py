"""What sets a scan apart from its person's other scans."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class ScanOffsets(nn.Module):
    """Cloth falls anew in every pose, and one shape code for all scans of a person would be a compromise between them:
    each scan adds an offset of its own. Offsets count from their mean over the person's scans, so that the person's
    code is what the scans have in common, and somebody with one scan has none."""

    person: Int[Tensor, " n"]  # whose scan it is

    def __init__(self, num_scans: int, dim_shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_scans, dim_shape))
        self.register_buffer("person", torch.zeros(num_scans, dtype=torch.long))

    def several(self, scans: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Whether their people have other scans too."""
        return (self.person[scans, None] == self.person).sum(1) > 1

    def forward(self, scans: Int[Tensor, " B"], num_people: int) -> Float[Tensor, "B Z"]:
        ones = torch.ones_like(self.weight[:, :1])
        total, count = (x.new_zeros(num_people, x.shape[1]).index_add(0, self.person, x) for x in (self.weight, ones))
        person = self.person[scans]
        return self.weight[scans] - total[person] / count[person]
