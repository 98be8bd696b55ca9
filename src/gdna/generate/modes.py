"""The six evaluation modes: who is seen in which pose, frame by frame.

What changes in a mode follows the original; interp and sample may also change body shapes (`random_betas`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.generate.people import Model, Person
from gdna.generate.settings import Base, EvalMode
from gdna.generate.whole import Instead
from gdna.types import Motion

BETAS_FRAMES = 40
BETAS_PATH = (0.0, -2.0, 0.0, 2.0, 0.0)


@dataclass(frozen=True)
class Frame:
    """One person in one pose. `key`: not in between two others, so worth keeping. `instead`: who comes in the person's
    place if the mesh is torn (None: nobody)."""

    person: Person
    joint_rotations: Float[Tensor, "J 3"]
    translation: Float[Tensor, " 3"]
    key: bool
    instead: Instead | None = None


@dataclass(frozen=True)
class Scene:
    """What the modes draw from. `motion` plays at the film's frame rate; `start` is the person given by the user."""

    model: Model
    motion: Motion
    start: Person | None
    frames: int
    segment: int
    random_betas: bool
    novelty: float  # of random people
    generator: torch.Generator
    base_kind: Base = Base.typical

    @property
    def base(self) -> Person:
        """Whom the modes show that change one thing only."""
        if self.start is not None:
            return self.start
        return self.model.mean_person() if self.base_kind is Base.mean else self.model.typical_person()


def interp(scene: Scene) -> Iterator[Frame]:
    """Identity, detail, body shape and pose all change: from one training person to the next while dancing."""
    walk = islice(_walk(scene, lambda someone: someone), scene.frames)
    poses = back_and_forth(len(scene.motion.translation), scene.frames)
    for (person, key), pose in zip(walk, poses, strict=True):
        yield Frame(person, scene.motion.joint_rotations[pose], scene.motion.translation[pose], key)


def z_shape(scene: Scene) -> Iterator[Frame]:
    """Only the shape code changes, between training people's; detail and body of the base person, zero
    pose."""
    base = scene.base
    return _standing(scene, lambda someone: base.with_codes(z_shape=someone.z_shape))


def z_detail(scene: Scene) -> Iterator[Frame]:
    """Only the detail code changes, between training people's; shape and body of the base person, zero
    pose."""
    base = scene.base
    return _standing(scene, lambda someone: base.with_codes(z_detail=someone.z_detail))


def betas(scene: Scene) -> Iterator[Frame]:
    """Only the body's first shape parameter changes: 0, -2, 0, 2, 0, ten frames each way; zero pose. Fewer frames are
    spread over the whole way."""
    base = scene.base
    way = torch.cat([torch.linspace(a, b, BETAS_FRAMES // 4) for a, b in pairwise(BETAS_PATH)])
    for step in np.linspace(0, len(way) - 1, min(scene.frames, len(way))).round().astype(int).tolist():
        changed = base.betas.clone()
        changed[0] = way[step]
        yield _zero_pose(base.with_codes(betas=changed), key=step == 0 or abs(float(way[step])) == max(BETAS_PATH))


def thetas(scene: Scene) -> Iterator[Frame]:
    """Only the pose changes: one person plays the motion once."""
    person = scene.base
    for number in range(min(scene.frames, len(scene.motion.translation))):
        yield Frame(person, scene.motion.joint_rotations[number], scene.motion.translation[number], key=number == 0)


def sample(scene: Scene) -> Iterator[Frame]:
    """Random people (or the one given), each in a random pose of the motion. Who is torn makes room for the person of
    the same number of the next seed."""
    seed = scene.generator.initial_seed()
    drawn = scene.model.draw(scene.frames, scene.generator, scene.random_betas, scene.novelty)
    poses = torch.randint(len(scene.motion.translation), (scene.frames,), generator=scene.generator)

    def of_seed(further: int, number: int) -> Person:
        return scene.model.sample(scene.frames, seed + further, scene.random_betas, scene.novelty)[number]

    for number, pose in enumerate(poses.tolist()):
        rotations, translation = scene.motion.joint_rotations[pose], scene.motion.translation[pose]
        if scene.start:
            yield Frame(scene.start, rotations, translation, key=number == 0)
        else:
            yield Frame(drawn[number], rotations, translation, True, partial(of_seed, number=number))


MODES: dict[EvalMode, Callable[[Scene], Iterator[Frame]]] = {
    EvalMode.interp: interp,
    EvalMode.z_shape: z_shape,
    EvalMode.z_detail: z_detail,
    EvalMode.betas: betas,
    EvalMode.thetas: thetas,
    EvalMode.sample: sample,
}


def _standing(scene: Scene, change: Callable[[Person], Person]) -> Iterator[Frame]:
    for person, key in islice(_walk(scene, change), scene.frames):
        yield _zero_pose(person, key)


def _walk(scene: Scene, change: Callable[[Person], Person]) -> Iterator[tuple[Person, bool]]:
    """Without end, from one random training person towards the next in `segment` steps; which of them is no mixture."""
    index = _random_index(scene, None)
    here = scene.start or change(_training_person(scene, index))
    while True:
        index = _random_index(scene, index)
        there = change(_training_person(scene, index))
        for step in range(scene.segment):
            yield here.blend(there, step / scene.segment), step == 0
        here = there


def _training_person(scene: Scene, index: int) -> Person:
    return scene.model.training_person(index, own_betas=scene.random_betas)


def _random_index(scene: Scene, last: int | None) -> int:
    """Anyone but the last."""
    count = scene.model.num_people
    if last is None or count == 1:
        return int(torch.randint(count, (), generator=scene.generator))
    return (last + 1 + int(torch.randint(count - 1, (), generator=scene.generator))) % count


def back_and_forth(length: int, count: int) -> list[int]:
    """`count` frame numbers of a clip of `length` frames that turns round at its ends."""
    period = max(2 * (length - 1), 1)
    return [min(n % period, period - n % period) if length > 1 else 0 for n in range(count)]


def _zero_pose(person: Person, key: bool) -> Frame:
    joints = len(person.model.body.parents)
    return Frame(person, torch.zeros(joints, 3), torch.zeros(3), key)
