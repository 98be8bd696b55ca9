"""Normal maps of people from all sides: of scans as they were prepared, of generated people with the raw normals of
their geometry and with those that the model predicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gdna.data.sample_file import SAMPLES, normal_map_path, read_settings
from gdna.errors import GdnaError
from gdna.geometry.mesh import vertex_normals
from gdna.geometry.rotations import rotation_y
from gdna.render.camera import Orthographic
from gdna.render.rasterize import rasterize
from gdna.render.shade import normal_image
from gdna.types import NormalMap, PosedMesh

Image = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class ViewSettings:
    """Views of a prepared set: the person turned by 2 pi number / of."""

    numbers: tuple[int, ...]
    of: int
    image_size: int

    @property
    def angles(self) -> list[float]:
        return [2 * math.pi * n / self.of for n in self.numbers]

    @property
    def camera(self) -> Orthographic:
        return Orthographic(image_size=self.image_size)


@dataclass(frozen=True)
class MapPair:
    """One view of a person with the normals of the geometry, and with the model's."""

    raw: NormalMap
    predicted: NormalMap


def prepared_views(folder: Path, name: str, count: int) -> ViewSettings:
    """`count` evenly spread views of those that the scans of a folder were prepared with (all, if these are fewer)."""
    settings = read_settings(folder / name / SAMPLES)
    if settings is None:
        raise GdnaError(f"{folder / name}: not a prepared scan; prepare it (again)")
    of = int(settings["views"])
    numbers = np.linspace(0, of, min(count, of), endpoint=False).astype(int)
    return ViewSettings(tuple(numbers.tolist()), of, int(settings["image_size"]))


def prepared_images(folder: Path, name: str, views: ViewSettings) -> Iterator[Image]:
    """The normal maps of a prepared scan. Raises `GdnaError` where one cannot be read."""
    from PIL import Image as Picture

    for number in views.numbers:
        path = normal_map_path(folder / name, number, views.image_size)
        try:
            yield np.array(Picture.open(path).convert("RGB"))
        except OSError as error:
            raise GdnaError(f"{path}: cannot be read ({error}); prepare the scan again") from error


def decode(image: Image) -> NormalMap:
    """Normals of an image; white is background, which no normal is."""
    mask = torch.from_numpy(~(image == 255).all(-1))
    normals = torch.from_numpy(image).float() / 127.5 - 1
    return NormalMap(torch.where(mask[..., None], normals, 0.0), mask)


def turned(mesh: PosedMesh, angle: float) -> PosedMesh:
    """The mesh turned about the world's vertical axis, as prepared views are."""
    turn = rotation_y(angle).T.to(mesh.vertices)
    return PosedMesh(mesh.vertices @ turn, mesh.faces, mesh.normals @ turn)


def render_pairs(mesh: PosedMesh, views: ViewSettings) -> Iterator[MapPair]:
    """Both kinds of normals of each view, from one rasterisation."""
    raw = vertex_normals(mesh.vertices, mesh.faces)
    for angle in views.angles:
        seen = turned(mesh, angle)
        fragments = rasterize(seen.vertices, seen.faces, views.camera)
        turn = rotation_y(angle).T.to(raw)
        maps = []
        for normals in (raw @ turn, seen.normals):
            pixels = torch.zeros_like(fragments.barycentric)
            pixels[fragments.mask] = fragments.interpolate(normals.float(), seen.faces)
            maps.append(NormalMap(pixels, fragments.mask))
        yield MapPair(*maps)


def images_of(pairs: Sequence[MapPair], predicted: bool) -> list[Image]:
    """As the critic and the feature network see them."""
    return [normal_image(pair.predicted if predicted else pair.raw) for pair in pairs]


def angles_between(one: NormalMap, other: NormalMap) -> Float[Tensor, " P"]:
    """Degrees between the normals at the pixels that both maps show."""
    both = one.mask & other.mask.to(one.mask.device)
    a, b = (torch.nn.functional.normalize(m.normals.to(one.normals.device)[both], dim=-1) for m in (one, other))
    return degrees_between(a, b)


def degrees_between(one: Float[Tensor, "N 3"], other: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """The angle between unit vectors; exact for small ones, too."""
    return torch.rad2deg(torch.atan2(torch.linalg.cross(one, other).norm(dim=-1), (one * other).sum(-1)))


def silhouette_shift(one: Bool[Tensor, "H W"], other: Bool[Tensor, "H W"]) -> float:
    """How many pixels an outline moved on average: the area that only one mask has, over the outline's length.

    The length is counted in pixel edges between inside and outside, times pi / 4 (Crofton: edges in two directions
    overstate a curve's length by 4 / pi on average).
    """
    changed = float((one ^ other).sum())
    edges = float((one[1:] ^ one[:-1]).sum() + (one[:, 1:] ^ one[:, :-1]).sum())
    return changed / max(edges * math.pi / 4, 1.0)
