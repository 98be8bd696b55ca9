"""From a model and its scans to an `Evaluation`, part by part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch

from gdna.data.sharding import shard
from gdna.evaluate.features import FeatureNetwork, feature_network
from gdna.evaluate.health import HealthReport, check_person
from gdna.evaluate.maps import Image, ViewSettings, prepared_views
from gdna.evaluate.merge import SHOWN as RECONSTRUCTED
from gdna.evaluate.merge import merged
from gdna.evaluate.metrics import codes_of
from gdna.evaluate.people import (
    SHOWN,
    PeopleReport,
    compare_sets,
    draw_people,
    feature_set,
    generated_images,
    generated_sets,
    near_poses,
    neighbours,
    scan_images,
    transforms_of,
)
from gdna.evaluate.reconstruct import geometry_of, in_pose, reconstruct
from gdna.evaluate.report import Evaluation
from gdna.evaluate.scans import ScanPicture, ScanScore, scan_codes, score_scan
from gdna.evaluate.sets import KINDS, Kind, ScanSet, evenly, one_each
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

Track = Callable[[Iterable[Any], int, str, str], Iterable[Any]]
"""Passes items on and may tell of their progress: items, how many, what they are, their unit."""

T = TypeVar("T")
WHOLE = ("people", "variety", "motion")  # parts that no processes share

CHANGED = 4  # people whose codes are changed
MOVING = 4  # people who play a clip
DIVERSE = 12  # people whose surfaces are compared, pair by pair
VARIETY_VIEWS = ViewSettings((0, 1, 2, 3), 8, 256)  # front to side and beyond; the other half mirrors the outlines


@dataclass(frozen=True)
class EvaluationData:
    """Scans of each kind; a kind may be missing."""

    sets: Mapping[Kind, Sequence[ScanSet]] = field(default_factory=dict)

    def members(self, kind: Kind, limit: int) -> list[tuple[ScanSet, int]]:
        """At most `limit` scans of a kind, evenly spread, each as its set and its number there."""
        every = [(scans, i) for scans in self.sets.get(kind, ()) for i in range(len(scans))]
        return [every[i] for i in evenly(len(every), limit)]

    def people(self, kind: Kind, limit: int) -> list[tuple[ScanSet, int]]:
        """As `members`, of different people as far as there are."""
        every = [(scans, i) for scans in self.sets.get(kind, ()) for i in range(len(scans))]
        return [every[i] for i in one_each([scans.data.names[i] for scans, i in every], limit)]


@dataclass(frozen=True)
class Share:
    """Of work that `total` processes do, what number `index` does: scans and health are split among all of them, any
    other part is one process's."""

    total: int = 1
    index: int = 0

    def of(self, items: Sequence[T]) -> list[T]:
        """Its block of the items."""
        return shard(items, self.total, self.index)

    def has(self, part: str) -> bool:
        """Whether the process has to do with a part at all."""
        return part not in WHOLE or WHOLE.index(part) % self.total == self.index


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
        "people": _people, "scans": _scans, "variety": _variety, "health": _health, "skinning": _skinning,
        "motion": _motion,
    }  # fmt: skip
    names = [name for name in settings.parts if share.has(name)]
    if network is None and "people" in names and data.sets.get("held_out"):
        network = feature_network(settings.inception, model.device)  # what is missing is said before the long work
    job = _Job(model, data, settings, network, track, share)
    for name in names:
        evaluation = parts[name](job, evaluation)
    return evaluation


@dataclass(frozen=True)
class _Job:
    model: Model
    data: EvaluationData
    settings: EvaluateSettings
    network: FeatureNetwork | None
    track: Track
    share: Share

    def members(self, kind: Kind) -> list[tuple[ScanSet, int]]:
        """This process's scans of a kind."""
        return self.share.of(self.data.members(kind, self.settings.scans))


def _noted(evaluation: Evaluation, note: str) -> Evaluation:
    return replace(evaluation, notes=(*evaluation.notes, note))


