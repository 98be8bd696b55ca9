"""Where pixels lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Orthographic:
    """Parallel rays along -z over a square `2 half_width` metres wide; x right, y up. The person faces +z, so it is
    seen from the front.

    Pixel (row, column) is centred at column + 1/2, row + 1/2 pixels from the upper left corner.
    """

    half_width: float = 1.0
    centre: tuple[float, float, float] = (0.0, -0.3, 0.0)
    image_size: int = 256

    def supersampled(self, factor: int) -> Orthographic:
        return replace(self, image_size=self.image_size * factor)

    def to_pixels(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """(column, row, depth): whole numbers at pixel centres; depth is z in metres, larger is nearer."""
        scale = self.image_size / (2 * self.half_width)
        middle = (self.image_size - 1) / 2
        column = (points[..., 0] - self.centre[0]) * scale + middle
        row = (self.centre[1] - points[..., 1]) * scale + middle
        return torch.stack([column, row, points[..., 2]], -1)

    def pixel_positions(self, device: torch.device | str = "cpu") -> Float[Tensor, "H W 2"]:
        """World x and y (metres) of the pixel centres."""
        steps = (torch.arange(self.image_size, device=device) + 0.5) * (2 * self.half_width / self.image_size)
        x = self.centre[0] - self.half_width + steps
        y = self.centre[1] + self.half_width - steps
        return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)
