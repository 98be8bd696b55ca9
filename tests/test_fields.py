from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import interpolate, linear, softplus

from gdna.fields.affine import affine, affine_by_products
from gdna.fields.box import BOX_HIGH, BOX_LOW, to_box
from gdna.fields.generator import ShapeGenerator, adaptive_instance_norm, doubled
from gdna.fields.mlp import ConditionedMlp, MlpSizes, WeightNormLinear, activate, encode, through_activation
from gdna.fields.normal import NormalField
from gdna.fields.occupancy import OccupancyField
from gdna.fields.skinning import SkinningField
from gdna.fields.volume import read_by_loops, read_plainly, read_volume, through_volume, through_volume_by_loops
from gdna.fields.warp import ShapeWarp


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain_mlp(mlp: ConditionedMlp, points, condition, features):
    """The definition: everything expanded per point and concatenated."""
    sizes = mlp.sizes
    encoding = [points]
    for octave in range(sizes.frequencies):
        encoding += [torch.sin(points * 2**octave), torch.cos(points * 2**octave)]
    encoding = torch.cat(encoding, -1)
    parts = [encoding]
    if condition is not None:
        parts.append(condition[:, None].expand(-1, points.shape[1], -1))
    if features is not None:
        parts.append(features)
    x = torch.cat(parts, -1)
    for i, layer in enumerate(mlp.layers):
        hidden = x
        if i == sizes.skip:
            x = torch.cat([x, encoding], -1) / math.sqrt(2)
        weight = layer.weight_g * layer.weight_v / layer.weight_v.norm(dim=1, keepdim=True)
        x = linear(x, weight, layer.bias)
        if i < sizes.depth:
            x = softplus(x, beta=100)
    return x, hidden


@pytest.mark.parametrize(
    "sizes",
    [
        MlpSizes(3, 32, 2, dim_condition=5),
        MlpSizes(1, 64, 4, dim_features=7, frequencies=4, skip=4),
        MlpSizes(3, 48, 8, 5, 7, frequencies=2, skip=4),
    ],
)
def test_mlp_is_the_plain_concatenation(sizes):
    mlp = ConditionedMlp(sizes).double()
    points = torch.randn(2, 11, 3, dtype=torch.float64)
    condition = torch.randn(2, sizes.dim_condition, dtype=torch.float64) if sizes.dim_condition else None
    features = torch.randn(2, 11, sizes.dim_features, dtype=torch.float64) if sizes.dim_features else None
    found, expected = mlp(points, condition, features), plain_mlp(mlp, points, condition, features)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=0, atol=1e-9)  # the cut of the softplus is 2e-11
    parameters = list(mlp.parameters())
    for f, e in zip(
        torch.autograd.grad(found[0].square().sum(), parameters),
        torch.autograd.grad(expected[0].square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(f, e, rtol=1e-6, atol=1e-8)


def test_mlp_under_autocast_stays_near_and_keeps_coordinates():
    mlp = ConditionedMlp(MlpSizes(3, 64, 4, dim_condition=5))
    points, condition = torch.rand(1, 500, 3), torch.randn(1, 5)
    with torch.no_grad():
        exact = mlp(points, condition)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = mlp(points, condition)[0]
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.03 * exact.abs().max()  # bfloat16 keeps 8 bits


def test_activation_is_softplus_with_its_gradient():
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(activate(x), softplus(x, beta=100), rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(f.sum(), x)[0] for f in (activate(x), softplus(x, beta=100))]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-8)


def test_activation_without_gradient_is_the_same_in_place():
    x = torch.cat([torch.linspace(-3, 3, 6001), 0.02 * torch.randn(1999), torch.tensor([0.0, -0.0, 1e30, -1e30])])
    x = x.view(4, -1)
    exact = softplus(x.double(), beta=100.0)
    with torch.no_grad():
        given = x.clone()
        found = activate(given)
    assert found.data_ptr() == given.data_ptr()
    # float32's rounding of values near 3; near 0, of the exponential's 32nd power, over the sharpness (torch: 1.6e-8)
    torch.testing.assert_close(found.double(), exact, atol=1.2e-8, rtol=2e-7)
    strided = torch.randn(4, 6)[:, ::2]
    with torch.no_grad():
        torch.testing.assert_close(activate(strided), softplus(strided, beta=100.0))


def test_an_activation_tells_its_derivative():
    x = torch.cat([torch.linspace(-0.3, 0.3, 6001), torch.tensor([0.0, 30.0, -30.0])])[None]
    exact = 2 * torch.sigmoid(100 * x.double())
    with torch.no_grad():
        activation, gradient = activate(x.clone()), torch.full_like(x, 2.0)
        found = through_activation(activation, gradient)
    assert found.data_ptr() == gradient.data_ptr()
    # an activation near 0 is that of `activate`, exact to 1.2e-8 only, and 100 times steeper here
    torch.testing.assert_close(found.double(), exact, atol=2.4e-6, rtol=1e-6)
    torch.testing.assert_close(through_activation(activation, torch.full_like(x, 2.0)), found, atol=1e-7, rtol=1e-6)


def test_encoding_order_and_size():
    points = torch.tensor([[0.1, 0.2, 0.3]])
    code = encode(points, 4)
    assert code.shape == (1, 27)
    torch.testing.assert_close(code[:, 3:6], points.sin())
    torch.testing.assert_close(code[:, 24:], (8 * points).cos())


def test_weight_norm_sets_what_it_is_given():
    layer = WeightNormLinear(5, 3)
    weight = torch.randn(3, 5)
    layer.set_weight(weight, 0.5)
    torch.testing.assert_close(layer.weight(), weight)
    assert (layer.bias == 0.5).all()


def test_box_and_volume_agree_at_the_corners():
    low, high = torch.tensor(BOX_LOW), torch.tensor(BOX_HIGH)
    corners = torch.stack([low, high, 0.5 * (low + high), high + 0.1])[None]
    expected = torch.tensor([[[-1.0] * 3, [1.0] * 3, [0.0] * 3]])
    torch.testing.assert_close(to_box(corners)[:, :3], expected, atol=1e-6, rtol=0)
    volume = torch.zeros(1, 2, 3, 4, 5)
    volume[0, 0, 0, 0, 0], volume[0, 1, -1, -1, -1] = 1.0, 2.0
    values = read_volume(volume, expected[:, :2] * 0.999999)
    torch.testing.assert_close(values, torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), atol=1e-4, rtol=0)
    assert (read_volume(volume + 1, to_box(corners)[:, 3:] * 2) == 0).all()


