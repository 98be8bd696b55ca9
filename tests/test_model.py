from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from gdna.deform.blend import skin
from gdna.deform.search import GridSettings, SearchSettings
from gdna.errors import GdnaError
from gdna.generate.loading import load
from gdna.geometry.rotations import axis_angle_to_matrix, rigid
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_extra, load_model, save_checkpoint
from gdna.model.codes import from_the_mean, sample_people
from gdna.model.config import MlpConfig, ModelConfig, NormalConfig, OccupancyConfig, from_dict, to_dict
from gdna.model.scan_offsets import origin_shares
from gdna.model.training_state import TrainingState, load_training_state, save_training_state
from gdna.types import Codes

SMALL = replace(
    ModelConfig(),
    num_people=3,
    num_betas=4,
    dim_shape=8,
    dim_detail=6,
    network=OccupancyConfig(width=64),
    norm_network=NormalConfig(width=48),
)
SMALL = replace(SMALL, deformer=replace(SMALL.deformer, disp_network=MlpConfig(32, 2), lbs_network=MlpConfig(32, 2)))
SEARCH = SearchSettings(max_steps=20, backend="reference", grid=GridSettings(shape=(4, 8, 8)))


@pytest.fixture(scope="module")
def model() -> AvatarModel:
    torch.manual_seed(0)
    model = AvatarModel(SMALL)
    torch.nn.init.normal_(model.z_shapes.weight, std=0.1)
    torch.nn.init.normal_(model.z_details.weight, std=0.1)
    return model


@pytest.fixture
def scene(model):
    """Two people, the second with turned bones, and points in and around them."""
    generator = torch.Generator().manual_seed(1)
    angles = 0.2 * torch.randn(2, 24, 3, generator=generator)
    transforms = rigid(axis_angle_to_matrix(angles), 0.02 * torch.randn(2, 24, 3, generator=generator))
    points = torch.rand(2, 60, 3, generator=generator) * 0.6 - torch.tensor([0.3, 0.55, 0.3])
    subject = model.subject(model.codes(torch.tensor([0, 2])), torch.zeros(2, 4))
    return points, transforms, subject


def test_sizes_of_the_full_model():
    with torch.device("meta"):
        model = AvatarModel(ModelConfig())
    assert model.occupancy.mlp.sizes.dim_hidden == 229
    assert [tuple(layer.weight_v.shape) for layer in model.occupancy.mlp.layers] == [
        (256, 91), (256, 256), (256, 256), (229, 256), (1, 256),
    ]  # fmt: skip
    assert [layer.weight_v.shape[1] for layer in model.normal.mlp.layers] == [320, *[256] * 8]
    assert model.normal.mlp.layers[3].weight_v.shape[0] == 229
    assert model.warp.mlp.layers[0].weight_v.shape == (128, 13)  # ten of the betas
    assert model.skinning.mlp.layers[0].weight_v.shape == (128, 67)
    assert 2 * sum(p.numel() for p in model.parameters()) < 12e6  # bytes in float16


def test_codes_start_at_zero():
    assert not AvatarModel(SMALL).codes(torch.tensor([1])).shape.any()


def test_posed_occupancy_is_the_largest_over_roots(model, scene):
    points, transforms, subject = scene
    query = model.occupancy_posed(points, transforms, subject, SEARCH)
    assert query.found.float().mean() > 0.9
    logits, hidden = model.occupancy_neutral(query.points_neutral, subject)
    torch.testing.assert_close(logits[query.found], query.logits[query.found], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hidden[query.found], query.hidden[query.found], atol=1e-4, rtol=1e-4)
    assert (query.logits[~query.found] == -1000).all()
    weights = model.skin_weights(query.points_neutral, subject)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 60))


