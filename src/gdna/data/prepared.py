"""A folder of prepared scans, stacked on one device, from which training draws its batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.data.batches import CoarseBatch, FineBatch, HeldOut
from gdna.data.people import people_of, person_of
from gdna.data.sample_file import BODY, SAMPLES, PreparedBody, body_on, from_fixed, read_body, read_tensors
from gdna.data.stacks import (
    CacheStack,
    CoarseStack,
    FineStack,
    common_settings,
    open_cache,
    open_coarse,
    open_fine,
    pixels,
    stack,
)
from gdna.errors import GdnaError
from gdna.geometry.devices import sent
from gdna.geometry.rotations import axis_angle_to_matrix

Fields = Literal["body", "coarse", "fine"]
BODY_FIELDS = (
    "betas", "joint_rotations", "bone_transforms", "joints_canonical", "vertices_canonical", "vertices_posed"
)  # fmt: skip


@dataclass(frozen=True)
class PreparedSet:
    """n prepared scans. Opened with `PreparedSet.open`; draws are one gather each, on the set's device.

    At the full 200,000 points and 18 views a scan costs 1.8 MB (coarse) or 4.7 MB plus about 3 MB of cache (fine).
    """

    folder: Path
    names: tuple[str, ...]
    people: tuple[str, ...]  # whose scans they are, each once
    person: Int[Tensor, " n"]  # scan -> index into `people`
    body: PreparedBody
    num_views: int
    betas: Float[Tensor, "n S"]
    joint_rotations: Float[Tensor, "n J 3"]
    bone_transforms: Float[Tensor, "n J 4 4"]
    joints_canonical: Float[Tensor, "n J 3"]
    vertices_canonical: Float[Tensor, "n Vs 3"]
    vertices_posed: Float[Tensor, "n Vs 3"]
    coarse: CoarseStack | None = None
    fine: FineStack | None = None
    cache: CacheStack | None = None

    def __len__(self) -> int:
        return len(self.names)

    def first_scans(self) -> list[int]:
        """The first scan of each person."""
        return [self.person.tolist().index(i) for i in range(len(self.people))]

    @staticmethod
    def open(
        folder: Path | str,
        names: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        fields: Fields = "coarse",
        cache_folder: Path | str | None = None,
    ) -> PreparedSet:
        """Stack the named scans (default: all, sorted) with what `fields` asks for: bodies only, points for the coarse
        stage, or surface and images for the fine stage, with the correspondence cache where `cache_folder` is given.

        Raises `GdnaError` where scans are missing, broken or prepared with different settings.
        """
        folder = Path(folder)
        names = tuple(prepared_names(folder) if names is None else names)
        paths = [folder / name / SAMPLES for name in names]
        num_views, image_size = common_settings(paths)
        body = read_body(folder / BODY)
        stacked = stack(paths, BODY_FIELDS, device)
        if stacked["vertices_canonical"].shape[1] != len(body.vertices_neutral):
            raise GdnaError(
                f"{folder / BODY}: {len(body.vertices_neutral)} skin vertices, but the scans have "
                f"{stacked['vertices_canonical'].shape[1]}; prepare the folder again with one body model"
            )
        people = people_of(names)
        return PreparedSet(
            folder,
            names,
            people,
            torch.tensor([people.index(person_of(name)) for name in names], device=device),
            body_on(body, device),
            num_views,
            **stacked,
            coarse=open_coarse(paths, device) if fields == "coarse" else None,
            fine=open_fine(paths, num_views, image_size, device) if fields == "fine" else None,
            cache=open_cache(Path(cache_folder), names, num_views, device) if cache_folder is not None else None,
        )

    def number(self, index: int) -> Int[Tensor, "1"]:
        """A scan's number as a tensor on the set's device."""
        return torch.tensor([index], device=self.betas.device)

    def draw_coarse(
        self, indices: Int[Tensor, " B"], generator: torch.Generator, points_per_frame: int = 2000
    ) -> CoarseBatch:
        """Draw with replacement `points_per_frame` points near the surface and an eighth as many from the box."""
        if self.coarse is None:
            raise GdnaError(f"{self.folder}: opened without points; open it with fields='coarse'")
        indices = sent(indices, self.betas.device)
        half = self.coarse.points.shape[1] // 2
        near = draw_integers(half, (len(indices), points_per_frame), generator, indices.device)
        box = draw_integers(half, (len(indices), points_per_frame // 8), generator, indices.device) + half
        flat = torch.cat([near, box], 1) + indices[:, None] * (2 * half)
        return CoarseBatch(
            indices,
            self.person[indices],
            self.betas[indices],
            self.bone_transforms[indices],
            self.vertices_canonical[indices],
            from_fixed(self.coarse.points.flatten(0, 1)[flat]),
            self.coarse.occupancy.flatten()[flat].float(),
        )

    def draw_fine(
        self,
        indices: Int[Tensor, " B"],
        views: Int[Tensor, " B"],
        generator: torch.Generator,
        points_per_frame: int = 2000,
    ) -> FineBatch:
        """Draw surface points with replacement, and give each scan's view `views[b]` with its correspondences (no
        pixels where the set was opened without a cache)."""
        if self.fine is None:
            raise GdnaError(f"{self.folder}: opened without surface and images; open it with fields='fine'")
        indices, views = sent(indices, self.betas.device), sent(views, self.betas.device)
        count = self.fine.surface_points.shape[1]
        drawn = draw_integers(count, (len(indices), points_per_frame), generator, indices.device)
        flat = drawn + indices[:, None] * count
        surface_points = from_fixed(self.fine.surface_points.flatten(0, 1)[flat])
        cache_points, cache_mask = (
            (surface_points[:, :0], indices.new_zeros((len(indices), 0), dtype=torch.bool))
            if self.cache is None
            else pixels(self.cache, indices, views)
        )
        transforms = self.bone_transforms[indices]
        return FineBatch(
            indices,
            self.person[indices],
            views,
            self.betas[indices],
            transforms,
            turn_to_view(transforms, views, self.num_views),
            self.normal_maps(indices, views),
            surface_points,
            from_fixed(self.fine.surface_normals.flatten(0, 1)[flat]),
            cache_points,
            cache_mask,
        )

    def normal_maps(self, indices: Int[Tensor, " B"], views: Int[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
        """Normal maps as the critic sees them: components in [-1, 1], background 1."""
        if self.fine is None:
            raise GdnaError(f"{self.folder}: opened without images; open it with fields='fine'")
        images = self.fine.images[sent(indices, self.betas.device), sent(views, self.betas.device)]
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def held_out(self, index: int) -> HeldOut:
        """Read a scan's held-out points from disk."""
        path = self.folder / self.names[index] / SAMPLES
        tensors = read_tensors(path, ("held_out_points", "held_out_occupancy"))
        points, occupancy = from_fixed(tensors["held_out_points"]), tensors["held_out_occupancy"]
        half = len(points) // 2
        return HeldOut(points[:half], occupancy[:half], points[half:], occupancy[half:])