def test_volume_axes_are_z_y_x():
    volume = torch.zeros(1, 1, 2, 2, 2)
    volume[0, 0, 0, 0, 1] = 1.0  # x = +1, y = z = -1
    assert read_volume(volume, torch.tensor([[[1.0, -1.0, -1.0]]])).item() == 1.0


def test_volume_loops_are_the_plain_read_and_its_gradient():
    """Corners, points on nodes and outside among them; also where channels do not lie side by side."""
    volume = torch.randn(2, 5, 3, 4, 6).to(memory_format=torch.channels_last_3d)
    ends = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, -0.2, 0.0], [1.1, 0.0, -1.1], [9.0, 9.0, 9.0]])
    points = torch.cat([ends.expand(2, -1, -1), torch.rand(2, 200, 3) * 2.6 - 1.3], 1).requires_grad_()
    expected, of_values = read_plainly(volume, points), torch.randn(2, 205, 5)
    (of_points,) = torch.autograd.grad(expected, points, of_values)
    with torch.no_grad():
        torch.testing.assert_close(read_by_loops(volume, points), expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(through_volume_by_loops(volume, points, of_values), of_points, atol=2e-5, rtol=1e-5)
        for given in (volume, volume.contiguous()):
            torch.testing.assert_close(read_volume(given, points), expected, atol=2e-6, rtol=1e-5)
            torch.testing.assert_close(through_volume(given, points, of_values), of_points, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("frequencies", "skip"), [(4, 4), (3, 2), (0, None)])
def test_the_occupancys_slope_written_out_is_autograds(frequencies, skip, dtype):
    field = OccupancyField(MlpSizes(1, 64, 4, 0, 8, frequencies, skip), logit_scale=10.0).to(dtype)
    features = 0.3 * torch.randn(2, 8, 4, 8, 8, dtype=dtype)
    points = torch.rand(2, 500, 3, dtype=dtype) * 2.2 - 1.1  # some outside the box
    occupancy = field.bind(features.to(memory_format=torch.channels_last_3d).requires_grad_())
    expected, found = occupancy.with_slope(points), occupancy.with_slope_written_out(points)
    assert not any(values.requires_grad for values in found)
    exact = dtype == torch.float64
    for of_autograd, written_out in zip(expected, found, strict=True):
        close = {"atol": 1e-6, "rtol": 1e-6} if exact else {"atol": 2e-4, "rtol": 2e-5}
        torch.testing.assert_close(written_out, of_autograd, **close)


def test_occupancy_starts_larger_inside_and_hidden_has_229_channels():
    field = OccupancyField(MlpSizes(1, 256, 4, 0, 64, frequencies=4, skip=4))
    direction = torch.nn.functional.normalize(torch.randn(1, 200, 3), dim=-1)
    scale = torch.tensor([1.0, 1.0, 0.25])
    centre = torch.tensor([0.0, -0.28, 0.0])
    features = torch.zeros(1, 64, 2, 2, 2)
    inside, hidden = field(direction * 0.2 * scale + centre, features)
    outside, _ = field(direction * 2.0 * scale + centre, features)
    assert hidden.shape[-1] == 229
    assert inside.mean() > outside.mean() + 0.2
    last = field.mlp.linears[-1]
    torch.testing.assert_close(last.weight().mean(), torch.tensor(-math.sqrt(math.pi / 256)), rtol=1e-3, atol=0)


def test_warp_starts_near_the_identity():
    warp = ShapeWarp(MlpSizes(3, 128, 4, 10))
    points = torch.rand(2, 50, 3) * 2 - 1
    assert (warp(points, torch.randn(2, 10)) - points).norm(dim=-1).max() < 0.02  # metres


def test_skin_weights_sum_to_one_and_depend_on_the_code():
    field = SkinningField(MlpSizes(24, 64, 2, 8))
    points = torch.rand(1, 50, 3)
    weights = field(points, torch.zeros(1, 8))
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 50))
    assert not torch.allclose(weights, field(points, torch.ones(1, 8)))


