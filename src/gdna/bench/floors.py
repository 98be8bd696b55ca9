"""The least that a row can cost: the operations of its networks, and the bytes that must move, over what the machine
was measured to do. Whatever else is done counts as overhead."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gdna.bench.machine import Ceilings
from gdna.fields.mlp import ConditionedMlp
from gdna.model.avatar_model import AvatarModel

TRAINING = 3  # forward, and two products of the same size backward


@dataclass(frozen=True)
class Work:
    operations: float  # floating point, of matrix products and convolutions
    bytes: float
    what: str  # how they were counted

    def seconds(self, ceilings: Ceilings) -> float:
        return max(self.operations / max(ceilings.matmul, ceilings.matmul_bf16), self.bytes / ceilings.copy)


def of_point(*fields: nn.Module) -> float:
    """Operations to ask the fields at one point."""
    mlps = [m for field in fields for m in field.modules() if isinstance(m, ConditionedMlp)]
    return float(sum(2 * i * o for mlp in mlps for i, o in mlp.sizes.layers()))


def of_generator(model: AvatarModel) -> float:
    """Operations to make one person's volume."""
    return _counted(model.generator, torch.zeros(1, model.config.dim_shape, device="meta"))


def of_critic(critic: nn.Module, image_size: int) -> float:
    """Operations to judge one picture."""
    return _counted(critic, torch.zeros(1, 3, image_size, image_size, device="meta"))


def size_of(module: nn.Module) -> int:
    """Bytes of the parameters."""
    return sum(p.nbytes for p in module.parameters())


def _counted(module: nn.Module, given: torch.Tensor) -> float:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        copy.deepcopy(module).to("meta")(given)
    return float(counter.get_total_flops())
