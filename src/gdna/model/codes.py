"""New people: draws from the diagonal Gaussian of the learned codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.types import Codes


@dataclass(frozen=True)
class CodeStatistics:
    """Mean and unbiased standard deviation of each channel over the training people."""

    shape_mean: Float[Tensor, " Z"]
    shape_std: Float[Tensor, " Z"]
    detail_mean: Float[Tensor, " Zd"]
    detail_std: Float[Tensor, " Zd"]

    @staticmethod
    def of(model: AvatarModel) -> CodeStatistics:
        shapes, details = model.z_shapes.weight.detach(), model.z_details.weight.detach()
        if len(shapes) < 2:
            raise GdnaError(
                f"the model was trained on {len(shapes)} person; random people need at least 2, train on more"
            )
        return CodeStatistics(shapes.mean(0), shapes.std(0), details.mean(0), details.std(0))


def sample_codes(model: AvatarModel, count: int, generator: torch.Generator, std_scale: float = 1.0) -> Codes:
    """`count` random people; `std_scale` 0 gives the mean person. Drawn on the generator's device."""
    statistics = CodeStatistics.of(model)

    def draw(mean: Tensor, std: Tensor) -> Tensor:
        noise = torch.randn(count, len(mean), generator=generator, device=generator.device)
        return mean + std * std_scale * noise.to(mean)

    return Codes(draw(statistics.shape_mean, statistics.shape_std), draw(statistics.detail_mean, statistics.detail_std))
