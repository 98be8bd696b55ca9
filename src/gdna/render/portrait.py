"""Pictures to look at: a person in clay on a white floor, lit by a lamp and a sky, with the shadows of both.

Every light is a few directions, each with a depth map of the mesh seen from there (Williams 1978); what a point cannot
see of them it does not get. So one piece of code gives soft shadows, dark folds and the shadow at the feet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from gdna.render.camera import Orthographic
from gdna.render.rasterize import rasterize
from gdna.render.shade import averaged, encoded, to_bytes
from gdna.types import PosedMesh

SHADOW_SIZE = 384  # pixels of a depth map: 7 mm
SHADOW_REACH = 1.35  # metres around the person's middle
OFFSET = 0.012  # metres above its surface, where a point asks what it sees; less and it shadows itself
FADE = 0.12  # of the picture, along its sides, in which shadows on the floor end


@dataclass(frozen=True)
class PortraitStudio:
    """Colours are linear; directions point to the lights, in the person's space before the camera looks down."""

    albedo: tuple[float, float, float] = (0.47, 0.455, 0.44)
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lamp: tuple[float, float, float] = (1.45, 1.33, 1.16)
    lamp_direction: tuple[float, float, float] = (-0.90, 1.0, 0.60)
    lamp_width: float = 0.16  # radians from its middle to its rim
    lamp_rays: int = 8
    sky: tuple[float, float, float] = (0.36, 0.42, 0.52)
    sky_rays: int = 24
    bounce: tuple[float, float, float] = (0.20, 0.19, 0.18)  # from the floor, to what looks down
    floor_shadow: float = 0.75  # how much of its shadows the floor shows
    pitch: float = math.radians(11)  # by which the camera looks down
    half_width: float = 1.18  # metres: raised hands stay in the picture
    ground: float = 0.95  # of the picture's height, from above, where the feet are


STUDIO = PortraitStudio()


@dataclass(frozen=True)
class _Light:
    direction: Float[Tensor, " 3"]
    colour: Float[Tensor, " 3"]  # in it already how many directions share a light


def portrait(
    mesh: PosedMesh, size: int, antialias: int = 2, studio: PortraitStudio = STUDIO
) -> UInt8[np.ndarray, "h w 3"]:
    """A square picture, shaded by `mesh.normals`; the person stands on the floor with its lowest point, in the middle.
    Light that reaches the floor undiminished leaves the background's colour."""
    placed = _placed(mesh)
    lights = _lights(studio, mesh.vertices.device)
    camera = _camera(size * antialias, studio)
    look = _rotation_x(studio.pitch).to(placed.vertices)
    fragments = rasterize(placed.vertices @ look.T, placed.faces, camera)
    on_body = fragments.interpolate(torch.cat([placed.vertices, placed.normals], 1).float(), placed.faces)
    points, normals = on_body[:, :3], normalize(on_body[:, 3:], dim=1)
    floor = _floor_points(_camera(size, studio), look)  # its shadows are soft
    up = torch.tensor([0.0, 1.0, 0.0], device=points.device)
    maps = [_depth_map(placed, light.direction) for light in lights]
    body = _lit(points, normals, lights, maps) + (0.5 - 0.5 * normals[:, 1:2]) * points.new_tensor(studio.bounce)
    open_floor = sum((light.colour * (up @ light.direction) for light in lights), points.new_zeros(3))
    share = _lit(floor.flatten(0, 1), up, lights, maps).view_as(floor) / open_floor
    share = 1 - studio.floor_shadow * _fade(size, points.device)[..., None] * (1 - share)
    image = share * points.new_tensor(studio.background)
    image = image.repeat_interleave(antialias, 0).repeat_interleave(antialias, 1)
    image[fragments.mask] = body * points.new_tensor(studio.albedo)
    return to_bytes(encoded(averaged(image, antialias)))


def _placed(mesh: PosedMesh) -> PosedMesh:
    """Its lowest point on the floor y = 0, the middle of its box above the origin."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    middle = (low + high) / 2
    return PosedMesh(mesh.vertices - torch.stack([middle[0], low[1], middle[2]]), mesh.faces, mesh.normals)


def _camera(size: int, studio: PortraitStudio) -> Orthographic:
    return Orthographic(studio.half_width, (0.0, studio.half_width * (2 * studio.ground - 1), 0.0), size)


def _rotation_x(angle: float) -> Float[Tensor, "3 3"]:
    """Of what a camera sees that looks down by `angle`."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _floor_points(camera: Orthographic, look: Float[Tensor, "3 3"]) -> Float[Tensor, "H W 3"]:
    """Where the pixels' rays meet the floor."""
    x, y = camera.pixel_positions(look.device).unbind(-1)
    back = -y / look[1, 2].abs()  # y seen is cos(pitch) y - sin(pitch) z, and y is 0 on the floor
    return torch.stack([x, torch.zeros_like(x), back], -1)


