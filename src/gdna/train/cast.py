"""Whom the fine stage draws for the critic: the scans' own people and, in the same poses, random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.data.cache_file import cache_path, read_cache
from gdna.data.prepared import PreparedSet, turn_to_view
from gdna.data.random_person_file import random_person_path, read_random_person
from gdna.data.stacks import CacheStack, pixels, stack_pixels
from gdna.geometry.devices import sent
from gdna.geometry.records import with_tensors
from gdna.model.avatar_model import AvatarModel
from gdna.model.codes import Mixture


@dataclass(frozen=True)
class CastBatch:
    """B people in the poses of B scans, each seen from one side."""

    rows: Int[Tensor, " B"]  # of the cast
    own: Bool[Tensor, " B"]  # the scan's own person; else a random one
    mixture: Mixture  # B of them; where `own`, `base` is the person
    z_shape: Float[Tensor, "B Z"]
    betas: Float[Tensor, "B S"]
    bone_transforms_view: Float[Tensor, "B J 4 4"]  # turned to the view
    cache_points: Float[Tensor, "B P 3"]  # neutral, row-major pixels; zero outside the mask
    cache_mask: Bool[Tensor, "B P"]

    def detail(self, details: Float[Tensor, "n Zd"]) -> Float[Tensor, "B Zd"]:
        """Detail codes, from those of the training people as they are now."""
        return torch.where(self.own[:, None], details[self.mixture.base], self.mixture.of(details))


@dataclass(frozen=True)
class Cast:
    """n people of n scans, then `per_scan` random people in each scan's pose: M = n (1 + per_scan) in all."""

    per_scan: int
    num_views: int
    mixture: Mixture  # M of them
    z_shape: Float[Tensor, "M Z"]
    betas: Float[Tensor, "M S"]
    bone_transforms: Float[Tensor, "M J 4 4"]
    cache: CacheStack

    @property
    def num_scans(self) -> int:
        return len(self.betas) // (1 + self.per_scan)

    @staticmethod
    @torch.no_grad()
    def open(model: AvatarModel, data: PreparedSet, cache_dir: Path | str) -> Cast:
        """On the device of the set. Raises `GdnaError` where correspondences or random people are missing."""
        device = data.betas.device
        per_scan = 1
        while random_person_path(cache_dir, data.names[0], per_scan).is_file():
            per_scan += 1
        own_paths = [cache_path(cache_dir, name) for name in data.names]
        paths = [random_person_path(cache_dir, name, number) for number in range(per_scan) for name in data.names]
        drawn = [read_random_person(path) for path in paths]
        seen = [read_cache(path) for path in own_paths] + [d.pixels for d in drawn]
        who = torch.cat([data.person.cpu()[:, None].expand(-1, 3), torch.stack([d.mixture for d in drawn])])
        at = model.z_shapes.weight.device
        own = model.codes(data.person.to(at), torch.arange(len(data), device=at)).shape.to(device)

        def joined(first: Tensor, rest: Sequence[Tensor]) -> Tensor:
            return torch.cat([first, torch.stack(list(rest)).to(first)])

        return Cast(
            per_scan,
            data.num_views,
            Mixture(*who.to(device).unbind(1)),
            joined(own, [d.z_shape for d in drawn]),
            joined(data.betas, [d.betas for d in drawn]),
            joined(data.bone_transforms, [d.bone_transforms for d in drawn]),
            stack_pixels(seen, own_paths + paths, data.num_views, device),
        )

    def choose(self, indices: Int[Tensor, " B"], share: float, generator: torch.Generator) -> Int[Tensor, " B"]:
        """Rows for these scans: with the probability `share` a random person in its pose, else its own."""
        strange = torch.rand(len(indices), generator=generator) < share
        number = torch.randint(self.per_scan, (len(indices),), generator=generator)
        return indices + self.num_scans * (1 + number) * strange

    def draw(self, rows: Int[Tensor, " B"], views: Int[Tensor, " B"]) -> CastBatch:
        rows, views = sent(rows, self.betas.device), sent(views, self.betas.device)
        mixture: Mixture = with_tensors(self.mixture, lambda who: who[rows])
        turned = turn_to_view(self.bone_transforms[rows], views, self.num_views)
        points, mask = pixels(self.cache, rows, views)
        return CastBatch(
            rows, rows < self.num_scans, mixture, self.z_shape[rows], self.betas[rows], turned, points, mask
        )
