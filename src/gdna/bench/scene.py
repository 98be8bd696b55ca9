"""What the rows work on: the shipped model, and people without clothes in poses of shipped motions, which need no data
set."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.bench.settings import Sizes
from gdna.body.interface import BodyModel
from gdna.body.open_body import open_body
from gdna.data.motion import load_motion
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.prepared import Fields, PreparedSet
from gdna.data.scan_body import skin_vertices
from gdna.generate.loading import load
from gdna.generate.people import Model
from gdna.model.avatar_model import AvatarModel
from gdna.types import BodyParams, Scan

CLIPS = ("walk", "dance_a", "kick", "punch", "run", "dance_b")
PREPARED = 8000  # points of a scan; batches are drawn from them with replacement


@dataclass(frozen=True)
class Scene:
    device: torch.device
    sizes: Sizes
    folder: Path  # of prepared scans, while the scene is open

    @staticmethod
    @contextmanager
    def open(device: torch.device, sizes: Sizes) -> Iterator[Scene]:
        with TemporaryDirectory(prefix="gdna-bench-") as folder:
            yield Scene(device, sizes, Path(folder))

    @cached_property
    def people(self) -> Model:
        return load(device=str(self.device))

    @cached_property
    def network(self) -> AvatarModel:
        return self.people.network

    @cached_property
    def body(self) -> BodyModel:
        """On the CPU."""
        body: Any = open_body()
        return body

    def trainable(self, steps: int, backend: str) -> AvatarModel:
        """A copy of the model that asks for correspondences as told and learns what the coarse stage learns."""
        model = copy.deepcopy(self.network).requires_grad_(True)
        model.normal.requires_grad_(False)
        model.z_details.requires_grad_(False)
        model.config = replace(model.config, deformer=replace(model.config.deformer, max_steps=steps))
        settings = model.search_settings(backend)
        model.search_settings = lambda backend="auto": settings  # type: ignore[method-assign]
        return model

    @cached_property
    def params(self) -> BodyParams:
        """Each person in the body of a training person, in a pose out of a motion."""
        count = max(self.sizes.people, self.sizes.fine_people)
        clips = [load_motion(CLIPS[i % len(CLIPS)]).joint_rotations for i in range(count)]
        generator = torch.Generator().manual_seed(0)
        frames = [clip[int(torch.randint(len(clip), (), generator=generator))] for clip in clips]
        betas = self.people.betas[torch.arange(count) % len(self.people.betas)].cpu()
        return BodyParams(betas, torch.stack(frames), torch.zeros(count, 3))

    def prepared(self, count: int, fields: Fields) -> PreparedSet:
        """The first `count` people, each as a scan with one view."""
        names = [f"person_{i:02d}" for i in range(count)]
        for i, name in enumerate(names):
            if not (self.folder / name).exists():
                prepare_scan(self._scan(name, i), self.body, self.folder, self._prepare)
        return PreparedSet.open(self.folder, names, self.device, fields)

    @property
    def _prepare(self) -> PrepareSettings:
        count = min(PREPARED, 8 * self.sizes.points)
        return PrepareSettings(count, count, held_out=8, views=1, image_size=self.sizes.image_size)

    def _scan(self, name: str, index: int) -> Scan:
        params = self.params[index : index + 1]
        vertices = self.body(params).vertices[0, skin_vertices(self.body)]
        return Scan(
            name,
            vertices.numpy(),
            self.skin_faces.numpy(),
            params.betas[0].numpy(),
            params.joint_rotations[0].numpy(),
        )

    @cached_property
    def skin_faces(self) -> Int[Tensor, "F 3"]:
        """The body's faces, numbered over the skin vertices."""
        return torch.searchsorted(skin_vertices(self.body), self.body.faces)

    def near_body(self, index: int, count: int) -> Float[Tensor, "N 3"]:
        """Canonical points within about a centimetre of a person's body."""
        generator = torch.Generator().manual_seed(1)
        skin = self.body(self.params[index : index + 1]).vertices_canonical[0, skin_vertices(self.body)]
        chosen = torch.randint(len(skin), (count,), generator=generator)
        return (skin[chosen] + 0.01 * torch.randn(count, 3, generator=generator)).to(self.device)