def test_posed_occupancy_without_motion_is_canonical_occupancy(model, scene):
    points, transforms, subject = scene
    still = torch.eye(4).expand_as(transforms)
    query = model.occupancy_posed(points, still, subject, SEARCH)
    logits, _, points_neutral = model.occupancy_canonical(points, subject)
    torch.testing.assert_close(query.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(query.points_neutral, points_neutral, atol=1e-5, rtol=0)


def test_grid_gives_the_reference_answer(model, scene):
    points, transforms, subject = scene
    reference = model.occupancy_posed(points, transforms, subject, SEARCH)
    search = replace(SEARCH, backend="grid")
    for grid in (None, model.transform_grid(subject, transforms, search)):
        query = model.occupancy_posed(points, transforms, subject, search, grid)
        same = (query.logits - reference.logits).abs() < 1e-3
        assert same.float().mean() > 0.97  # a root or two may differ


def test_gradients_reach_everything_and_stay_finite(model, scene):
    points, transforms, subject = scene
    points, transforms = points.clone().requires_grad_(), transforms.clone().requires_grad_()
    model.zero_grad()
    query = model.occupancy_posed(points, transforms, subject, SEARCH)
    query.logits[query.found].sum().backward()
    for part in (model.generator, model.occupancy, model.warp, model.skinning, model.z_shapes):
        gradients = [p.grad for p in part.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)
    assert points.grad.any()
    assert transforms.grad.any()


def test_gradient_to_points_is_the_slope_of_the_posed_field():
    """Central differences of 1e-5 m in float64; roots solved to 1e-11 m."""
    torch.manual_seed(0)
    model = AvatarModel(SMALL).double()
    search = replace(SEARCH, tolerance=1e-11, max_steps=50, init_bones=(0,))
    subject = model.subject(model.codes(torch.tensor([0])), torch.zeros(1, 4).double())
    angles = 0.1 * torch.randn(1, 24, 3, dtype=torch.float64)
    transforms = rigid(axis_angle_to_matrix(angles), torch.zeros_like(angles))
    points = (torch.rand(1, 30, 3, dtype=torch.float64) * 0.4 - 0.3).requires_grad_()
    query = model.occupancy_posed(points, transforms, subject, search)
    assert query.found.all()
    (slope,) = torch.autograd.grad(query.logits.sum(), points)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-5
        ends = [model.occupancy_posed(points.detach() + s * step, transforms, subject, search).logits for s in (1, -1)]
        torch.testing.assert_close(slope[..., axis], (ends[0] - ends[1]).detach() / 2e-5, rtol=1e-3, atol=1e-5)


def test_nothing_found_is_no_error(model, scene):
    points, transforms, subject = scene
    query = model.occupancy_posed(points, transforms, subject, replace(SEARCH, tolerance=0.0))
    assert not query.found.any()
    assert (query.logits == -1000).all()
    assert (query.points_neutral == 0).all()


def test_posed_normals_turn_with_the_bones(model, scene):
    points, transforms, subject = scene
    _, hidden = model.occupancy_neutral(points, subject)
    still = model.normals_neutral(points, hidden, subject)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.9, 0.0]))
    rigidly = rigid(turn, torch.zeros(3)).expand(2, 24, 4, 4)
    turned = model.normals_posed(points, hidden, rigidly, subject)
    torch.testing.assert_close(turned, still @ turn.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.normals_posed(points, hidden, transforms, subject).norm(dim=-1), torch.ones(2, 60))


def test_the_typical_person_is_whom_the_file_names(tmp_path):
    network = AvatarModel(replace(SMALL, num_betas=40))
    torch.nn.init.normal_(network.z_shapes.weight)
    nearest = int(from_the_mean(network).argmin())
    other = (nearest + 1) % 3
    for extra, expected in (({}, nearest), ({"typical": other}, other)):
        save_checkpoint(tmp_path / "m.safetensors", network, extra)
        shown = load(tmp_path / "m.safetensors", "cpu").typical_person()
        assert torch.equal(shown.z_shape, network.z_shapes.weight[expected])
    for damaged in (3, -1, "2"):
        save_checkpoint(tmp_path / "m.safetensors", network, {"typical": damaged})
        with pytest.raises(GdnaError, match=r"typical person .* the file is damaged"):
            load(tmp_path / "m.safetensors", "cpu")