def _people(job: _Job, evaluation: Evaluation) -> Evaluation:
    held_out = job.data.sets.get("held_out")
    if not held_out or job.network is None:
        return _noted(evaluation, "People: no scans of people never trained on (held_out=FOLDER); not compared.")
    settings = job.settings
    views = prepared_views(held_out[0].data.folder, held_out[0].data.names[0], settings.views)
    network, fine = job.network, job.model.network.config.stage == "fine"
    raw, predicted, *near = generated_sets(_generated(job, views), network)
    shown = predicted if fine else raw
    real = feature_set(scan_images(job.data.people("held_out", settings.people), views), network)
    known = job.data.people("trained", settings.people)
    trained = feature_set(scan_images(known, views), network) if known else None
    redrawn = generated_sets(_redrawn(job, known, views), network)[fine] if known else None
    diversity = {"raw": raw.diversity()} | ({"normals": predicted.diversity()} if fine else {})
    report = PeopleReport(
        network.name,
        network.frechet_name,
        network.kernel_name,
        compare_sets(raw, real),
        compare_sets(predicted, real) if fine else None,
        compare_sets(near[0], real) if near else None,
        compare_sets(trained, real) if trained else None,
        compare_sets(redrawn, real) if redrawn else None,
        diversity | ({"scans": trained.diversity()} if trained else {}),
    )
    fronts = zip(raw.front[: 3 * SHOWN], predicted.front, strict=False)
    pictures = replace(
        evaluation.pictures,
        generated=tuple(image for pair in fronts for image in pair),
        held_out=real.front[: 3 * SHOWN],
        neighbours=neighbours(shown, trained) if trained else None,
    )
    notes: tuple[str, ...] = () if trained else ("People: no training scans; no floor and no neighbours.",)
    for name, scans in (("training", trained), ("held-out", real)):
        if scans is not None and len(scans.front) != len(raw.front):
            few = f"People: {len(scans.front)} {name} scans beside {len(raw.front)} generated people"
            notes += (f"{few}; the fewer images, the larger the distances.",)
    return replace(evaluation, people=report, pictures=pictures, notes=(*evaluation.notes, *notes))


def _generated(job: _Job, views: ViewSettings) -> Iterator[list[list[Image]]]:
    """Random people in the poses of the training scans (of the held-out ones where these are not at hand), raw and
    predicted; and as they are shown in poses near to those in which their clothes were learned, where all are known."""
    count = job.settings.people
    scans = job.data.people("trained", count) or job.data.people("held_out", count)
    poses = torch.stack([s.data.joint_rotations[i] for s, i in scans])
    people = draw_people(job.model, poses, count, job.settings.seed)
    trained, fine = job.data.members("trained", sys.maxsize), job.model.network.config.stage == "fine"
    near = near_poses([person for person, _ in people], trained) if trained else [None] * count
    everywhere = all(pose is not None for pose in near)
    numbered = job.track(range(count), count, "generated people", "people")
    for person, rotations, pose in ((*people[k], near[k]) for k in numbered):
        mesh = person.mesh(job.settings.mesh_resolution, geometry_of(job.settings))
        images = list(generated_images(in_pose(mesh, transforms_of(person, rotations)), views))
        if everywhere and pose is not None:
            images.append(generated_images(in_pose(mesh, transforms_of(person, pose)), views)[fine])
        yield images


def _redrawn(
    job: _Job, known: Sequence[tuple[ScanSet, int]], views: ViewSettings
) -> Iterator[tuple[list[Image], list[Image]]]:
    """Trained people with their learned codes, each as in its scan."""
    for scans, i in job.track(known, len(known), "trained people", "people"):
        codes = codes_of(job.model.network, scans.person[i], scans.data.bone_transforms[i], scans.scan[i])
        person = job.model.person(scans.data.betas[i], codes.shape[0], codes.detail[0])
        transforms, how = scans.data.bone_transforms[i], geometry_of(job.settings)
        yield generated_images(reconstruct(person, transforms, job.settings.mesh_resolution, how), views)


def _scans(job: _Job, evaluation: Evaluation) -> Evaluation:
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
        return _noted(evaluation, "Scans: no prepared scans at hand; nothing was reconstructed.")
    shown = replace(evaluation.pictures, scans=pictures)
    evaluation = replace(evaluation, scans=scores, pictures=shown)
    if any(s.surface is None for of_kind in scores.values() for s in of_kind):
        return _noted(evaluation, "Scans: some of the scans themselves are not at hand; no distances of these.")
    return evaluation


def _variety(job: _Job, evaluation: Evaluation) -> Evaluation:
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


def _health(job: _Job, evaluation: Evaluation) -> Evaluation:
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


def _skinning(job: _Job, evaluation: Evaluation) -> Evaluation:
    errors: dict[Kind, tuple[SkinningError, ...]] = {}
    for kind in ("trained", "poses"):
        members = job.members(kind)
        if members:
            network = job.model.network
            codes = [codes_of(network, s.person[i], s.data.bone_transforms[i], s.scan[i]) for s, i in members]
            known = zip(members, codes, strict=True)
            errors[kind] = tuple(skinning_error(network, s.data, i, c) for (s, i), c in known)
    if not any(job.data.sets.get(kind) for kind in ("trained", "poses")):
        return _noted(evaluation, "Skinning: no scans of trained people at hand; weights were not compared.")
    return replace(evaluation, skinning=errors)


def _motion(job: _Job, evaluation: Evaluation) -> Evaluation:
    settings = job.settings
    if job.model.network.config.stage != "fine":
        return _noted(evaluation, "Motion: the model predicts no normals; their stability was not measured.")
    people, clip = job.model.sample(min(MOVING, settings.people), settings.seed), clip_of(settings.motion)
    tracked = job.track(people, len(people), settings.motion, "people")
    rows = [stability(person.mesh(settings.mesh_resolution, "coarse"), clip) for person in tracked]
    return replace(evaluation, motion=mean_stability(rows))
