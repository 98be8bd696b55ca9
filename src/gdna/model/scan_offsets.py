"""What sets a scan apart from its person's other scans."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class ScanOffsets(nn.Module):
    """Cloth falls anew in every pose, and one shape code for all scans of a person would be a compromise between them:
    each scan adds an offset of its own. Somebody with one scan has none.

    Offsets count from their mean over the person's scans, so that the person's code is what the scans have in common;
    or, `from_rest`, from the scan at rest of those who have one: then the person's code shows clothes as they hang
    before anybody moves, and no pose is in it that has to be undone.
    """

    person: Int[Tensor, " n"]  # whose scan it is
    share: Float[Tensor, " n"]  # of each scan in what its person's offsets count from; where that is not the mean

    def __init__(self, num_scans: int, dim_shape: int, from_rest: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_scans, dim_shape))
        self.register_buffer("person", torch.zeros(num_scans, dtype=torch.long))
        self.from_rest = from_rest
        if from_rest:
            self.register_buffer("share", torch.zeros(num_scans))

    def set_people(self, person: Int[Tensor, " n"], share: Float[Tensor, " n"]) -> None:
        """Whose scans they are, and how much of each is in what they are compared with (`origin_shares`)."""
        self.person.copy_(person)
        if self.from_rest:
            self.share.copy_(share)

    def several(self, scans: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Whether their people have other scans too, and are not shown by this one alone."""
        several = (self.person[scans, None] == self.person).sum(1) > 1
        return several & (self.share[scans] < 1) if self.from_rest else several

    def forward(self, scans: Int[Tensor, " B"], num_people: int) -> Float[Tensor, "B Z"]:
        person = self.person[scans]
        if self.from_rest:
            origin = self.weight.new_zeros(num_people, self.weight.shape[1])
            return self.weight[scans] - origin.index_add(0, self.person, self.share[:, None] * self.weight)[person]
        ones = torch.ones_like(self.weight[:, :1])
        total, count = (x.new_zeros(num_people, x.shape[1]).index_add(0, self.person, x) for x in (self.weight, ones))
        return self.weight[scans] - total[person] / count[person]


def origin_shares(person: Int[Tensor, " n"], at_rest: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
    """How much of each scan is in what its person's scans are compared with: scans at rest where the person has any,
    else all of them, in equal parts. Sums to one over a person's scans."""
    resting = torch.bincount(person, at_rest.float())
    counted = at_rest | (resting[person] == 0)
    return counted / torch.bincount(person, counted.float())[person]