def on_surface(seed: int = 0) -> AvatarModel:
    """A model whose normals correct those of the surface."""
    torch.manual_seed(seed)
    return AvatarModel(replace(SMALL, stage="fine", norm_network=replace(SMALL.norm_network, base="surface")))


def test_what_normals_correct_is_the_slope_of_the_occupancy():
    """Central differences of 1e-5 m in float64."""
    model = on_surface().double()
    subject = model.subject(model.codes(torch.tensor([0, 1])), torch.zeros(2, 4).double())
    points = torch.rand(2, 30, 3, dtype=torch.float64) * 0.8 - 0.4
    logits, read = model.read_neutral(points, subject)
    plain, hidden = model.occupancy_neutral(points, subject)
    assert not read.requires_grad
    torch.testing.assert_close(logits, plain.detach())
    torch.testing.assert_close(read[..., :-3], hidden.detach())
    ends = [model.occupancy_neutral(points + s * step, subject)[0].detach()
            for step in 1e-5 * torch.eye(3, dtype=torch.float64) for s in (1, -1)]  # fmt: skip
    slope = torch.stack([ends[2 * k] - ends[2 * k + 1] for k in range(3)], -1)
    torch.testing.assert_close(read[..., -3:], -torch.nn.functional.normalize(slope, dim=-1), rtol=0, atol=1e-6)


def test_uncorrected_normals_are_the_surfaces():
    model = on_surface()
    subject = model.subject(model.codes(torch.tensor([0])), torch.zeros(1, 4))
    points = torch.rand(1, 30, 3) * 0.8 - 0.4
    _, read = model.read_neutral(points, subject)
    torch.testing.assert_close(model.normals_neutral(points, read, subject), read[..., -3:])
    fields = model.bind(subject)
    torch.testing.assert_close(fields.normals(points, fields.read(points)[1]), read[..., -3:])
    with pytest.raises(GdnaError, match=r"norm_network\.base: found 'mesh'"):
        ModelConfig(norm_network=NormalConfig(base="mesh"))


def test_weights_at_asks_the_neutral_point(model, scene):
    points, transforms, subject = scene
    expected = model.skin_weights(model.to_neutral(points, subject.betas), subject)
    torch.testing.assert_close(model.weights_at(subject)(points), expected)
    assert skin(points, transforms, model.weights_at(subject)).shape == points.shape


@pytest.mark.parametrize("novelty", [0.3, 1.0])
def test_random_people_have_the_learned_mean_and_covariance(model, novelty):
    betas = torch.randn(len(model.z_shapes.weight), 5, generator=torch.Generator().manual_seed(1))
    drawn = sample_people(model, betas, 20_000, torch.Generator().manual_seed(0), novelty)
    of_training = torch.cat([model.z_shapes.weight.detach(), model.z_details.weight.detach(), betas], 1)
    found = torch.cat([drawn.codes.shape, drawn.codes.detail, drawn.betas], 1)
    size = of_training.std(0)
    torch.testing.assert_close((found.mean(0) - of_training.mean(0)) / size, torch.zeros_like(size), rtol=0, atol=0.05)
    # the spread of so few people depends on whether one is divided by n or by n - 1
    expected = of_training.T.cov(correction=0) * (1 + novelty**2 / (len(betas) - 1))
    torch.testing.assert_close(found.T.cov() / size[:, None] / size, expected / size[:, None] / size, rtol=0, atol=0.06)
    same = sample_people(model, betas, 20_000, torch.Generator().manual_seed(0), novelty)
    assert torch.equal(drawn.codes.shape, same.codes.shape)


def test_random_people_without_novelty_are_training_people(model):
    betas = torch.randn(len(model.z_shapes.weight), 5, generator=torch.Generator().manual_seed(1))
    drawn = sample_people(model, betas, 20, torch.Generator().manual_seed(0), novelty=0.0)
    apart = torch.cdist(drawn.codes.shape, model.z_shapes.weight.detach())
    assert (apart.min(1).values < 1e-5).all()
    who = apart.argmin(1)
    torch.testing.assert_close(drawn.codes.detail, model.z_details.weight.detach()[who])
    torch.testing.assert_close(drawn.betas, betas[who])
    with pytest.raises(GdnaError, match="at least 2"):
        sample_people(AvatarModel(replace(SMALL, num_people=1)), betas[:1], 1, torch.Generator())


