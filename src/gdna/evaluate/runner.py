"""From a model and its scans to an `Evaluation`, part by part."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gdna.evaluate.features import FeatureNetwork, feature_network
from gdna.evaluate.health import HealthReport, check_person
from gdna.evaluate.job import EvaluationData, Job, Share, Track, noted
from gdna.evaluate.maps import Image, ViewSettings
from gdna.evaluate.merge import SHOWN as RECONSTRUCTED
from gdna.evaluate.merge import merged
from gdna.evaluate.metrics import codes_of
from gdna.evaluate.people_part import compare_people
from gdna.evaluate.report import Evaluation
from gdna.evaluate.scans import ScanPicture, ScanScore, scan_codes, score_scan
from gdna.evaluate.sets import KINDS, Kind, evenly
from gdna.evaluate.settings import EvaluateSettings
from gdna.evaluate.skinning import SkinningError, skinning_error
from gdna.evaluate.stability import clip_of, mean_stability, stability
from gdna.evaluate.variety import (
    Changed,
    CodeEffect,
    VarietyReport,
    effect_of,
    folds_replaced,
    mean_effect,
    neutral_people,
    surface_diversity,
)
from gdna.generate.people import Model, Person

__all__ = ["EvaluationData", "Share", "evaluate", "measure"]

CHANGED = 4  # people whose codes are changed
MOVING = 4  # people who play a clip
DIVERSE = 12  # people whose surfaces are compared, pair by pair
VARIETY_VIEWS = ViewSettings((0, 1, 2, 3), 8, 256)  # front to side and beyond; the other half mirrors the outlines


def evaluate(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    network: FeatureNetwork | None = None,
    track: Track = lambda items, *_: items,
) -> Evaluation:
    """Measure what `settings.parts` name, as far as the data allow. `network`: any local module as the features of
    normal maps; by default as the settings say. Raises `GdnaError` where nothing can be measured."""
    return merged([measure(model, data, settings, network, track)])


def measure(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    network: FeatureNetwork | None = None,
    track: Track = lambda items, *_: items,
    share: Share | None = None,
) -> Evaluation:
    """One process's share of `evaluate`, to be `merged` with the others'; it may be empty."""
    evaluation, share = Evaluation(model.name, settings), share or Share()
    parts = {
        "people": compare_people, "scans": _scans, "variety": _variety, "health": _health, "skinning": _skinning,
        "motion": _motion,
    }  # fmt: skip
    names = [name for name in settings.parts if share.has(name)]
    if network is None and "people" in names and data.sets.get("held_out"):
        network = feature_network(settings.inception, model.device)  # what is missing is said before the long work
    job = Job(model, data, settings, network, track, share)
    for name in names:
        evaluation = parts[name](job, evaluation)
    return evaluation


def _scans(job: Job, evaluation: Evaluation) -> Evaluation:
    scores: dict[Kind, tuple[ScanScore, ...]] = {}
    pictures: dict[Kind, tuple[ScanPicture, ...]] = {}
    for kind in KINDS:
        members = job.members(kind)
        known = list(zip(members, scan_codes(job.model, members, job.settings), strict=True))
        tracked = job.track(known, len(known), f"{kind} scans", "scans")
        done = [score_scan(job.model, scans, index, codes, job.settings) for (scans, index), codes in tracked]
        if done:
            scores[kind] = tuple(score for score, _ in done)
            pictures[kind] = tuple(picture for _, picture in done[:RECONSTRUCTED])
    if not any(job.data.sets.get(kind) for kind in KINDS):
        return noted(evaluation, "Scans: no prepared scans at hand; nothing was reconstructed.")
    shown = replace(evaluation.pictures, scans=pictures)
    evaluation = replace(evaluation, scans=scores, pictures=shown)
    if any(s.surface is None for of_kind in scores.values() for s in of_kind):
        return noted(evaluation, "Scans: some of the scans themselves are not at hand; no distances of these.")
    return evaluation


def _variety(job: Job, evaluation: Evaluation) -> Evaluation:
    model, settings = job.model, job.settings
    drawn = model.sample(2 * min(CHANGED, settings.people // 2), settings.seed)
    resolution = settings.mesh_resolution
    images: list[Image] = []
    details: list[CodeEffect] = []
    shapes: list[CodeEffect] = []
    by_betas, by_person = [], []
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    for base, other in job.track(pairs, len(pairs), "changed codes", "people"):
        changed = Changed.of(base, other)
        mesh, detailed, reshaped, rebodied, stranger = (
            p.mesh(resolution, "coarse") for p in (base, changed.z_detail, changed.z_shape, changed.betas, other)
        )
        for effects, now in ((details, detailed), (shapes, reshaped)):
            effect, seen = effect_of(mesh, now, VARIETY_VIEWS)
            effects.append(effect)
            images += seen
        images += effect_of(mesh, rebodied, VARIETY_VIEWS)[1]
        by_betas.append(folds_replaced(base, mesh, changed.betas, rebodied))
        by_person.append(folds_replaced(base, mesh, other, stranger))
    count = min(DIVERSE, settings.people, model.num_people)
    trained = [model.training_person(i, own_betas=False) for i in evenly(model.num_people, count)]
    strangers = neutral_people(model, model.sample(count, settings.seed + 1))
    everyone = job.track([*strangers, *trained], 2 * count, "neutral people", "people")
    meshes = [person.mesh(resolution, "coarse") for person in everyone]
    report = VarietyReport(
        surface_diversity(meshes[:count], settings.seed),
        surface_diversity(meshes[count:], settings.seed),
        mean_effect(details),
        mean_effect(shapes),
        sum(by_betas) / len(by_betas),
        sum(by_person) / len(by_person),
    )
    return replace(evaluation, variety=report, pictures=replace(evaluation.pictures, codes=tuple(images)))


def _health(job: Job, evaluation: Evaluation) -> Evaluation:
    settings, model = job.settings, job.model
    if not (people := job.share.of(list(enumerate(model.sample(settings.samples, settings.seed))))):
        return evaluation
    tracked = job.track(people, len(people), "health", "people")
    resolution = settings.health_resolution or settings.mesh_resolution

    def of_seed(further: int, number: int) -> Person:
        return model.sample(settings.samples, settings.seed + further)[number]

    checked = (check_person(person, resolution, partial(of_seed, number=number)) for number, person in tracked)
    report = HealthReport(tuple(checked))
    return replace(evaluation, health=report)


def _skinning(job: Job, evaluation: Evaluation) -> Evaluation:
    errors: dict[Kind, tuple[SkinningError, ...]] = {}
    for kind in ("trained", "poses"):
        members = job.members(kind)
        if members:
            network = job.model.network
            codes = [codes_of(network, s.person[i], s.data.bone_transforms[i], s.scan[i]) for s, i in members]
            known = zip(members, codes, strict=True)
            errors[kind] = tuple(skinning_error(network, s.data, i, c) for (s, i), c in known)
    if not any(job.data.sets.get(kind) for kind in ("trained", "poses")):
        return noted(evaluation, "Skinning: no scans of trained people at hand; weights were not compared.")
    return replace(evaluation, skinning=errors)


def _motion(job: Job, evaluation: Evaluation) -> Evaluation:
    settings = job.settings
    if job.model.network.config.stage != "fine":
        return noted(evaluation, "Motion: the model predicts no normals; their stability was not measured.")
    people, clip = job.model.sample(min(MOVING, settings.people), settings.seed), clip_of(settings.motion)
    tracked = job.track(people, len(people), settings.motion, "people")
    rows = [stability(person.mesh(settings.mesh_resolution, "coarse"), clip) for person in tracked]
    return replace(evaluation, motion=mean_stability(rows))
