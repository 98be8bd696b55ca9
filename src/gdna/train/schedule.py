"""What happens at which step. Everything random is a function of seed and step: a resumed run needs no random state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gdna.train.settings import Decay, OptimSettings, TrainSettings


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator seeded by all the given numbers, such as (seed, rank, step): other keys, independent numbers."""
    (state,) = np.random.SeedSequence([len(key), *key]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@dataclass(frozen=True)
class Schedule:
    """Epochs over `scans * passes` items in one permutation an epoch; each of `world_size` processes takes a share.

    Steps are counted from 0 over all epochs; an epoch's last batch is dropped where it does not fill up.
    """

    scans: int
    passes: int
    batch_size: int
    epochs: int
    seed: int
    world_size: int = 1

    @staticmethod
    def of(scans: int, settings: TrainSettings, world_size: int = 1) -> Schedule:
        return Schedule(
            scans,
            settings.datamodule.passes_per_epoch,
            settings.datamodule.batch_size,
            settings.trainer.max_epochs,
            settings.seed,
            world_size,
        )

    @property
    def share(self) -> int:
        """Items of an epoch per process."""
        return self.scans * self.passes // self.world_size

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.share // self.batch_size)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        return (step + 1) % self.steps_per_epoch == 0

    def scan_indices(self, step: int, rank: int = 0) -> Int[Tensor, " B"]:
        """The scans of a step's batch (fewer than `batch_size` only where a process's whole share is smaller)."""
        items = torch.randperm(self.scans * self.passes, generator=generator_for(self.seed, 0, self.epoch(step)))
        start = rank * self.share + step % self.steps_per_epoch * self.batch_size
        return items[start : min(start + self.batch_size, (rank + 1) * self.share)] % self.scans

    def generator(self, step: int, rank: int = 0) -> torch.Generator:
        """For everything else that a step draws."""
        return generator_for(self.seed, 1, rank, step)


def learning_rate_factor(optim: OptimSettings, step: int, steps: int) -> float:
    """1, or with `decay=cosine` a half cosine from 1 at `decay_from * steps` to 0 at the end."""
    if optim.decay is Decay.none:
        return 1.0
    start = optim.decay_from * steps
    done = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
    return 0.5 * (1 + math.cos(math.pi * done))