def test_the_typical_person_is_nearest_to_the_mean_in_standard_deviations():
    model = AvatarModel(replace(SMALL, num_people=5))
    rows = torch.tensor([[3.0, 0.1], [-3.0, 0.1], [1.0, 0.01], [-1.2, -0.01], [0.2, -0.2]])
    with torch.no_grad():
        model.z_shapes.weight.zero_()
        model.z_shapes.weight[:, :2] = rows
    assert from_the_mean(model).argmin() == 2  # 4 by the plain distance, 3 is farther in the first channel
    assert from_the_mean(AvatarModel(replace(SMALL, num_people=1))).tolist() == [0.0]


def test_config_round_trip_and_unknown_names():
    assert from_dict(json.loads(json.dumps(to_dict(SMALL)))) == SMALL
    assert from_dict({"norm_network": {"multires": 6}}).norm_network == NormalConfig(multires=6)
    with pytest.raises(GdnaError, match=r"model\.deformer\.max_step: unknown"):
        from_dict({"deformer": {"max_step": 3}})
    with pytest.raises(GdnaError, match=r"model\.dim_shape: found 'many'"):
        from_dict({"dim_shape": "many"})
    with pytest.raises(GdnaError, match=r"model\.network: found 3"):
        from_dict({"network": 3})
    with pytest.raises(GdnaError, match=r"model\.stage"):
        from_dict({"stage": "middle"})


@pytest.mark.parametrize("half", [False, True])
def test_checkpoint_rebuilds_the_model(model, tmp_path, half):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model, {"body": "open", "epoch": 3}, half)
    again = load_model(path)
    assert again.config == model.config
    assert load_extra(path) == {"body": "open", "epoch": 3}
    assert torch.equal(again.z_shapes.weight, model.z_shapes.weight)
    points = torch.rand(1, 20, 3) - 0.5
    answers = []
    for m in (model, again):
        subject = m.subject(m.codes(torch.tensor([1])), torch.zeros(1, 4))
        answers.append(m.occupancy_canonical(points, subject)[0])
    torch.testing.assert_close(*answers, rtol=0, atol=0.02 if half else 0.0)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in again.parameters())


def test_checkpoints_that_do_not_fit_say_so(model, tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model, {})
    metadata = {"format": "gdna-1", "config": json.dumps(to_dict(SMALL)), "extra": "{}"}
    good = load_file(path)
    name = "skinning.mlp.layers.0.bias"
    cases = [
        ({k: v for k, v in good.items() if k != name}, rf"{name} 32 is missing"),
        (good | {name: torch.zeros(7)}, rf"{name} is 7, expected 32"),
        (good | {"more": torch.zeros(2, 3)}, "unexpected tensor more 2x3"),
    ]
    for tensors, message in cases:
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(GdnaError, match=message) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    save_file(good, path, metadata={"format": "other"})
    with pytest.raises(GdnaError, match="format 'other', expected 'gdna-1'"):
        load_model(path)


def test_files_that_are_no_checkpoints_say_so(model, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(GdnaError, match="no such file"):
        load_model(path)
    path.write_bytes(b"not at all")
    with pytest.raises(GdnaError, match="not a whole safetensors file"):
        load_model(path)
    save_checkpoint(path, model, {})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(GdnaError, match="not a whole safetensors file"):
        load_model(path)


def test_training_goes_on_as_if_it_had_never_stopped(tmp_path):
    def start():
        torch.manual_seed(0)
        net, critic = torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)
        optimizer = torch.optim.Adam(
            [{"params": net.parameters()}, {"params": critic.parameters(), "lr": 0.1}], lr=0.01
        )
        generator = torch.Generator().manual_seed(5)
        return net, TrainingState({"main": optimizer}, {"critic": critic}, {"data": generator})

    def train(net, state, steps):
        for _ in range(steps):
            batch = torch.randn(4, 3, generator=state.generators["data"])
            state.optimizers["main"].zero_grad()
            state.modules["critic"](net(batch)).square().mean().backward()
            state.optimizers["main"].step()

    net, state = start()
    train(net, state, 3)
    path = tmp_path / "state.safetensors"
    save_training_state(path, state, {"step": 3})
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    train(net, state, 3)
    other, fresh = start()
    other.load_state_dict(weights)
    assert load_training_state(path, fresh) == {"step": 3}
    train(other, fresh, 3)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert isinstance(fresh.optimizers["main"].param_groups[0]["betas"], tuple)
    with pytest.raises(GdnaError, match=r"optimisers \['main'\], expected \['other'\]"):
        load_training_state(path, TrainingState({"other": state.optimizers["main"]}))


