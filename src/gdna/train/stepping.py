"""A training step from batch to changed parameters. On CUDA it is recorded once and then launched as a whole: its
hundreds of small kernels take longer to launch one by one than to run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.geometry.records import tensors_of

Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")
WARM_UP = 3  # steps before the recording, in which libraries choose their kernels and optimisers make their state


def adam(parameters: Sequence[Tensor], rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    """One kernel for all parameters, which may be recorded and skips a step by itself (see `apply_gradients`)."""
    device = parameters[0].device
    on_gpu = device.type == "cuda"
    lr = torch.tensor(rate, device=device) if on_gpu else rate
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True, capturable=on_gpu)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # in place: a recorded step reads it
        else:
            group["lr"] = rate


def apply_gradients(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], limit: float) -> Bool[Tensor, ""]:
    """Back-propagate and step; gradients are averaged over the processes and clipped to the norm `limit` (0: not).

    Returns whether loss and gradient are finite. Where they are not, no parameter changes.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit or math.inf)
    finite = norm.isfinite() & loss.detach().isfinite()
    optimizer.found_inf = (~finite).float().to(norm.device)  # type: ignore[attr-defined]
    optimizer.step()
    return finite


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Mean of the gradients over all processes, in one message. Does nothing for a single process."""
    if not _several_processes():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    parts = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


def _several_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class RecordedStep(Generic[Inputs, Outputs]):
    """`step`, recorded as a CUDA graph after three calls and replayed from then on.

    `step` must not wait for the device, and all that it changes must stay in place. Its outputs are overwritten by the
    next call of this or any other recorded step.
    """

    def __init__(self, step: Callable[[Inputs], Outputs]) -> None:
        self.step = step
        self._calls = 0
        self._aside = torch.cuda.Stream()  # all runs but replays: gradients remember the stream they were summed on
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Any = None
        self._outputs: Any = None

    def __call__(self, inputs: Inputs) -> Outputs:
        if self._calls < WARM_UP:
            self._calls += 1
            return self._run_aside(inputs)
        if self._graph is None:
            self._record(inputs)
        else:
            torch._foreach_copy_(list(tensors_of(self._inputs)), list(tensors_of(inputs)))
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def _run_aside(self, inputs: Inputs) -> Outputs:
        """As it is, on a stream of its own: what a recording asks of the steps before it."""
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            outputs = self.step(inputs)
        torch.cuda.current_stream().wait_stream(self._aside)
        return outputs

    def _record(self, inputs: Inputs) -> None:
        self._inputs = inputs
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, _memory(), self._aside, capture_error_mode="thread_local"):
            self._outputs = self.step(inputs)
        self._graph = graph


@lru_cache(maxsize=1)
def _memory() -> Any:
    """All recordings compute in the same memory: they run one after the other."""
    return torch.cuda.graph_pool_handle()


def stepper(step: Callable[[Inputs], Outputs], device: torch.device) -> Callable[[Inputs], Outputs]:
    """`step` as it runs best on the device. Exchanging gradients with other processes is recorded too."""
    return RecordedStep(step) if device.type == "cuda" else step
