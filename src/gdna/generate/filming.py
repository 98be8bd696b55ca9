"""Pictures of people, frame after frame, several people at a time.

A mesh is made anew only where shape code or betas changed; new details are only new normals; the rest is skinning.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import UInt8

from gdna.extract.avatar_mesh import with_details
from gdna.generate.animation import animate
from gdna.generate.modes import Frame
from gdna.generate.people import Avatar, Person
from gdna.generate.whole import Instead, Meshed, meshed
from gdna.render.camera import Orthographic
from gdna.render.shade import render_pair
from gdna.types import Motion

Image = UInt8[np.ndarray, "H W2 3"]
HALF_WIDTH, CENTRE = 1.15, (0.0, -0.2, 0.0)  # metres: tall people with their hands up stay in view
FRAMES_AT_ONCE = 8  # of one person, per task
TASKS_AHEAD = 2  # per worker


@dataclass(frozen=True)
class Shot:
    """A frame's picture, shaded with normals beside it, and who is seen."""

    image: Image
    seen: Meshed


def film(frames: Sequence[Frame], resolution: int, camera: Orthographic, workers: int = 1) -> Iterator[Shot]:
    """The frames' pictures, in order. They do not depend on `workers`.

    Raises `GdnaError` where a person has no surface.
    """
    with _workers(workers) as pool:
        cast = Cast(pool, resolution)
        tasks: deque[Future[list[Shot]]] = deque()
        for person, run in groupby(frames, key=lambda frame: frame.person):
            poses = list(run)
            seen = cast.meshed(person, poses[0].instead)
            for start in range(0, len(poses), FRAMES_AT_ONCE):
                tasks.append(pool.submit(_shoot, seen, poses[start : start + FRAMES_AT_ONCE], camera))
                while len(tasks) > TASKS_AHEAD * workers:
                    yield from tasks.popleft().result()
        for task in tasks:
            yield from task.result()


class Cast:
    """People's meshes in the making. Remembers the last one, for people of the same shape."""

    def __init__(self, pool: ThreadPoolExecutor, resolution: int) -> None:
        self.pool, self.resolution = pool, resolution
        self._last: tuple[Person, Future[Meshed]] | None = None

    def meshed(self, person: Person, instead: Instead | None) -> Future[Meshed]:
        """The person, or whoever comes in their place (see `gdna.generate.whole`)."""
        if instead is None and self._last is not None and _same_shape(self._last[0], person):
            return self.pool.submit(_with_details_of, self._last[1], person)
        seen = self.pool.submit(meshed, person, self.resolution, instead)  # coarse: folds are drawn by normals
        self._last = (person, seen) if instead is None else None
        return seen


def with_details_of(avatar: Avatar, person: Person) -> Avatar:
    """The mesh with the normals of a person of the same shape code and betas."""
    network = person.model.network
    if network.config.stage != "fine":
        return avatar
    subject = network.subject(person.codes, person.betas[None])
    return Avatar(**vars(with_details(network, subject, avatar)))


def film_camera(image_size: int) -> Orthographic:
    """Sees a whole dancer; the critic's camera is nearer."""
    return Orthographic(HALF_WIDTH, CENTRE, image_size)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shoot(seen: Future[Meshed], poses: Sequence[Frame], camera: Orthographic) -> list[Shot]:
    rotations = torch.stack([pose.joint_rotations for pose in poses])
    translation = torch.stack([pose.translation for pose in poses])
    motion = Motion("film", rotations, translation, 1.0)
    return [Shot(render_pair(mesh, camera), seen.result()) for mesh in animate(seen.result().avatar, motion)]


def _with_details_of(seen: Future[Meshed], person: Person) -> Meshed:
    return Meshed(person, with_details_of(seen.result().avatar, person))


def _same_shape(one: Person, other: Person) -> bool:
    pairs = ((one.z_shape, other.z_shape), (one.betas, other.betas), (one.layer_styles, other.layer_styles))
    same = all(torch.equal(a, b) for a, b in pairs)
    return same and one.own_mesh is None and other.own_mesh is None


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute on one core each: people are independent, so no core waits for another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if count > 1 else before)
    # A picture waits for its mesh in a thread of its own; were there only `count`, those would keep meshes waiting.
    pool = ThreadPoolExecutor(2 * count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