def test_subject_of_given_codes(model):
    codes = Codes(torch.zeros(1, 8), torch.zeros(1, 6))
    assert model.subject(codes, torch.zeros(1, 4)).features.shape == (1, 64, 16, 64, 64)


@pytest.mark.gpu
def test_a_gpu_gives_the_answers_of_the_cpu(model, scene):
    points, transforms, subject = scene
    expected = model.occupancy_posed(points, transforms, subject, SEARCH)
    device = torch.device("cuda")
    on_gpu = AvatarModel(SMALL).to(device)
    on_gpu.load_state_dict(model.state_dict())
    there = on_gpu.subject(on_gpu.codes(torch.tensor([0, 2], device=device)), torch.zeros(2, 4, device=device))
    for backend in ("reference", "grid"):
        search = replace(SEARCH, backend=backend)
        query = on_gpu.occupancy_posed(points.to(device), transforms.to(device), there, search)
        same = (query.logits.cpu() - expected.logits).abs() < 1e-2  # TF32 convolutions in the generator
        assert same.float().mean() > 0.95
        query.logits[query.found].sum().backward(retain_graph=True)
        assert all(p.grad is None or p.grad.isfinite().all() for p in on_gpu.parameters())


def test_scans_of_one_person_differ_about_their_mean():
    model = AvatarModel(ModelConfig(num_people=3, num_scans=4))
    assert model.scan_offsets is not None
    model.scan_offsets.person.copy_(torch.tensor([0, 1, 0, 2]))
    torch.nn.init.normal_(model.scan_offsets.weight)
    torch.nn.init.normal_(model.z_shapes.weight)
    people = model.scan_offsets.person
    shown = model.codes(people, torch.arange(4)).shape
    plain = model.codes(people).shape
    torch.testing.assert_close(shown[[1, 3]], plain[[1, 3]])  # one scan each
    torch.testing.assert_close((shown[0] + shown[2]) / 2, plain[0])
    assert (shown[0] - plain[0]).abs().max() > 0.1
    assert AvatarModel(ModelConfig(num_people=3)).codes(people, people).shape.shape == (4, 64)


def test_scans_differ_from_the_one_at_rest():
    """Of person 0 there is one, of person 1 there are two, of person 2 none: then they count from the mean again."""
    model = AvatarModel(ModelConfig(num_people=3, num_scans=7, person_code="rest"))
    assert model.scan_offsets is not None
    people, at_rest = torch.tensor([0, 0, 1, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 1, 0, 0]).bool()
    model.scan_offsets.set_people(people, origin_shares(people, at_rest))
    torch.nn.init.normal_(model.scan_offsets.weight)
    torch.nn.init.normal_(model.z_shapes.weight)
    shown, plain = model.codes(people, torch.arange(7)).shape, model.codes(people).shape
    torch.testing.assert_close(shown[1], plain[1])
    torch.testing.assert_close((shown[2] + shown[4]) / 2, plain[2])
    torch.testing.assert_close((shown[5] + shown[6]) / 2, plain[5])
    assert (shown - plain)[[0, 2, 3, 4, 5, 6]].abs().amax(1).min() > 0.1
    assert model.scan_offsets.several(torch.arange(7)).tolist() == [True, False, True, True, True, True, True]
    with pytest.raises(GdnaError, match="person_code: found 'first', expected 'mean' or 'rest'"):
        ModelConfig(person_code="first")