def test_normals_are_unit_and_order_of_inputs_is_encoding_detail_hidden():
    field = NormalField(MlpSizes(3, 64, 8, 5, 7, frequencies=4, skip=4))
    points, hidden, detail = torch.rand(2, 9, 3), torch.rand(2, 9, 7), torch.rand(2, 5)
    normals = field(points, hidden, detail)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, 9))
    expected = torch.nn.functional.normalize(plain_mlp(field.mlp, points, detail, hidden)[0], dim=-1)
    torch.testing.assert_close(normals, expected, atol=1e-5, rtol=0)


def test_generator_shapes_and_adaptive_norm():
    volume = torch.randn(2, 4, 5, 6, 3) * 3 + 1
    style = torch.randn(2, 6)
    out = adaptive_instance_norm(volume, style)
    torch.testing.assert_close(out.mean((1, 2, 3)), style[:, :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((1, 2, 3)), style[:, 3:].abs(), atol=1e-4, rtol=0)
    generator = ShapeGenerator(8)
    codes = torch.randn(2, 8)
    with torch.no_grad():
        features = generator(codes)
        assert features.shape == (2, 64, 16, 64, 64)
        torch.testing.assert_close(features[1:], generator(codes[1:]), atol=1e-4, rtol=1e-4)


def test_doubling_is_trilinear_interpolation():
    volume = torch.randn(2, 2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    channels_first = volume.permute(0, 4, 1, 2, 3)
    expected = interpolate(channels_first, scale_factor=2, mode="trilinear", align_corners=True).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(doubled(volume), expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((f * weights).sum(), volume)[0] for f in (doubled(volume), expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("subjects", [1, 3])
def test_biases_gradients_by_products_are_sums(subjects):
    x, weight, bias = torch.randn(3, 7, 5), torch.randn(4, 5), torch.randn(subjects, 1, 4)
    side = torch.randn(3, 7, 4)
    answers = []
    for layer in (affine, affine_by_products):
        leaves = [t.double().requires_grad_() for t in (x, weight, bias)]
        values = layer(*leaves)
        answers.append((values, *torch.autograd.grad((values * side).sum(), leaves)))
    for plain, products in zip(*answers, strict=True):
        torch.testing.assert_close(products, plain)