def _lights(studio: PortraitStudio, device: torch.device) -> list[_Light]:
    """A lamp as a disc of directions, a sky as a dome of them, both on golden spirals."""
    golden = math.pi * (3 - math.sqrt(5))
    middle = normalize(torch.tensor(studio.lamp_direction), dim=0)
    side = normalize(torch.linalg.cross(middle, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    above = torch.linalg.cross(side, middle)
    lights = []
    for k in range(studio.lamp_rays):
        reach = math.tan(studio.lamp_width) * math.sqrt((k + 0.5) / studio.lamp_rays)
        direction = middle + reach * (math.cos(golden * k) * side + math.sin(golden * k) * above)
        lights.append(_Light(normalize(direction, dim=0), torch.tensor(studio.lamp) / studio.lamp_rays))
    for k in range(studio.sky_rays):
        height = 0.08 + 0.92 * (k + 0.5) / studio.sky_rays
        ring = math.sqrt(1 - height**2)
        direction = torch.tensor([ring * math.cos(golden * k), height, ring * math.sin(golden * k)])
        lights.append(_Light(direction, 2 * torch.tensor(studio.sky) / studio.sky_rays))
    return [_Light(light.direction.to(device), light.colour.to(device)) for light in lights]


def _shadow_camera() -> Orthographic:
    return Orthographic(SHADOW_REACH, (0.0, 0.0, 0.0), SHADOW_SIZE)


def _towards(direction: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The rotation that makes a direction +z."""
    helper = direction.new_tensor([0.0, 0.0, 1.0] if abs(float(direction[1])) > 0.9 else [0.0, 1.0, 0.0])
    right = normalize(torch.linalg.cross(helper, direction), dim=0)
    return torch.stack([right, torch.linalg.cross(direction, right), direction])


def _depth_map(mesh: PosedMesh, direction: Float[Tensor, " 3"]) -> Float[Tensor, "S S"]:
    """How far towards the light the mesh reaches, minus infinity where it is not."""
    seen = (mesh.vertices.float() - _middle(mesh.vertices)) @ _towards(direction).T
    fragments = rasterize(seen, mesh.faces, _shadow_camera())
    depth = torch.full(fragments.mask.shape, -torch.inf, device=seen.device)
    depth[fragments.mask] = fragments.interpolate(seen[:, 2:], mesh.faces)[:, 0]
    return depth


def _middle(like: Float[Tensor, "*n 3"]) -> Float[Tensor, " 3"]:
    """The middle of somebody who stands on the floor."""
    return like.new_tensor([0.0, 0.9, 0.0])


def _lit(
    points: Float[Tensor, "P 3"],
    normals: Float[Tensor, "P 3"] | Float[Tensor, " 3"],
    lights: list[_Light],
    maps: list[Float[Tensor, "S S"]],
) -> Float[Tensor, "P 3"]:
    """Light that arrives at points, with the cosine to their normals and without what is in the way."""
    total, camera = torch.zeros_like(points), _shadow_camera()
    above = points + OFFSET * normals - _middle(points)
    for light, depth in zip(lights, maps, strict=True):
        cosine = (normals @ light.direction).clamp_min(0).expand(len(points))
        pixel = camera.to_pixels(above @ _towards(light.direction).T)
        seen = torch.zeros_like(cosine)
        for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
            column, row = (pixel[:, 0].floor().long() + right, pixel[:, 1].floor().long() + down)
            inside = (column >= 0) & (column < SHADOW_SIZE) & (row >= 0) & (row < SHADOW_SIZE)
            there = depth[row.clamp(0, SHADOW_SIZE - 1), column.clamp(0, SHADOW_SIZE - 1)]
            weight = (1 - (pixel[:, 0] - column).abs()) * (1 - (pixel[:, 1] - row).abs())
            seen += weight * (~inside | (there <= pixel[:, 2]))
        total += (seen * cosine)[:, None] * light.colour
    return total


def _fade(size: int, device: torch.device) -> Float[Tensor, "S S"]:
    """One in the middle, zero along the sides."""
    along = (torch.arange(size, device=device) + 0.5) / size
    edge = (torch.minimum(along, 1 - along) / FADE).clamp(0, 1)
    edge = edge * edge * (3 - 2 * edge)
    return edge[:, None] * edge
