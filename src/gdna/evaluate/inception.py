"""Inception v3 (Szegedy et al., CVPR 2016) as the Frechet inception distance (Heusel et al., NeurIPS 2017) uses it: the
TensorFlow graph of 2015-12-05, whose average pools leave padding out of the mean and whose last block pools by maximum.

Parameters are named as in the weights that pytorch-fid and torch-fidelity share, so that these load strictly.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from gdna.errors import GdnaError
from gdna.evaluate.weights import read_torch_weights

SIZE = 299  # pixels
FEATURES, CLASSES = 2048, 1008
EPSILON = 1e-3  # of the batch normalisations
Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; padded to the same size unless `shrinks`."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, shrinks: bool = False) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if shrinks else (height // 2, width // 2)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return F.relu(self.bn(self.conv(image)))


def _mean_pool(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    return F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)


class _Branches(nn.Module):
    """Named convolutions, and those of a branch one after the other: `_1`, `_2` and so on."""

    def run(self, image: Tensor, *names: str) -> Tensor:
        for name in names:
            image = getattr(self, name)(image)
        return image


class Fine(_Branches):
    """Mixed_5b to 5d, at 35 x 35."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(inputs, 48, 1), Conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        five = self.run(x, "branch5x5_1", "branch5x5_2")
        three = self.run(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean_pool(x))], 1)


class FineToMiddle(_Branches):
    """Mixed_6a: 35 x 35 to 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2, shrinks=True)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2, shrinks=True)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        three = self.run(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, 2)], 1)


class Middle(_Branches):
    """Mixed_6b to 6e, at 17 x 17: filters of 7 x 7, each as a row and a column."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = Conv(inputs, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Conv(inputs, width, 1), Conv(width, width, row)
        self.branch7x7_3 = Conv(width, 192, column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(inputs, width, 1), Conv(width, width, column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(width, width, row), Conv(width, width, column)
        self.branch7x7dbl_5 = Conv(width, 192, row)
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        once = self.run(x, "branch7x7_1", "branch7x7_2", "branch7x7_3")
        twice = self.run(x, *(f"branch7x7dbl_{n}" for n in range(1, 6)))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_mean_pool(x))], 1)


class MiddleToCoarse(_Branches):
    """Mixed_7a: 17 x 17 to 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(inputs, 192, 1), Conv(192, 320, 3, 2, shrinks=True)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(inputs, 192, 1), Conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1)), Conv(192, 192, 3, 2, shrinks=True)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        three = self.run(x, "branch3x3_1", "branch3x3_2")
        seven = self.run(x, *(f"branch7x7x3_{n}" for n in range(1, 5)))
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


class Coarse(_Branches):
    """Mixed_7b and 7c, at 8 x 8; the latter `pools_maximum`."""

    def __init__(self, inputs: int, pools_maximum: bool) -> None:
        super().__init__()
        self.pools_maximum = pools_maximum
        row, column = (1, 3), (3, 1)
        self.branch1x1, self.branch3x3_1 = Conv(inputs, 320, 1), Conv(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, row), Conv(384, 384, column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 448, 1), Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, row), Conv(384, 384, column)
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        once = self.branch3x3_1(x)
        twice = self.run(x, "branch3x3dbl_1", "branch3x3dbl_2")
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.pools_maximum else _mean_pool(x)
        parts = [
            self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once), self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice), self.branch_pool(pooled),
        ]  # fmt: skip
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """Images of bytes -> 2048 features ("pool3"). They are resized to 299 x 299 as TensorFlow 1 does and enter as
    (value - 128) / 128."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2, shrinks=True), Conv(32, 32, 3, shrinks=True)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = Conv(32, 64, 3), Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, shrinks=True)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = Fine(192, 32), Fine(256, 64), Fine(288, 64)
        self.Mixed_6a = FineToMiddle(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (Middle(768, n) for n in (128, 160, 160, 192))
        self.Mixed_7a = MiddleToCoarse(768)
        self.Mixed_7b, self.Mixed_7c = Coarse(1280, pools_maximum=False), Coarse(2048, pools_maximum=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2048"]:
        """`images` hold numbers from 0 to 255."""
        x = (resize_as_tensorflow(images, SIZE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def resize_as_tensorflow(images: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C N N"]:
    """TensorFlow 1's bilinear resizing: pixel n of the result is taken at n * old / new, without the half pixel that
    everybody else adds. Both axes are matrix products."""
    rows, columns = (_bilinear(n, size).to(images) for n in images.shape[2:])
    return rows @ images @ columns.T


def _bilinear(old: int, new: int) -> Float[Tensor, "new old"]:
    at = torch.arange(new, dtype=torch.float64) * old / new
    low = at.floor().long()
    high = (low + 1).clamp_max(old - 1)
    weights = torch.zeros(new, old, dtype=torch.float64)
    weights.scatter_add_(1, low[:, None], 1 - (at - low)[:, None])
    return weights.scatter_add_(1, high[:, None], (at - low)[:, None])


def inception_v3(path: Path | str) -> InceptionV3:
    """With weights from a safetensors file, or from torch's older format (which runs nothing).

    Raises `GdnaError` where the file is missing or holds another network.
    """
    network = InceptionV3()
    if not Path(path).is_file():
        raise GdnaError(f"{path}: no such file; expected Inception's weights, .safetensors or .pth")
    try:
        network.load_state_dict(load_file(path) if Path(path).suffix == ".safetensors" else read_torch_weights(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise GdnaError(
            f"{path}: not Inception v3 as pytorch-fid and torch-fidelity name its tensors; expected their file "
            "pt_inception-2015-12-05 or the same as .safetensors"
        ) from error
    return network.requires_grad_(False).eval()
