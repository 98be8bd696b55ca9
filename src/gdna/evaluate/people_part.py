"""The part that compares random people with people never trained on, and trained people with both."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from gdna.evaluate.job import Job, noted
from gdna.evaluate.maps import Image, ViewSettings, prepared_views
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
from gdna.evaluate.sets import ScanSet
from gdna.generate.people import Person
from gdna.generate.whole import meshed


def compare_people(job: Job, evaluation: Evaluation) -> Evaluation:
    """The evaluation with a `PeopleReport` and its pictures; with a note in their place where there is nobody to
    compare with."""
    held_out = job.data.sets.get("held_out")
    if not held_out or job.network is None:
        return noted(evaluation, "People: no scans of people never trained on (held_out=FOLDER); not compared.")
    settings = job.settings
    views = prepared_views(held_out[0].data.folder, held_out[0].data.names[0], settings.views)
    network, fine = job.network, job.model.network.config.stage == "fine"
    thrown: list[int] = []
    raw, predicted, *near = generated_sets(_generated(job, views, thrown), network)
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
        sum(thrown),
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


def _generated(job: Job, views: ViewSettings, thrown: list[int]) -> Iterator[list[list[Image]]]:
    """Random people in the poses of the training scans (of the held-out ones where these are not at hand), raw and
    predicted; and as they are shown in poses near to those in which their clothes were learned, where all are known.
    Who is torn makes room, as in what `gdna generate` delivers; `thrown` is told of each how many did."""
    count = job.settings.people
    scans = job.data.people("trained", count) or job.data.people("held_out", count)
    poses = torch.stack([s.data.joint_rotations[i] for s, i in scans])
    people = draw_people(job.model, poses, count, job.settings.seed)
    trained, fine = job.data.members("trained", sys.maxsize), job.model.network.config.stage == "fine"
    near = near_poses([person for person, _ in people], trained) if trained else [None] * count
    everywhere = all(pose is not None for pose in near)

    def of_seed(further: int, number: int) -> Person:
        return draw_people(job.model, poses, count, job.settings.seed + further)[number][0]

    for k in job.track(range(count), count, "generated people", "people"):
        first, rotations = people[k]
        found = meshed(first, job.settings.mesh_resolution, partial(of_seed, number=k), geometry_of(job.settings))
        thrown.append(found.thrown)
        person, mesh = found.person, found.avatar
        pose = near[k] if person is first or not everywhere else near_poses([person], trained)[0]
        images = list(generated_images(in_pose(mesh, transforms_of(person, rotations)), views))
        if everywhere and pose is not None:
            images.append(generated_images(in_pose(mesh, transforms_of(person, pose)), views)[fine])
        yield images


def _redrawn(
    job: Job, known: Sequence[tuple[ScanSet, int]], views: ViewSettings
) -> Iterator[tuple[list[Image], list[Image]]]:
    """Trained people with their learned codes, each as in its scan."""
    for scans, i in job.track(known, len(known), "trained people", "people"):
        codes = codes_of(job.model.network, scans.person[i], scans.data.bone_transforms[i], scans.scan[i])
        person = job.model.person(scans.data.betas[i], codes.shape[0], codes.detail[0])
        transforms, how = scans.data.bone_transforms[i], geometry_of(job.settings)
        yield generated_images(reconstruct(person, transforms, job.settings.mesh_resolution, how), views)
