"""From a scan whose body is known to an avatar: codes, then what the settings ask for beyond them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from gdna.evaluate.surface import Surface
from gdna.extract.avatar_mesh import Geometry, MeshQuality, extract_avatar
from gdna.extract.pose import pose_mesh
from gdna.fit.codes import ShapeFit, fit_shape
from gdna.fit.details import fit_detail
from gdna.fit.evidence import Evidence, gather
from gdna.fit.measure import FitMeasures, measure
from gdna.fit.person_settings import FitSettings
from gdna.fit.progress import Guess, Watch, unwatched
from gdna.fit.refine import refine
from gdna.fit.residual import add_residual
from gdna.fit.types import Placement, RawScan, Registration
from gdna.fit.wearer import Wearer
from gdna.generate.people import Avatar, Model, Person
from gdna.types import AvatarMesh, PosedMesh

DOUBTFUL_MM = 12.0  # a fit farther from its scan is said to be unsure


@dataclass(frozen=True, eq=False)
class FittedAvatar:
    """A person of the model that looks like the scan, in the scan's pose."""

    person: Person  # with a mesh of its own where codes alone do not make it
    avatar: Avatar = field(repr=False)  # canonical
    wearer: Wearer = field(repr=False)  # the body, in the scan's pose
    placement: Placement  # from the scan file's frame to the body's
    evidence: Evidence = field(repr=False)
    measures: FitMeasures
    sure: bool
    reason: str  # why not sure; empty if it is
    seconds: float

    @property
    def posed(self) -> PosedMesh:
        """The avatar in the scan's pose, in the body's frame."""
        return posed_mesh(self.avatar, self.wearer)

    def on_scan(self) -> PosedMesh:
        """The avatar in the scan's pose, in the frame and unit of the scan's file."""
        posed, placement = self.posed, self.placement
        rotation = torch.from_numpy(placement.rotation).to(posed.vertices)
        shift = torch.from_numpy(placement.translation).to(posed.vertices)
        vertices = (posed.vertices - shift) @ rotation / placement.scale
        return PosedMesh(vertices, posed.faces, posed.normals @ rotation)


@dataclass(frozen=True, eq=False)
class FoundCodes:
    """A scan's codes, with the model as it is."""

    shape: ShapeFit
    guess: Guess = field(repr=False)  # with the detail code

    def person(self, model: Model) -> Person:
        """Of these codes."""
        shape = self.shape
        return model.person(shape.wearer.betas, shape.z_shape, self.guess.subject.detail[0], shape.styles)


def fit_person(
    model: Model,
    raw: RawScan,
    registration: Registration,
    settings: FitSettings | None = None,
    watch: Watch = unwatched,
    given: bool = True,
) -> FittedAvatar:
    """The codes that explain the scan; with `settings.refine` networks tuned to it, with `settings.residual` its own
    geometry. `given`: the body was not found but is known, so hardly off.

    Raises `GdnaError` where scan and body do not belong together, or model and body.
    """
    started, settings = time.monotonic(), settings or FitSettings()
    found = find_codes(model, raw, registration, settings, watch, given)
    return finish(model, found, registration, settings, watch, started)


def find_codes(
    model: Model, raw: RawScan, registration: Registration, settings: FitSettings, watch: Watch, given: bool
) -> FoundCodes:
    """The first part of `fit_person`: shape code, styles, pose, detail code."""
    network, wearer = model.network, Wearer.of(model.body, registration.body)
    evidence = _gather(raw, registration.placement, wearer, settings)
    shape = fit_shape(network, wearer, evidence, settings, settings.tolerance(given), watch)
    with torch.no_grad():
        subject = network.subject(shape.codes(network.z_details.weight.mean(0)), wearer.betas[None])
    guess = Guess(network, subject, shape.wearer, evidence)
    detail = fit_detail(guess, settings, watch)
    return FoundCodes(shape, replace(guess, subject=replace(subject, detail=detail[None])))


def finish(
    model: Model, found: FoundCodes, registration: Registration, settings: FitSettings, watch: Watch, started: float
) -> FittedAvatar:
    """The second part: what the settings ask for beyond codes, the mesh, and how near it is. `started` as
    `time.monotonic` tells it."""
    guess = refine(found.guess, settings, watch) if settings.refine else found.guess
    wearer, evidence = guess.wearer, guess.evidence
    geometry: Geometry = "coarse" if settings.refine or settings.residual else "fine"  # what the scan has, or predicted
    mesh = mesh_of(guess, settings.resolution, geometry)
    if settings.residual:
        mesh = add_residual(mesh, wearer.transforms(), evidence, settings.reach, watch)
    if settings.refine or settings.residual:  # such a mesh travels in files, and what sees poses cannot
        mesh = replace(mesh, normals_in=None)
    own = mesh if settings.refine or settings.residual else None
    posed = posed_mesh(mesh, wearer)
    fit = Surface(posed.vertices.cpu().double().numpy(), posed.faces.cpu().numpy())
    measures = measure(fit, evidence, settings.report_points, settings.seed)
    far = measures.scan_to_pred_mm > DOUBTFUL_MM
    reason = f"the scan is {measures.scan_to_pred_mm:.0f} mm from the fit on average; try refine=true" if far else ""
    return FittedAvatar(
        replace(found.person(model), own_mesh=own), Avatar(**vars(mesh)), wearer, registration.placement, evidence,
        measures, registration.sure and not far, registration.reason or reason, time.monotonic() - started,
    )  # fmt: skip


def mesh_of(guess: Guess, resolution: int, geometry: Geometry = "coarse") -> AvatarMesh:
    """The canonical mesh of a guess."""
    wearer = guess.wearer
    skin, joints = wearer.vertices_canonical, wearer.joints_canonical
    quality = MeshQuality(geometry)
    return extract_avatar(guess.network, guess.subject, skin, joints, wearer.parents, resolution, quality)


def posed_mesh(mesh: AvatarMesh, wearer: Wearer) -> PosedMesh:
    """The mesh in the wearer's pose."""
    return next(iter(pose_mesh(mesh, wearer.transforms()[None])))


def _gather(raw: RawScan, placement: Placement, wearer: Wearer, settings: FitSettings) -> Evidence:
    rng = np.random.default_rng(settings.seed)
    body = Surface(wearer.vertices().cpu().double().numpy(), wearer.faces.cpu().numpy())
    return gather(raw, placement, body, settings.samples, rng)
