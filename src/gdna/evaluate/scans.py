"""A model against scans: inside and outside, distances of the surfaces, normals pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from gdna.evaluate.maps import (
    Image,
    MapPair,
    angles_between,
    decode,
    images_of,
    prepared_images,
    prepared_views,
    render_pairs,
)
from gdna.evaluate.metrics import ScanIou, codes_of, scan_iou
from gdna.evaluate.reconstruct import CodeFitSettings, fit_codes, geometry_of, reconstruct
from gdna.evaluate.sets import ScanSet
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.surface import Surface, SurfaceDistance, outer_surface, surface_distance
from gdna.generate.people import Model
from gdna.objectives import intersection_over_union
from gdna.types import Codes, PosedMesh


@dataclass(frozen=True)
class NormalErrors:
    """Means over the pixels, of all views, that both the scan's and the model's normal map show."""

    raw_deg: float  # of the geometry's own normals
    predicted_deg: float  # of the normal field's
    silhouette_iou: float


@dataclass(frozen=True)
class ScanScore:
    """One scan. `surface` is None where the scan itself is not at hand."""

    name: str
    iou: ScanIou
    normals: NormalErrors
    surface: SurfaceDistance | None

    def numbers(self) -> dict[str, float]:
        """All numbers by name, flat."""
        values = {"iou": self.iou.uniform, "iou_near": self.iou.near, "found": self.iou.found}
        values |= {"normal_error_raw_deg": self.normals.raw_deg, "normal_error_deg": self.normals.predicted_deg}
        values["silhouette_iou"] = self.normals.silhouette_iou
        return values | ({} if self.surface is None else _without_points(self.surface))


@dataclass(frozen=True)
class ScanPicture:
    """First view: scan, geometry, predicted normals."""

    name: str
    images: tuple[Image, Image, Image]


def scan_codes(model: Model, members: Sequence[tuple[ScanSet, int]], settings: EvaluateSettings) -> list[Codes]:
    """The codes of scans, each given as its set and its number there: learned, or, of strangers, looked for."""
    codes: dict[tuple[int, int], Codes] = {}
    for scans in {id(s): s for s, _ in members}.values():
        strange = [i for s, i in members if s is scans and s.person[i] < 0]
        if strange:
            how = CodeFitSettings(steps=settings.fit_steps, seed=settings.seed)
            found = fit_codes(model, scans.data, strange, how)
            rows = zip(found.shape, found.detail, strict=True)
            codes |= {(id(scans), i): Codes(z[None], d[None]) for i, (z, d) in zip(strange, rows, strict=True)}
    return [
        codes[id(s), i]
        if s.person[i] < 0
        else codes_of(model.network, s.person[i], s.data.bone_transforms[i], s.scan[i])
        for s, i in members
    ]


def score_scan(
    model: Model, scans: ScanSet, index: int, codes: Codes, settings: EvaluateSettings
) -> tuple[ScanScore, ScanPicture]:
    """One scan of a set against the person of these codes (one)."""
    data, network = scans.data, model.network
    iou = scan_iou(network, data, index, codes, network.search_settings())
    person = model.person(data.betas[index], codes.shape[0], codes.detail[0])
    mesh = reconstruct(person, data.bone_transforms[index], settings.mesh_resolution, geometry_of(settings))
    views = prepared_views(data.folder, data.names[index], settings.views)
    pairs = list(render_pairs(mesh, views))
    images = list(prepared_images(data.folder, data.names[index], views))
    picture = ScanPicture(data.names[index], (images[0], images_of(pairs[:1], False)[0], images_of(pairs[:1], True)[0]))
    surface = _surface(mesh, scans, index, settings)
    return ScanScore(data.names[index], iou, normal_errors(pairs, images), surface), picture


def normal_errors(pairs: Sequence[MapPair], images: Sequence[Image]) -> NormalErrors:
    """Views of a model against the same views of a scan."""
    truth = [decode(image) for image in images]
    pooled = zip(pairs, truth, strict=True)
    raw, predicted = zip(*((angles_between(p.raw, t), angles_between(p.predicted, t)) for p, t in pooled), strict=True)
    masks = torch.stack([p.raw.mask.cpu() for p in pairs]), torch.stack([t.mask for t in truth])
    return NormalErrors(
        float(torch.cat(raw).mean()), float(torch.cat(predicted).mean()), intersection_over_union(*masks)
    )


def scan_summary(scores: Sequence[ScanScore]) -> dict[str, float]:
    """Means of every number over the scans that have it."""
    rows = [score.numbers() for score in scores]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _surface(mesh: PosedMesh, scans: ScanSet, index: int, settings: EvaluateSettings) -> SurfaceDistance | None:
    reader = scans.readers.get(scans.data.names[index])
    if reader is None:
        return None
    scan = reader()
    target = outer_surface(Surface(scan.vertices, scan.faces.astype(np.int64)))
    predicted = Surface(mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy())
    return surface_distance(predicted, target, settings.points, settings.seed)


def _without_points(surface: SurfaceDistance) -> dict[str, float]:
    return {name: value for name, value in asdict(surface).items() if name != "points"}
