"""Scan, fit and the distance between them, as one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from gdna.fit.evidence import Evidence
from gdna.fit.measure import vertex_distance
from gdna.geometry.mesh import vertex_normals
from gdna.geometry.rotations import rotation_y
from gdna.render.camera import Orthographic
from gdna.render.rasterize import rasterize
from gdna.render.shade import shaded_image
from gdna.render.video import contact_sheet
from gdna.types import PosedMesh

Image = UInt8[np.ndarray, "_ _ 3"]
VIEWS = (0.0, math.pi)  # yaw: front and back
MARGIN = 0.06  # metres around scan and fit
WORST_MM = 20.0  # of the colour bar
RAMP = ((0.93, 0.95, 0.93), (0.98, 0.85, 0.45), (0.90, 0.35, 0.20), (0.40, 0.03, 0.15))  # 0 to WORST_MM, evenly
BAR_WIDTH, BAR_HEIGHT = 240, 12  # pixels
INK = (60, 60, 60)
SHOWN_POINTS = 30_000  # of a cloud


@dataclass(frozen=True)
class Scene:
    """Two meshes in one frame, and the camera that sees both."""

    scan: PosedMesh
    fit: PosedMesh
    camera: Orthographic

    @staticmethod
    def of(fit: PosedMesh, evidence: Evidence, image_size: int) -> Scene:
        fit = PosedMesh(fit.vertices.cpu().float(), fit.faces.cpu(), fit.normals.cpu().float())
        scan = scan_mesh(evidence)
        seen = torch.cat([fit.vertices, scan.vertices])
        low, high = seen.amin(0), seen.amax(0)
        width = float(torch.maximum((high - low)[1] / 2, seen[:, [0, 2]].norm(dim=1).max()))  # also from the back
        centre = (0.0, float((low + high)[1]) / 2, 0.0)
        return Scene(scan, fit, Orthographic(width + MARGIN, centre, image_size))


def report_picture(fit: PosedMesh, evidence: Evidence, caption: str, image_size: int = 512) -> Image:
    """From the front and from the back: scan, fit, and the fit coloured by its distance to the scan."""
    scene = Scene.of(fit, evidence, image_size)
    distance = torch.from_numpy(vertex_distance(fit.vertices.cpu().double().numpy(), evidence)).float()
    colours = ramp(1000 * distance / WORST_MM)
    rows = [
        [
            shaded_image(turned(scene.scan, yaw), scene.camera),
            shaded_image(turned(scene.fit, yaw), scene.camera),
            coloured_image(turned(scene.fit, yaw), colours, scene.camera),
        ]
        for yaw in VIEWS
    ]
    images = _trimmed([image for row in rows for image in row])
    labels = ["scan", "fit", "distance to the scan"] * len(VIEWS)
    return _with_foot(contact_sheet(images, 3, labels=labels), caption)


def preview_picture(fit: PosedMesh, evidence: Evidence, image_size: int = 384) -> Image:
    """Scan and fit from the front."""
    scene = Scene.of(fit, evidence, image_size)
    return np.concatenate(_trimmed([shaded_image(mesh, scene.camera) for mesh in (scene.scan, scene.fit)]), 1)


def scan_mesh(evidence: Evidence) -> PosedMesh:
    """What the picture shows of the scan: its outer surface, or a small triangle for every point of a cloud."""
    if evidence.target is not None:
        used, faces = np.unique(evidence.target.faces, return_inverse=True)
        vertices = torch.from_numpy(evidence.target.vertices[used]).float()
        corners = torch.from_numpy(faces.reshape(-1, 3))
        return PosedMesh(vertices, corners, vertex_normals(vertices, corners))
    points = torch.from_numpy(evidence.surface_points[:SHOWN_POINTS]).float()
    normals = torch.from_numpy(evidence.surface_normals[:SHOWN_POINTS]).float()
    return _splats(points, normals, 2 * float((1.8 / max(len(points), 1)) ** 0.5))


def turned(mesh: PosedMesh, yaw: float) -> PosedMesh:
    """About the vertical axis."""
    rotation = rotation_y(yaw).to(mesh.vertices)
    return PosedMesh(mesh.vertices @ rotation.T, mesh.faces, mesh.normals @ rotation.T)


def ramp(share: Float[Tensor, " V"]) -> Float[Tensor, "V 3"]:
    """Colours for 0 to 1; beyond, the last."""
    stops = torch.tensor(RAMP)
    at = share.clamp(0, 1) * (len(stops) - 1)
    first = at.long().clamp_max(len(stops) - 2)
    return torch.lerp(stops[first], stops[first + 1], (at - first)[:, None])


def coloured_image(mesh: PosedMesh, colours: Float[Tensor, "V 3"], camera: Orthographic) -> Image:
    """Vertices' colours, darker where the surface turns away, on white."""
    fragments = rasterize(mesh.vertices, mesh.faces, camera.supersampled(2))
    image = torch.ones_like(fragments.barycentric)
    facing = fragments.interpolate(mesh.normals, mesh.faces)[:, 2:].clamp(0, 1)
    image[fragments.mask] = fragments.interpolate(colours, mesh.faces) * (0.55 + 0.45 * facing)
    image = (image[::2, ::2] + image[::2, 1::2] + image[1::2, ::2] + image[1::2, 1::2]) / 4
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _splats(points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], size: float) -> PosedMesh:
    aside = torch.linalg.cross(normals, torch.tensor([0.0, 1.0, 0.0]).expand_as(normals) + 1e-3)
    aside = torch.nn.functional.normalize(aside, dim=-1)
    up = torch.linalg.cross(normals, aside)
    corners = [0.6 * size * (math.cos(a) * aside + math.sin(a) * up) for a in (0.0, 2.1, 4.2)]
    vertices = torch.stack([points + corner for corner in corners], 1).flatten(0, 1)
    return PosedMesh(vertices, torch.arange(len(vertices)).view(-1, 3), normals.repeat_interleave(3, 0))


def _trimmed(images: list[Image], margin: int = 6) -> list[Image]:
    """All cut to where any of them is not white."""
    drawn = np.any([(image < 255).any(-1) for image in images], axis=0)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    if len(rows) == 0:
        return images
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return [image[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1] for image in images]


def _with_foot(sheet: Image, caption: str) -> Image:
    """The caption and the colour bar below the sheet."""
    font = ImageFont.load_default(14)
    height, width = sheet.shape[:2]
    whole = PilImage.new("RGB", (max(width, BAR_WIDTH + 40), height + 84), (255, 255, 255))
    whole.paste(PilImage.fromarray(sheet), (0, 0))
    bar = (ramp(torch.linspace(0, 1, BAR_WIDTH)) * 255).round().to(torch.uint8).numpy()
    whole.paste(PilImage.fromarray(np.broadcast_to(bar, (BAR_HEIGHT, BAR_WIDTH, 3)).copy()), (16, height + 8))
    draw = ImageDraw.Draw(whole)
    for share in (0.0, 0.5, 1.0):
        label = f"{share * WORST_MM:.0f}" + (" mm and more" if share == 1 else "")
        draw.text((16 + share * BAR_WIDTH, height + 24), label, fill=INK, anchor="ma" if share < 1 else "la", font=font)
    draw.multiline_text((16, height + 46), caption, fill=INK, font=font)
    return np.asarray(whole)
