"""Everything that a fine step draws, found once: scans, whom the critic sees, surface points in neutral space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float16, Int
from torch import Tensor

from gdna.data.prepared import PreparedSet
from gdna.data.stacks import CacheStack
from gdna.model.avatar_model import AvatarModel
from gdna.train.cast import Cast
from gdna.train.fine_losses import FineInputs
from gdna.train.loading import open_set, to_device
from gdna.train.settings import TrainSettings
from gdna.train.surface import NeutralSurface, frozen_features, neutral_surface, volumes


@dataclass(frozen=True)
class FineData:
    """`features` are those of the scans, or of the cast, where the scans come first."""

    scans: PreparedSet
    cast: Cast | None  # None: the critic sees the scans' own people
    surface: NeutralSurface | None  # None: no loss looks at points of the scans
    features: Float16[Tensor, "M C D H W"]
    device: torch.device  # where steps run

    @staticmethod
    def open(
        model: AvatarModel,
        folder: Path | str,
        names: tuple[str, ...],
        cache_dir: Path | str | None,
        settings: TrainSettings,
    ) -> FineData:
        """Raises `GdnaError` where scans, correspondences or random people are missing."""
        losses, device = settings.model, model.z_shapes.weight.device
        shared = losses.random_people > 0 and losses.lambda_gan > 0 and cache_dir is not None
        placement = settings.datamodule.placement
        scans = open_set(folder, names, device, placement, "fine", None if shared else cache_dir)
        cast = Cast.open(model, scans, cache_dir) if shared and cache_dir is not None else None
        features = frozen_features(model, scans) if cast is None else volumes(model, cast.z_shape)
        surface = neutral_surface(model, scans) if losses.norm_loss_3d else None
        return FineData(scans, cast, surface, features, device)

    @property
    def roomy(self) -> CacheStack | None:
        """What tells how much room the pixels need; None where it is made as they come."""
        cache = self.scans.cache if self.cast is None else self.cast.cache
        return cache if self.device.type == "cuda" else None

    @property
    def rooms(self) -> tuple[int | None, ...]:
        """Numbers of pixels for which steps are recorded."""
        return (None,) if self.roomy is None else self.roomy.rooms

    def draw(
        self, indices: Int[Tensor, " B"], generator: torch.Generator, settings: TrainSettings
    ) -> tuple[FineInputs, int | None]:
        """Inputs for these scans, each from a random side, on the device; and the room that they need."""
        views = torch.randint(self.scans.num_views, indices.shape, generator=generator)
        batch = self.scans.draw_fine(indices, views, generator, points_per_frame=0)
        count = settings.datamodule.points_per_frame
        points = self.surface.draw(indices, count, generator) if self.surface else None
        rows, cast = indices, None
        if self.cast is not None:
            rows = self.cast.choose(indices, settings.model.random_people, generator)
            cast = self.cast.draw(rows, views)
        room = None if self.roomy is None else self.roomy.room(rows, views)
        return to_device(FineInputs(batch, points, cast), self.device), room
