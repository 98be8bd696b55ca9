from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gdna.errors import GdnaError
from gdna.objectives import r1_penalty
from gdna.train.convolution import convolution
from gdna.train.critic import Critic, DownBlock, batch_deviation, blur, blur_by_products


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """The images are too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _critic(image_size: int = 16, channels: int = 4, max_channels: int = 8) -> Critic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Critic(image_size, channels, max_channels).double()


@pytest.mark.parametrize(("padding", "stride"), [(2, 1), (1, 2), (1, 1)])
def test_blur_is_the_binomial_filter(padding: int, stride: int):
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    row = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
    kernel = (row[:, None] * row / 64).expand(3, 1, 4, 4)
    expected = F.conv2d(F.pad(images, [padding] * 4), kernel, groups=3, stride=stride)
    torch.testing.assert_close(blur(images, padding, stride), expected)
    images.requires_grad_()
    both = [f(images, padding, stride) for f in (blur, blur_by_products)]
    torch.testing.assert_close(both[1], expected)
    slopes = [torch.autograd.grad((y**3).sum(), images)[0] for y in both]
    torch.testing.assert_close(*slopes)


def test_residual_blocks_double_the_channels_down_to_four_pixels():
    critic = Critic(256)
    assert [tuple(b.conv2.weight.shape[:2]) for b in critic.blocks] == [
        (128, 64), (256, 128), (512, 256), (512, 512), (512, 512), (512, 512),
    ]  # fmt: skip
    assert all(isinstance(b, DownBlock) for b in critic.blocks)
    assert critic.hidden.weight.shape == (512, 512 * 4 * 4)
    # counted by hand: 3x3 and 1x1 kernels, biases but on skips, and the two layers of the head
    assert sum(p.numel() for p in critic.parameters()) == 24_002_625


def test_logits_and_activations_keep_unit_size_at_the_start():
    images = torch.randn(64, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    critic = _critic(channels=32, max_channels=64)
    assert critic(images).shape == (64,)
    for module in [critic.first, critic.blocks[0]]:
        images = module(images)
        assert 0.3 < images.std() < 2


def test_batch_deviation_of_groups():
    gradient = torch.arange(4.0).double()[:, None, None, None]
    features = torch.cat([gradient * 0, gradient], 1).repeat_interleave(2, 0).expand(-1, -1, 4, 4)  # 8 images
    deviation = batch_deviation(features)
    # images b and b + 2, b + 4, b + 6 share a group: 0, 1, 2, 3 in the second channel, nothing in the first
    torch.testing.assert_close(deviation[:, 0, 0, 0], torch.full((8,), 1.25**0.5 / 2).double(), atol=1e-4, rtol=0)
    assert deviation.shape == (8, 1, 4, 4)
    assert batch_deviation(features[:6, :, :2, :2]).shape == (6, 1, 2, 2)  # groups of three
    assert float(batch_deviation(features[:1]).max()) == pytest.approx(1e-4)


def test_critic_sees_the_batch_only_through_the_deviation():
    critic = _critic()
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    order = torch.tensor([2, 3, 4, 5, 6, 7, 0, 1])  # keeps the groups
    torch.testing.assert_close(critic(images[order]), critic(images)[order])


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (1, 1, 0)])
def test_convolution_and_all_its_derivatives(size: int, stride: int, padding: int):
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(2, 3, 7, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(4, 3, size, size, dtype=torch.float64, generator=generator, requires_grad=True)
    answers = []
    for function in (convolution, lambda x, w, s, p: F.conv2d(x, w, stride=s, padding=p)):
        y = function(images, weight, stride, padding)
        once = torch.autograd.grad((y**3).sum(), (images, weight), create_graph=True)
        twice = torch.autograd.grad(sum((g**3).sum() for g in once), (images, weight), create_graph=True)
        thrice = torch.autograd.grad(sum((g**2).sum() for g in twice), (images, weight))
        answers.append((y, *once, *twice, *thrice))
    for ours, plain in zip(*answers, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def test_two_batches_in_one_pass_are_as_two_passes():
    critic = _critic()
    images = torch.randn(12, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    apart = torch.cat([critic(batch) for batch in images.chunk(2)])
    torch.testing.assert_close(critic(images, sets=2), apart)
    assert (critic(images) - apart).abs().max() > 1e-6  # groups of one batch of twelve are others


def test_gains_are_those_of_the_plain_formula():
    """Every leaky ReLU keeps the variance by a factor of sqrt 2, and a residual sum is divided by it."""
    block = _critic(channels=4, max_channels=8).blocks[0]
    images = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    for layer in (block.conv1, block.conv2):
        layer.bias.data.normal_(generator=torch.Generator().manual_seed(8))

    def plain(layer, x, stride=1, padding=0):
        weight = layer.weight / layer.weight[0].numel() ** 0.5
        return F.conv2d(x, weight, layer.bias, stride=stride, padding=padding)

    x = 2**0.5 * F.leaky_relu(plain(block.conv1, images, padding=1), 0.2)
    x = 2**0.5 * F.leaky_relu(plain(block.conv2, blur(x, 2), stride=2), 0.2)
    torch.testing.assert_close(block(images), (x + plain(block.skip, blur(images, 1, 2))) / 2**0.5)


def test_r1_penalty_is_the_squared_gradient():
    critic = _critic(image_size=8)
    images = torch.randn(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def penalty() -> torch.Tensor:
        leaf = images.clone().requires_grad_()
        return r1_penalty(critic(leaf), leaf)

    step, squared = 1e-6, 0.0
    with torch.no_grad():
        for index in range(images.numel()):
            direction = torch.zeros_like(images).flatten()
            direction[index] = step
            direction = direction.view_as(images)
            squared += float((critic(images + direction).sum() - critic(images - direction).sum()) / (2 * step)) ** 2
    assert penalty().item() == pytest.approx(squared, rel=1e-6)


def test_r1_gradient_against_finite_differences():
    critic = _critic(image_size=8)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def penalty() -> torch.Tensor:
        leaf = images.clone().requires_grad_()
        return r1_penalty(critic(leaf), leaf)

    for weight in (
        critic.first.weight,
        critic.blocks[0].conv2.weight,
        critic.blocks[0].skip.weight,
        critic.hidden.weight,
    ):
        (gradient,) = torch.autograd.grad(penalty(), weight)
        direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        step = 1e-6
        with torch.no_grad():
            weight += step * direction
        above = penalty().item()
        with torch.no_grad():
            weight -= 2 * step * direction
        below = penalty().item()
        with torch.no_grad():
            weight += step * direction
        assert float((gradient * direction).sum()) == pytest.approx((above - below) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("size", [4, 48, 100])
def test_sizes_that_are_no_power_of_two_are_refused(size: int):
    with pytest.raises(GdnaError, match=f"found {size}"):
        Critic(size)