def turn_to_view(
    bone_transforms: Float[Tensor, "B J 4 4"], views: Int[Tensor, " B"], num_views: int
) -> Float[Tensor, "B J 4 4"]:
    """Turn posed bodies about the world's vertical axis by 2 pi view / num_views, as the normal maps are."""
    axis_angle = torch.zeros(len(views), 3, device=bone_transforms.device)
    axis_angle[:, 1] = views.to(bone_transforms) * (2 * math.pi / num_views)
    turned = bone_transforms.clone()
    turned[:, :, :3] = axis_angle_to_matrix(axis_angle)[:, None] @ bone_transforms[:, :, :3]
    return turned


def prepared_names(folder: Path | str) -> list[str]:
    """The prepared scans of a folder, sorted. Raises `GdnaError` where there is none."""
    folder = Path(folder)
    names = sorted(p.parent.name for p in folder.glob(f"*/{SAMPLES}") if not p.parent.name.startswith("."))
    if not names:
        raise GdnaError(f"{folder}: no prepared scans found (expected NAME/{SAMPLES}); prepare or download scans first")
    return names


def draw_integers(
    high: int, shape: tuple[int, int], generator: torch.Generator, device: torch.device
) -> Int[Tensor, "B N"]:
    """Uniform integers from the generator's own device, so that a CPU generator gives the same on every device."""
    return sent(torch.randint(high, shape, generator=generator, device=generator.device), device)
