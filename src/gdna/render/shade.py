"""From posed meshes to normal maps and pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gdna.render.camera import Orthographic
from gdna.render.rasterize import Fragments, rasterize
from gdna.types import NormalMap, PosedMesh


@dataclass(frozen=True)
class Studio:
    """Light and colour of shaded pictures; all colours are linear, directions point to the light."""

    albedo: tuple[float, float, float] = (0.61, 0.54, 0.48)
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    key: tuple[float, float, float] = (1.05, 1.00, 0.94)
    key_direction: tuple[float, float, float] = (-0.62, 0.62, 0.50)
    fill: tuple[float, float, float] = (0.16, 0.20, 0.26)
    fill_direction: tuple[float, float, float] = (0.90, 0.10, 0.42)
    sky: tuple[float, float, float] = (0.24, 0.26, 0.29)
    ground: tuple[float, float, float] = (0.11, 0.095, 0.085)
    softness: float = 0.2  # how far the lights, being wide, reach around


STUDIO = Studio()


def render_normals(mesh: PosedMesh, camera: Orthographic, backend: str = "auto") -> NormalMap:
    """The vertex normals seen at each pixel, interpolated over the face and (like the images that the critic learns
    from) not brought back to unit length.
    """
    return _normal_map(mesh, rasterize(mesh.vertices, mesh.faces, camera, backend))


def _normal_map(mesh: PosedMesh, fragments: Fragments) -> NormalMap:
    normals = torch.zeros_like(fragments.barycentric)
    normals[fragments.mask] = fragments.interpolate(mesh.normals.float(), mesh.faces)
    return NormalMap(normals, fragments.mask)


def normal_image(normal_map: NormalMap, antialias: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """Normals as colours, n / 2 + 1/2, on white; squares of `antialias` x `antialias` pixels are averaged into one."""
    colours = torch.where(normal_map.mask[..., None], normal_map.normals * 0.5 + 0.5, 1.0)
    return to_bytes(averaged(colours, antialias))


def picture_normals(mesh: PosedMesh, camera: Orthographic, backend: str = "auto") -> UInt8[np.ndarray, "h w 3"]:
    """`normal_image(render_normals(...))`, byte for byte; fused, which runs on a CPU, in one pass over the pixels."""
    fragments = rasterize(mesh.vertices, mesh.faces, camera, backend)
    if backend == "reference" or mesh.vertices.device.type != "cpu":
        return normal_image(_normal_map(mesh, fragments))
    from gdna.render.raster_kernels import normal_colours

    faces, normals = mesh.faces.long().contiguous().numpy(), mesh.normals.float().contiguous().numpy()
    return normal_colours(fragments.face.numpy(), fragments.barycentric.numpy(), faces, normals)


def shaded_image(
    mesh: PosedMesh, camera: Orthographic, antialias: int = 2, studio: Studio = STUDIO
) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh in clay under a key light, a fill light and the sky, at the camera's size."""
    return _shaded(render_normals(mesh, camera.supersampled(antialias)), antialias, studio)


def render_pair(
    mesh: PosedMesh, camera: Orthographic, antialias: int = 2, studio: Studio = STUDIO, backend: str = "auto"
) -> UInt8[np.ndarray, "h w2 3"]:
    """`shaded_image` and, to its right, `normal_image`, from one rasterisation."""
    normal_map = render_normals(mesh, camera.supersampled(antialias), backend)
    return np.concatenate([_shaded(normal_map, antialias, studio), normal_image(normal_map, antialias)], 1)


def _shaded(normal_map: NormalMap, antialias: int, studio: Studio) -> UInt8[np.ndarray, "h w 3"]:
    device = normal_map.normals.device
    colours = torch.tensor(studio.background, device=device).expand_as(normal_map.normals).clone()
    colours[normal_map.mask] = _clay(torch.nn.functional.normalize(normal_map.normals[normal_map.mask], dim=-1), studio)
    return to_bytes(encoded(averaged(colours, antialias)))


def _clay(normals: Float[Tensor, "P 3"], studio: Studio) -> Float[Tensor, "P 3"]:
    def colour(values: tuple[float, float, float]) -> Float[Tensor, " 3"]:
        return torch.tensor(values, device=normals.device)

    def lambert(direction: tuple[float, float, float]) -> Float[Tensor, "P 1"]:
        cosine = normals @ torch.nn.functional.normalize(colour(direction), dim=0)
        return ((cosine + studio.softness) / (1 + studio.softness)).clamp_min(0)[:, None]

    upward = 0.5 + 0.5 * normals[:, 1:2]
    ambient = upward * colour(studio.sky) + (1 - upward) * colour(studio.ground)
    light = (
        ambient
        + lambert(studio.key_direction) * colour(studio.key)
        + lambert(studio.fill_direction) * colour(studio.fill)
    )
    # matte things darken where the surface turns away from the eye, which draws folds and outlines
    facing = 0.72 + 0.28 * normals[:, 2:].clamp_min(0)
    return light * facing * colour(studio.albedo)


def averaged(image: Float[Tensor, "H W 3"], factor: int) -> Float[Tensor, "h w 3"]:
    """Squares of `factor` x `factor` pixels made one."""
    # a mean over strided axes takes ten times as long on a CPU
    total = sum(image[row::factor, column::factor] for row in range(factor) for column in range(factor))
    assert isinstance(total, Tensor)
    return total / factor**2


def encoded(linear: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """sRGB's curve."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-6) ** (1 / 2.4) - 0.055)


def to_bytes(image: Float[Tensor, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Values from 0 to 1, rounded; others are cut."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
