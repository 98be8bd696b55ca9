"""Images to features, by any network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gdna.errors import GdnaError
from gdna.evaluate.efficientnet import efficientnet_lite0
from gdna.evaluate.inception import inception_v3

BATCH = {"cpu": 16, "cuda": 128}  # images at a time


@dataclass(frozen=True)
class FeatureNetwork:
    """What turns images into features. `network` takes float images (B, 3, H, W) of values 0 to 255 and answers
    (B, D); `name` stands beside every number that comes of it. Only Inception's Frechet distance is called FID."""

    name: str
    network: nn.Module = field(repr=False)

    @property
    def frechet_name(self) -> str:
        return "FID (Inception v3)" if self.name == INCEPTION else f"Frechet distance ({self.name})"

    @property
    def kernel_name(self) -> str:
        return "KID (Inception v3)" if self.name == INCEPTION else f"kernel distance ({self.name})"


INCEPTION = "Inception v3"


def feature_network(inception: Path | str | None = None, device: torch.device | str = "cpu") -> FeatureNetwork:
    """EfficientNet-Lite0 with ImageNet weights; Inception v3 where a file of its weights is given."""
    if inception is not None:
        return FeatureNetwork(INCEPTION, inception_v3(inception).to(device))
    network = efficientnet_lite0().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half as fast again on a CPU
    return FeatureNetwork("EfficientNet-Lite0", network)


@torch.no_grad()
def extract_features(images: Iterable[UInt8[np.ndarray, "H W 3"]], network: FeatureNetwork) -> Float[Tensor, "N D"]:
    """Features of images, in double precision on the CPU. Raises `GdnaError` where there is no image, or the network
    answers something else than one row a picture."""
    device = next((p.device for p in network.network.parameters()), torch.device("cpu"))
    parts: list[Tensor] = []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        if waiting:
            batch = torch.from_numpy(np.stack(waiting)).to(device).permute(0, 3, 1, 2).float()
            features = network.network(batch)
            if features.ndim != 2 or len(features) != len(waiting):
                raise GdnaError(
                    f"feature network {network.name}: found {tuple(features.shape)} for {len(waiting)} images, "
                    "expected (images, features)"
                )
            parts.append(features.double().cpu())
            waiting.clear()

    for image in images:
        waiting.append(image)
        if len(waiting) == BATCH.get(device.type, BATCH["cpu"]):
            flush()
    flush()
    if not parts:
        raise GdnaError("features: no image given")
    return torch.cat(parts)
