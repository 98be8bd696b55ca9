"""Checkpoints of the original code (PyTorch Lightning 1.3), as models of this one.

The same networks under other names, so tensors pass unchanged. What is evaluated differently is said by the
configuration: logits are not scaled, and the search asks the skinning field at the canonical point. Read from
github.com/xuchen-ethz/gdna for facts: its `state_dict` holds `network` (occupancy), `deformer.lbs_network`,
`deformer.disp_network` (warp), `generator`, `norm_network` (fine stage only) and both code tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import save_checkpoint
from gdna.model.config import DeformerConfig, MlpConfig, ModelConfig, NormalConfig, OccupancyConfig
from gdna.model.torch_file import StoredTensor, TorchFile, open_torch_file

NAMES = {  # ours -> the original's
    "occupancy.mlp.layers.": "network.lin",
    "skinning.mlp.layers.": "deformer.lbs_network.lin",
    "warp.mlp.layers.": "deformer.disp_network.lin",
    "normal.mlp.layers.": "norm_network.lin",
    "generator.constant": "generator.shape_code",
    "generator.convolutions.": "generator.enc",
    "generator.styles.0.": "generator.lin_code.",
    "generator.styles.1.": "generator.lin0.",
    "generator.styles.2.": "generator.lin1.",
}
# body buffers, the critic, and a layer of the generator that nothing reads
IGNORED = ("smpl_server.", "gan_loss.", "render.", "generator.lin2.")
FEATURES = 64  # of the generator
MAX_STEPS = {"coarse": 50, "fine": 10}


@dataclass(frozen=True)
class Imported:
    """A model of the original and how far it was trained."""

    model: AvatarModel
    epoch: int
    step: int


def import_checkpoint(path: Path | str, seed: int = 0) -> Imported:
    """Read a checkpoint of the original. A coarse one gets a fresh normal field from `seed`, as it has none.

    Raises `GdnaError` where the file cannot be read, holds no such model, or at the first key that differs.
    """
    path = Path(path)
    file = open_torch_file(path)
    content = file.content if isinstance(file.content, Mapping) else {}
    stored = content.get("state_dict", content)
    if not isinstance(stored, Mapping) or "z_shapes.weight" not in stored:
        raise GdnaError(f"{path}: no state_dict with z_shapes.weight inside; expected a checkpoint of the original")
    kept = {k: v for k, v in stored.items() if isinstance(v, StoredTensor) and not k.startswith(IGNORED)}
    config = read_config(path, {name: tensor.shape for name, tensor in kept.items()})
    with torch.device("meta"):
        names = AvatarModel(config).state_dict()
    own = {k: v for k, v in names.items() if config.stage == "fine" or not k.startswith("normal.")}
    check_keys(path, kept, {original_name(name): tensor for name, tensor in own.items()})
    tensors = {name: _read(path, file, original_name(name), kept) for name in own}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AvatarModel(config)
    model.load_state_dict(model.state_dict() | tensors)
    return Imported(model, _number(content, "epoch"), _number(content, "global_step"))


def write_imported(path: Path | str, imported: Imported, names: Sequence[str], body: str) -> None:
    """In this code's format; `names` of the scans, in the order of the codes, where they are known."""
    extra: dict[str, Any] = {"step": imported.step, "epoch": imported.epoch, "body": body, "from_original": True}
    if names:
        extra["names"] = list(names)
    save_checkpoint(path, imported.model, extra)


def original_name(name: str) -> str:
    """What the original calls one of our tensors."""
    for ours, theirs in NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def read_config(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """Sizes as the tensors tell them. Raises `GdnaError` where one that tells is missing or makes no sense."""

    def size(name: str, axis: int) -> int:
        if name not in shapes:
            raise GdnaError(f"{path}: {name} is missing; this is not a checkpoint of the original")
        return shapes[name][axis] if axis < len(shapes[name]) else 0

    def depth(prefix: str) -> int:
        return sum(bool(re.fullmatch(rf"{re.escape(prefix)}\.lin\d+\.bias", name)) for name in shapes) - 1

    def frequencies(name: str, others: int) -> int:
        """Of a positional encoding, 3 + 6 per frequency, that a first layer reads besides `others`."""
        found, rest = divmod(size(name, 1) - others - 3, 6)
        if rest or found < 0:
            raise GdnaError(f"{path}: {name} reads {size(name, 1)} numbers, expected 3 + 6 n + {others} others")
        return found

    fine = any(name.startswith("norm_network.") for name in shapes)
    dims = size("z_shapes.weight", 1), size("z_details.weight", 1)
    width = size("network.lin0.bias", 0)
    occupancy = OccupancyConfig(
        width, depth("network"), multires=frequencies("network.lin0.weight_v", FEATURES), logit_scale=1.0
    )
    normal, hidden = NormalConfig(), width - 3 - 6 * occupancy.multires
    if fine:
        multires = frequencies("norm_network.lin0.weight_v", dims[1] + hidden)
        normal = NormalConfig(size("norm_network.lin0.bias", 0), depth("norm_network"), multires=multires)
    skinning, warp = (
        MlpConfig(size(f"deformer.{part}.lin0.bias", 0), depth(f"deformer.{part}"))
        for part in ("lbs_network", "disp_network")
    )
    betas = size("deformer.disp_network.lin0.weight_v", 1) - 3
    stage = "fine" if fine else "coarse"
    deformer = DeformerConfig(
        max_steps=MAX_STEPS[stage],
        weights_at="canonical",
        warp_betas=betas,
        disp_network=warp,
        lbs_network=skinning,
    )
    bones = size(f"deformer.lbs_network.lin{skinning.depth}.bias", 0)
    people = size("z_shapes.weight", 0)
    return ModelConfig(people, stage, *dims, betas, bones, occupancy, normal, deformer)


def check_keys(path: Path, found: Mapping[str, StoredTensor], expected: Mapping[str, Tensor]) -> None:
    """Raise `GdnaError` at the first key, in the file's order, that differs from what the original writes."""
    for name, tensor in found.items():
        if name not in expected:
            raise GdnaError(
                f"{path}: unexpected {name} of shape {_text(tensor.shape)}; another version of the original?"
            )
        if tensor.shape != tuple(expected[name].shape):
            shapes = f"{_text(tensor.shape)}, expected {_text(expected[name].shape)}"
            raise GdnaError(f"{path}: {name} is {shapes}; only the original's own architecture is imported")
    for name, wanted in expected.items():
        if name not in found:
            raise GdnaError(f"{path}: {name} {_text(wanted.shape)} is missing; another version of the original?")


def _read(path: Path, file: TorchFile, name: str, stored: Mapping[str, StoredTensor]) -> Tensor:
    try:
        tensor = file.tensor(stored[name])
    except (KeyError, ValueError, OSError, RuntimeError, BadZipFile) as error:
        raise GdnaError(f"{path}: {name} cannot be read ({error}); copy or download the file again") from error
    if not bool(tensor.isfinite().all()):
        raise GdnaError(f"{path}: {name} holds numbers that are not finite; the file is damaged")
    return tensor.float()


def _number(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name, 0)
    return value if isinstance(value, int) else 0


def _text(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "scalar"
