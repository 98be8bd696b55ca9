"""Checkpoints of the original: made up in their exact layout, evaluated by its formulas written anew in doubles."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gdna.body.skeleton import PARENTS, bone_transforms
from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_extra, load_model
from gdna.model.original import import_checkpoint, write_imported
from gdna.model.torch_file import open_torch_file

PEOPLE = 5
INIT_BONES = (0, 1, 2, 4, 5, 16, 17, 18, 19)
SAME = 1e-4  # logits, weights, components of unit normals: single against double precision
SIZES = {"network": 256, "deformer.lbs_network": 128, "deformer.disp_network": 128, "norm_network": 256}


def layers(inputs: int, width: int, depth: int, outputs: int, encoding: int, skip: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of the original's linear layers."""
    dims = [inputs] + [width] * depth + [outputs]
    pairs = [(dims[i], dims[i + 1]) for i in range(depth + 1)]
    if skip > 0:
        pairs[skip - 1] = (pairs[skip - 1][0], width - encoding)
    return pairs


def state_dict(stage: str = "fine", multires: int = 4, norm_multires: int = 4, seed: int = 0) -> OrderedDict:
    """Names, shapes and order of the original's modules, with numbers about as large as trained ones."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape, scale=1.0: torch.randn(*shape, generator=g) * scale  # noqa: E731
    state: OrderedDict[str, Tensor] = OrderedDict()

    def network(name: str, sizes: list[tuple[int, int]], gain: float = 1.4) -> None:
        for i, (inputs, outputs) in enumerate(sizes):
            state[f"{name}.lin{i}.bias"] = draw(outputs, scale=0.05)
            direction = draw(outputs, inputs)
            state[f"{name}.lin{i}.weight_g"] = gain * (1 + 0.1 * draw(outputs, 1))
            state[f"{name}.lin{i}.weight_v"] = direction

    encoding, norm_encoding = 3 + 6 * multires, 3 + 6 * norm_multires
    network("network", layers(encoding + 64, 256, 4, 1, encoding, 4))
    network("deformer.lbs_network", layers(3 + 64, 128, 4, 24, 3, -1), gain=1.0)
    network("deformer.disp_network", layers(3 + 10, 128, 4, 3, 3, -1), gain=0.6)
    channels = (256, 128, 64, 64)
    state["generator.shape_code"] = draw(1, 256, 2, 8, 8)
    state["generator.lin_code.weight"], state["generator.lin_code.bias"] = draw(512, 64, scale=0.1), draw(512)
    for i in range(3):
        state[f"generator.enc{i}.weight"] = draw(channels[i + 1], channels[i], 3, 3, 3, scale=0.02)
        state[f"generator.enc{i}.bias"] = draw(channels[i + 1], scale=0.1)
        state[f"generator.lin{i}.weight"] = draw(2 * channels[i + 1], 64, scale=0.1)
        state[f"generator.lin{i}.bias"] = draw(2 * channels[i + 1])
    state["smpl_server.smpl.v_template"] = draw(6890, 3)
    state["smpl_server.smpl.betas"] = torch.zeros(1, 10)
    state["z_shapes.weight"], state["z_details.weight"] = draw(PEOPLE, 64, scale=0.3), draw(PEOPLE, 64, scale=0.3)
    if stage == "fine":
        network("norm_network", layers(norm_encoding + 64 + 256 - encoding, 256, 8, 3, norm_encoding, 4))
        state["gan_loss.discriminator.b4.conv.weight"] = draw(8, 9, 3, 3)
    return state


def write(path: Path, state: OrderedDict, zipped: bool = True, **more: object) -> Path:
    """As PyTorch Lightning 1.3 does: callbacks are keyed by their class, optimisers hold tensors."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__)
    for name in names:
        sys.modules[name] = module if name == module.__name__ else types.ModuleType(name)
    content = {
        "epoch": 299,
        "global_step": 9876,
        "pytorch-lightning_version": "1.3.8",
        "state_dict": state,
        "callbacks": {callback: {"best_model_score": None, "instance": callback()}},
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        **more,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for name in names:
        del sys.modules[name]
    return path


class Original:
    """The original's formulas: dense, plain, in doubles, point by point where that is simplest."""

    def __init__(self, state: OrderedDict, multires: int, norm_multires: int) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.multires, self.norm_multires = multires, norm_multires

    def layer(self, name: str) -> tuple[Tensor, Tensor]:
        v, g = self.state[f"{name}.weight_v"], self.state[f"{name}.weight_g"]
        return v * g / (v**2).sum(1, keepdim=True).sqrt(), self.state[f"{name}.bias"]

    @staticmethod
    def embed(x: Tensor, count: int) -> Tensor:
        parts = [x]
        for k in range(count):
            parts += [torch.sin(2.0**k * x), torch.cos(2.0**k * x)]
        return torch.cat(parts, 1)

    def mlp(self, name: str, x: Tensor, conditions: list[Tensor], skip: int, depth: int) -> tuple[Tensor, Tensor]:
        encoded = x
        x = torch.cat([encoded, *conditions], 1)
        feature = x
        for i in range(depth + 1):
            if i == skip:
                x = torch.cat([x, encoded], 1) / 2**0.5
            weight, bias = self.layer(f"{name}.lin{i}")
            x = x @ weight.T + bias
            if i < depth:
                x = feature = torch.log1p(torch.exp(-(100 * x).abs())) / 100 + x.clamp_min(0)
        return x, feature

    def volume(self, z: Tensor) -> Tensor:
        def style(x: Tensor, name: str) -> Tensor:
            numbers = self.state[f"generator.{name}.weight"] @ z + self.state[f"generator.{name}.bias"]
            flat = x.flatten(1)
            mean, deviation = flat.mean(1), (flat.var(1) + 1e-5).sqrt()
            wanted_mean, wanted_deviation = numbers.chunk(2)
            scaled = (flat - mean[:, None]) / deviation[:, None] * wanted_deviation[:, None] + wanted_mean[:, None]
            return scaled.view_as(x)

        x = F.leaky_relu(style(self.state["generator.shape_code"][0], "lin_code"), 0.01)
        for i in range(3):
            x = F.interpolate(x[None], scale_factor=2, mode="trilinear", align_corners=True)
            x = F.conv3d(x, self.state[f"generator.enc{i}.weight"], self.state[f"generator.enc{i}.bias"], padding=1)[0]
            x = F.leaky_relu(x if i == 2 else style(x, f"lin{i}"), 0.01)
        return x

    def occupancy(self, neutral: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        boxed = (neutral + torch.tensor([0, 0.28, 0]).double()) * torch.tensor([1, 1, 4.0]).double()
        grid = boxed[None, :, None, None]
        feature = F.grid_sample(volume[None], grid, align_corners=True, padding_mode="zeros")[0, :, :, 0, 0].T
        logits, hidden = self.mlp("network", self.embed(boxed, self.multires), [feature], 4, 4)
        return logits[:, 0], hidden

    def warp(self, canonical: Tensor, betas: Tensor) -> Tensor:
        condition = (betas / 10).expand(len(canonical), -1)
        return canonical + self.mlp("deformer.disp_network", canonical, [condition], -1, 4)[0]

    def weights(self, points: Tensor, z: Tensor) -> Tensor:
        logits = self.mlp("deformer.lbs_network", points, [z.expand(len(points), -1)], -1, 4)[0]
        return torch.softmax(20 * logits, 1)

    def normals(self, neutral: Tensor, hidden: Tensor, detail: Tensor) -> Tensor:
        conditions = [detail.expand(len(neutral), -1), hidden]
        return self.mlp("norm_network", self.embed(neutral, self.norm_multires), conditions, 4, 8)[0]

    def blended(self, points: Tensor, z: Tensor, transforms: Tensor) -> Tensor:
        return torch.einsum("pj,jab->pab", self.weights(points, z), transforms)

    def skin(self, canonical: Tensor, z: Tensor, transforms: Tensor) -> Tensor:
        blended = self.blended(canonical, z, transforms)
        return (blended[:, :3, :3] @ canonical[..., None])[..., 0] + blended[:, :3, 3]

    def search(self, posed: Tensor, z: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
        """Broyden's method from every start bone: (N, I, 3) canonical points and whether they converged.

        To 1e-8 m. The original stops anywhere below 1e-5 m, which in logits is a few 1e-4.
        """
        roots, converged = [], []
        for bone in INIT_BONES:
            inverse = transforms[bone].inverse()
            x = posed @ inverse[:3, :3].T + inverse[:3, 3]
            jacobian = self.blended(x, z, transforms)[:, :3, :3].inverse()
            value = self.skin(x, z, transforms) - posed
            going = torch.ones(len(x), dtype=torch.bool)
            best = value.norm(dim=1)
            for _ in range(50):
                step = torch.where(going[:, None], -(jacobian @ value[..., None])[..., 0], 0)
                x = x + step
                new = torch.where(going[:, None], self.skin(x, z, transforms) - posed, value)
                change, value = new - value, new
                best = torch.minimum(best, value.norm(dim=1))
                going = (best > 1e-8) & (value.norm(dim=1) < 1)
                row = (step[:, None] @ jacobian)[:, 0]
                below = (row * change).sum(1)
                below = below + torch.where(below >= 0, 1e-6, -1e-6)
                column = (step - (jacobian @ change[..., None])[..., 0]) / below[:, None]
                jacobian = torch.where(going[:, None, None], jacobian + column[..., None] * row[:, None], jacobian)
            roots.append(x)
            converged.append(best < 1e-8)
        return torch.stack(roots, 1), torch.stack(converged, 1)

    def occupancy_posed(self, posed: Tensor, z: Tensor, betas: Tensor, transforms: Tensor, volume: Tensor) -> Tensor:
        canonical, converged = self.search(posed, z, transforms)
        logits = self.occupancy(self.warp(canonical.flatten(0, 1), betas), volume)[0].view(converged.shape)
        return torch.where(converged, logits, -1000.0).max(1).values


@pytest.fixture(scope="module", params=[("coarse", 4, 4), ("fine", 4, 6)], ids=str)
def case(request, tmp_path_factory) -> tuple[AvatarModel, Original, str]:
    stage, multires, norm_multires = request.param
    state = state_dict(stage, multires, norm_multires)
    folder = tmp_path_factory.mktemp("original")
    imported = import_checkpoint(write(folder / "last.ckpt", state))
    assert (imported.epoch, imported.step) == (299, 9876)
    write_imported(folder / "last.safetensors", imported, [f"{i:04d}" for i in range(PEOPLE)], "smpl")
    assert load_extra(folder / "last.safetensors")["names"] == ["0000", "0001", "0002", "0003", "0004"]
    return load_model(folder / "last.safetensors").eval(), Original(state, multires, norm_multires), stage


def sample(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Neutral points around a body, betas, bone transforms of a bent pose (as the canonical pose is fixed)."""
    g = torch.Generator().manual_seed(3)
    low, high = torch.tensor([-0.8, -1.2, -0.2]), torch.tensor([0.8, 0.6, 0.2])
    points = low + (high - low) * torch.rand(1, count, 3, generator=g)
    joints = torch.randn(1, 24, 3, generator=g) * 0.1
    joints = torch.stack([joints[0, j] + (joints[0, p] if p >= 0 else 0) for j, p in enumerate(PARENTS)])[None]
    pose = 0.2 * torch.randn(1, 24, 3, generator=g)
    return points, torch.randn(1, 10, generator=g), bone_transforms(pose, joints, torch.randn(1, 3, generator=g) * 0.1)


@torch.no_grad()
def test_fields_equal_the_original(case):
    model, original, stage = case
    points, betas, transforms = sample(800)
    codes = model.codes(torch.tensor([3]))
    subject = model.subject(codes, betas)
    z, detail, doubles = codes.shape[0].double(), codes.detail[0].double(), points[0].double()
    volume = original.volume(z)
    torch.testing.assert_close(subject.features[0].double(), volume, rtol=0, atol=SAME)
    logits, hidden = model.occupancy_neutral(points, subject)
    expected_logits, expected_hidden = original.occupancy(doubles, volume)
    assert expected_logits.std() > 0.05  # not a constant
    torch.testing.assert_close(logits[0].double(), expected_logits, rtol=0, atol=SAME)
    torch.testing.assert_close(hidden[0].double(), expected_hidden, rtol=0, atol=SAME)
    torch.testing.assert_close(
        model.to_neutral(points, betas)[0].double(), original.warp(doubles, betas[0].double()), rtol=0, atol=SAME
    )
    torch.testing.assert_close(
        model.skin_weights(points, subject)[0].double(), original.weights(doubles, z), rtol=0, atol=SAME
    )
    if stage == "coarse":
        return
    normals = original.normals(doubles, expected_hidden, detail)
    unit = F.normalize(normals, dim=1)
    torch.testing.assert_close(model.normals_neutral(points, hidden, subject)[0].double(), unit, rtol=0, atol=SAME)
    blended = original.blended(doubles, z, transforms[0].double())[:, :3, :3]
    posed = F.normalize((blended.inverse().mT @ normals[..., None])[..., 0], dim=1)
    tame = torch.linalg.cond(blended) < 20  # blends of opposed bones amplify rounding
    assert tame.float().mean() > 0.9
    found = model.normals_posed(points, hidden, transforms, subject)[0].double()
    torch.testing.assert_close(found[tame], posed[tame], rtol=0, atol=SAME)


@torch.no_grad()
def test_posed_occupancy_equals_the_original(case):
    model, original, _ = case
    points, betas, transforms = sample(120)
    codes = model.codes(torch.tensor([1]))
    subject = model.subject(codes, betas)
    z, doubles = codes.shape[0].double(), transforms[0].double()
    posed = original.skin(points[0].double(), z, doubles)  # so that every point has a correspondence
    expected = original.occupancy_posed(posed, z, betas[0].double(), doubles, original.volume(z))
    settings = replace(model.search_settings("reference"), tolerance=1e-6)  # m, what single precision can reach
    found = model.occupancy_posed(posed[None].float(), transforms, subject, settings)
    assert (expected > -1000).all()
    torch.testing.assert_close(found.logits[0].double(), expected, rtol=0, atol=SAME)


@torch.no_grad()
def test_search_at_the_neutral_point_would_differ(case):
    """The option matters: asking the skinning field after the warp is not what the original does."""
    model, original, _ = case
    points, betas, _ = sample(200)
    codes = model.codes(torch.tensor([1]))
    subject = model.subject(codes, betas)
    at_canonical = model.weights_at(subject)(points)[0].double()
    expected = original.weights(points[0].double(), codes.shape[0].double())
    torch.testing.assert_close(at_canonical, expected, rtol=0, atol=SAME)
    after_the_warp = model.skin_weights(model.to_neutral(points, betas), subject)[0].double()
    assert (after_the_warp - expected).abs().max() > 100 * SAME


def test_sizes_are_read_from_the_tensors(tmp_path):
    config = import_checkpoint(write(tmp_path / "last.ckpt", state_dict("fine", 4, 6))).model.config
    assert (config.num_people, config.num_betas, config.num_bones, config.stage) == (PEOPLE, 10, 24, "fine")
    assert (config.network.multires, config.norm_network.multires) == (4, 6)
    assert (config.deformer.max_steps, config.deformer.weights_at, config.network.logit_scale) == (10, "canonical", 1)


def test_the_older_stream_of_pickles_is_read_too(tmp_path):
    state = state_dict("coarse")
    zipped = import_checkpoint(write(tmp_path / "new.ckpt", state)).model.state_dict()
    stream = import_checkpoint(write(tmp_path / "old.ckpt", state, zipped=False)).model.state_dict()
    assert all(torch.equal(zipped[name], stream[name]) for name in zipped)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("network.lin2.weight_g"), "network.lin2.weight_g 256x1 is missing"),
        (lambda s: s.update({"network.lin9.bias": torch.zeros(3)}), "network.lin"),
        (lambda s: s.update({"extra.weight": torch.zeros(3)}), "unexpected extra.weight of shape 3"),
        (
            lambda s: s.update({"generator.enc1.weight": torch.zeros(64, 64, 3, 3, 3)}),
            "generator.enc1.weight is 64x64x3x3x3, expected 64x128x3x3x3",
        ),
        (lambda s: s.update({"network.lin0.weight_v": torch.zeros(256, 92)}), "expected 3 \\+ 6 n"),
        (lambda s: s.pop("z_shapes.weight"), "no state_dict with z_shapes.weight"),
        (lambda s: s["z_details.weight"].fill_(torch.nan), "z_details.weight holds numbers that are not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_first_key(tmp_path, change, message):
    state = state_dict("fine")
    change(state)
    with pytest.raises(GdnaError, match=message):
        import_checkpoint(write(tmp_path / "last.ckpt", state))


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_the_file_is_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "last.ckpt", state_dict("coarse"), zipped, hyper_parameters=Bomb())
    file = open_torch_file(path)
    assert file.content["epoch"] == 299
    import_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", pickle.dumps({"a": 1}), b"not a pickle"])
def test_broken_files_are_one_line(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(GdnaError, match="not a readable checkpoint of PyTorch"):
        import_checkpoint(path)


def test_cut_short(tmp_path):
    path = write(tmp_path / "last.ckpt", state_dict("coarse"), zipped=False)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(GdnaError, match=r"last\.ckpt"):
        import_checkpoint(path)
