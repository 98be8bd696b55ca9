"""The fused search on a GPU, recorded once per shape as a CUDA graph: launching its kernels one by one takes several
times as long as running them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.deform.blend import WeightsAt
from gdna.deform.fused import TritonEngine, search_fused, why_not_here
from gdna.deform.fused_networks import FusedNetworks, fused_networks
from gdna.deform.grid import TransformGrid
from gdna.deform.search import find_correspondences
from gdna.deform.settings import SearchSettings
from gdna.fields.bound_weights import BoundWeights
from gdna.geometry.arithmetic import full_precision
from gdna.geometry.records import shape_of, tensors_of, with_tensors
from gdna.types import Correspondences

WARM_UP = 3  # calls before a recording, in which kernels are compiled and libraries choose theirs
MOST_RECORDINGS = 4  # held at a time; each keeps its intermediate values


@dataclass(frozen=True)
class _Inputs:
    points_posed: Float[Tensor, "B N 3"]
    bone_transforms: Float[Tensor, "B J 4 4"]
    networks: FusedNetworks
    grid: TransformGrid | None


@dataclass
class _Recording:
    inputs: _Inputs  # its own memory, which the graph reads
    networks: FusedNetworks  # that are copied there
    graph: torch.cuda.CUDAGraph
    found: Correspondences

    def take(self, given: _Inputs) -> None:
        """Networks that lie there already stay: ten small copies, and who asks often asks of the same."""
        if given.networks is not self.networks:
            torch._foreach_copy_(list(tensors_of(self.inputs.networks)), list(tensors_of(given.networks)))
            self.networks = given.networks
        own, new = ((i.points_posed, i.bone_transforms, i.grid) for i in (self.inputs, given))
        torch._foreach_copy_(list(tensors_of(own)), list(tensors_of(new)))


class RecordedSearch:
    """`find_correspondences` with given settings, for who asks often with the same shapes.

    Where the fused backend does not run on a GPU, or the settings ask for another, it is just that function.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self._recordings: dict[object, _Recording] = {}

    @torch.no_grad()
    def __call__(
        self,
        points_posed: Float[Tensor, "B N 3"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        weights_at: WeightsAt,
        grid: TransformGrid | None = None,
    ) -> Correspondences:
        asked = self.settings.backend in ("auto", "fused") and points_posed.is_cuda
        if not asked or why_not_here(points_posed, weights_at) is not None:
            return find_correspondences(points_posed, bone_transforms, weights_at, self.settings, grid)
        assert isinstance(weights_at, BoundWeights)
        inputs = _Inputs(points_posed, bone_transforms, fused_networks(weights_at, len(points_posed)), grid)
        key = shape_of(inputs)
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = self._record(inputs)
            if len(self._recordings) > MOST_RECORDINGS:
                del self._recordings[next(iter(self._recordings))]
        else:
            recording.take(inputs)
        recording.graph.replay()
        found: Correspondences = with_tensors(recording.found, torch.clone)
        return found

    def _search(self, i: _Inputs) -> Correspondences:
        engine = TritonEngine(i.networks)
        with full_precision():
            grid = engine.fill(i.bone_transforms, self.settings.grid) if i.grid is None else i.grid
            return search_fused(i.points_posed, i.bone_transforms, engine, self.settings, grid)

    def _record(self, inputs: _Inputs) -> _Recording:
        kept: _Inputs = with_tensors(inputs, lambda t: t.detach().clone(memory_format=torch.contiguous_format))
        with torch.cuda.device(inputs.points_posed.device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._search(kept)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                found = self._search(kept)
        return _Recording(kept, inputs.networks, graph, found)
