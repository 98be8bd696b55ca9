"""Drapes a garment over a moving body: coarse-to-fine extended position-based dynamics.

Every frame the cloth is first carried by its own skin weights, so that nothing tunnels however fast the body moves, and
then relaxed. The coarse level follows the motion; finer levels (Catmull-Clark between them) come in late and settle the
folds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from gdna.errors import GdnaError
from gdna.synthesize.collider import Collider, triangle_masks
from gdna.synthesize.contact import Contacts
from gdna.synthesize.finish import finish
from gdna.synthesize.garment import BodyPath, Fabric, Garment
from gdna.synthesize.quads import Subdivision, boundary_mask, triangulate
from gdna.synthesize.relax import Dynamics, MovingCloth
from gdna.synthesize.sheet import Sheet, make_sheets
from gdna.synthesize.tangle import tangled, untangle

__all__ = ["BodyPath", "DrapeDiagnostics", "DrapeSettings", "Draped", "Dynamics", "Fabric", "Garment", "drape"]


@dataclass(frozen=True)
class DrapeSettings:
    """How long and how finely to simulate. Tuples have an entry a level, the coarsest first."""

    levels: int = 2  # subdivisions; each quadruples the vertices
    takes_over: tuple[float, ...] = (0.0, 0.6, 0.96)  # share of the path after which a level comes in
    settle: tuple[int, ...] = (0, 8, 8)  # frames at rest after a level has walked its part of the path
    sweeps: tuple[int, ...] = (4, 2, 2)  # over the constraints, a substep; odd numbers ring
    warm_up: int = 6  # frames at rest in the start pose
    flatten: float = 0.5  # share of the modelled curvature that the cloth forgets
    dynamics: Dynamics = field(default_factory=Dynamics)


@dataclass(frozen=True)
class DrapeDiagnostics:
    """How well it went."""

    stretch_median: float
    stretch_p99: float
    tangled: float  # share of the vertices where the garment passes through itself
    seconds: float


@dataclass(frozen=True)
class Draped:
    """A garment in the last frame's pose, finest level."""

    vertices: Float[np.ndarray, "V2 3"]  # posed
    quads: Int[np.ndarray, "Q2 4"]
    skin_weights: Float[np.ndarray, "V2 J"]
    start_vertices: Float[np.ndarray, "V2 3"]  # as modelled, in the start pose
    path_vertices: Float[np.ndarray, "T V1 3"]  # along the path, one level coarser: the next layer's collider
    path_quads: Int[np.ndarray, "Q1 4"]
    diagnostics: DrapeDiagnostics


def drape(
    garment: Garment, path: BodyPath, settings: DrapeSettings | None = None, inner: Sequence[Draped] = ()
) -> Draped:
    """Drape one garment over the body and over garments already draped along the same path, innermost first.

    Raises `GdnaError` where shapes do not fit or the cloth is lost.
    """
    settings = DrapeSettings() if settings is None else settings
    _check(garment, path, settings, inner)
    began = time.perf_counter()
    sheets, steps = make_sheets(garment, path, settings.levels, settings.flatten)
    colliders = [Collider(path.vertices, path.faces, triangle_masks(path.bone_weights, path.faces))]
    colliders += [_layer(layer.path_vertices, layer.path_quads, layer) for layer in inner]
    cloth, track = _walk(garment.fabric, path, settings, sheets, steps, colliders)
    if not np.isfinite(cloth.x).all():
        raise GdnaError(f"{garment.name}: the cloth was lost (not finite); try a stiffer fabric or more substeps")
    fine = [_layer(np.broadcast_to(e.vertices, (len(track), *e.vertices.shape)), e.quads, e) for e in inner]
    cloth.contacts = Contacts([colliders[0], *fine], cloth.sheet.allowed, garment.fabric.thickness)
    finish(cloth, len(track) - 1)
    track[-1] = cloth.x[: track.shape[1]]
    return Draped(
        vertices=cloth.x,
        quads=sheets[-1].quads,
        skin_weights=sheets[-1].weights,
        start_vertices=sheets[-1].start,
        path_vertices=track,
        path_quads=sheets[max(settings.levels - 1, 0)].quads,
        diagnostics=_diagnose(cloth, began),
    )


def _walk(
    fabric: Fabric,
    path: BodyPath,
    settings: DrapeSettings,
    sheets: list[Sheet],
    steps: list[Subdivision],
    colliders: list[Collider],
) -> tuple[MovingCloth, Float[np.ndarray, "T V1 3"]]:
    """Every level walks its part of the path; returns the finest at the end, and the way there one level coarser."""
    recorded, last, frame = max(settings.levels - 1, 0), len(path.vertices) - 1, 0
    track = np.zeros((last + 1, len(sheets[recorded].start), 3))
    cloth = MovingCloth(sheets[0], fabric, path, colliders, settings.dynamics, settings.sweeps[0])
    for _ in range(settings.warm_up):
        cloth.advance(0, 0)
    for level, sheet in enumerate(sheets):
        if level > 0:
            coarser, step = cloth, steps[level - 1]
            cloth = MovingCloth(sheet, fabric, path, colliders, settings.dynamics, settings.sweeps[level])
            cloth.x = untangle(step.smooth @ coarser.x, sheet.faces, sheet.threads.ends, sheet.average)
            cloth.velocity = np.ascontiguousarray(step.linear @ coarser.velocity)
        until = last if level == settings.levels else round(settings.takes_over[level + 1] * last)
        for following in range(frame + 1, until + 1):
            track[frame] = _at_level(cloth.x, steps[level:recorded], track.shape[1])
            cloth.advance(frame, following)
            frame = following
        for _ in range(settings.settle[level]):
            cloth.advance(frame, frame)
    return cloth, track


def _at_level(x: Float[np.ndarray, "V 3"], steps: Sequence[Subdivision], count: int) -> Float[np.ndarray, "W 3"]:
    """A shape subdivided further, or cut down to the vertices of a coarser level, which come first."""
    for step in steps:
        x = step.smooth @ x
    return x[:count]


def _check(garment: Garment, path: BodyPath, settings: DrapeSettings, inner: Sequence[Draped]) -> None:
    if min(map(len, (settings.takes_over, settings.settle, settings.sweeps))) <= settings.levels:
        raise GdnaError(f"drape: takes_over, settle and sweeps need {settings.levels + 1} entries, one a level")
    if not np.array_equal(np.unique(garment.quads), np.arange(len(garment.vertices))):
        raise GdnaError(f"{garment.name}: every vertex must belong to a quad; drop the unused ones")
    for layer in inner:
        if len(layer.path_vertices) != len(path.vertices):
            raise GdnaError(
                f"{garment.name}: an inner garment was draped over {len(layer.path_vertices)} frames, this path has "
                f"{len(path.vertices)}; drape all layers over the same path"
            )


def _layer(vertices: Float[np.ndarray, "T W 3"], quads: Int[np.ndarray, "Q 4"], layer: Draped) -> Collider:
    """An inner garment as a collider, at either of its resolutions."""
    count, faces = vertices.shape[1], triangulate(quads)
    masks = triangle_masks(layer.skin_weights[:count], faces)
    return Collider(vertices, faces, masks, boundary_mask(quads, count))


def _diagnose(cloth: MovingCloth, began: float) -> DrapeDiagnostics:
    median, high = np.percentile(cloth.stretch(), (50, 99))
    cloth.own.move_to(cloth.x)
    mask = tangled(cloth.own, cloth.sheet.threads.ends)
    return DrapeDiagnostics(float(median), float(high), float(mask.mean()), time.perf_counter() - began)
