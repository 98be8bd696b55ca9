"""The body alone into a raw scan, from scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.errors import GdnaError
from gdna.fit.cleaning import person_points
from gdna.fit.clothing import by_bone
from gdna.fit.limbs import LIMBS, joined, turned_round, with_limb
from gdna.fit.pose_library import library_poses, pose_prior
from gdna.fit.puppet import Puppet, State
from gdna.fit.sampling import surface_points
from gdna.fit.search import best_starts, unlike
from gdna.fit.settings import AXES, UNITS, RegisterSettings
from gdna.fit.solve import Solver, Stage, Target
from gdna.fit.types import Placement, RawScan, Registration
from gdna.fit.verdict import Verdict, judge
from gdna.geometry.rotations import matrix_to_axis_angle
from gdna.types import BodyParams

Progress = Callable[[str, float], None]

SAMPLES = 20_000  # points from which the person is told from the rest
FEWEST = 300  # points of a person
TYPICAL_SIZE = 0.48  # metres; root mean square distance of a person's surface from its middle
SIZES = (0.2, 0.8)  # metres; the same, of anybody in any pose and of parts of them
HEIGHTS = (0.85, 1.15)  # of people, of the average body's
GUESSES = (0.75, 1.3)  # of the scale, where the unit is not known
SEARCHED = 100  # points of the scan in the search
LIMB_POSES = 288
LIMB_ROUNDS = 2


def register_body(
    raw: RawScan, body: BodyModel, settings: RegisterSettings | None = None, progress: Progress | None = None
) -> Registration:
    """Where the body lies in the scan, and how sure that is; `progress` is told what is done and the current cost.

    Raises `GdnaError` where too few points are left of a person.
    """
    settings = settings or RegisterSettings()
    tell = progress or (lambda _what, _cost: None)
    cast = Cast.of(body, settings.num_betas)
    frame = _frame(raw, settings, body.faces.device)
    with torch.no_grad():
        found = _found(cast, frame, settings, tell)
        return _registration(cast, frame, found, body)


@dataclass(frozen=True)
class Cast:
    """The body with few, more and many points."""

    small: Puppet
    middle: Puppet
    large: Puppet

    @staticmethod
    def of(body: BodyModel, num_betas: int) -> Cast:
        _, _, density = by_bone(body.parents)
        even = torch.ones_like(density)
        sizes = ((130, even), (700, density), (2500, density))
        return Cast(*(Puppet.of(body, count, num_betas, dense) for count, dense in sizes))


@dataclass(frozen=True)
class Frame:
    """The person's points about their middle, in metres as far as the unit is known; orientation is the file's."""

    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"] | None
    eye: Float[Tensor, " 3"] | None
    centre: Float[np.ndarray, " 3"]
    unit: float  # file to frame
    free_scale: bool

    def target(self, count: int) -> Target:
        kept = slice(0, count)
        return Target(self.points[kept], None if self.normals is None else self.normals[kept], self.eye)


@dataclass(frozen=True)
class Found:
    state: State  # of one
    axis: Float[Tensor, "3 3"]  # from the frame to y up
    verdict: Verdict


def _frame(raw: RawScan, settings: RegisterSettings, device: torch.device) -> Frame:
    points, normals = surface_points(raw, SAMPLES, settings.seed)
    person = person_points(points) if len(points) >= FEWEST else np.ones(len(points), bool)
    if person.sum() < FEWEST:
        raise GdnaError(f"{raw.name}: {int(person.sum())} points of a person, expected at least {FEWEST}; is it one?")
    order = np.random.default_rng(settings.seed).permutation(np.flatnonzero(person))
    points = points[order]
    centre = points.mean(0)
    size = float(np.sqrt(((points - centre) ** 2).sum(1).mean()))
    unit, free = _unit(size, settings)

    def tensor(values: Float[np.ndarray, "*n"]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    return Frame(
        points=tensor((points - centre) * unit),
        normals=None if normals is None else tensor(normals[order]),
        eye=None if raw.eye is None else tensor((raw.eye - centre) * unit),
        centre=centre,
        unit=unit,
        free_scale=free,
    )


def _unit(size: float, settings: RegisterSettings) -> tuple[float, bool]:
    """Metres in the file's unit, and whether that is a guess to be fitted."""
    if settings.unit in UNITS:
        return UNITS[settings.unit], False
    if settings.unit == "auto":
        for metres in UNITS.values():
            if SIZES[0] < size * metres < SIZES[1]:
                return metres, False
    return TYPICAL_SIZE / size, True


def up_rotations(up: str) -> Float[Tensor, "A 3 3"]:
    """Rotations that take the axis that points up onto +y; all six for "auto"."""
    return torch.stack([_up_rotation(axis) for axis in (AXES if up == "auto" else (up,))])


def _up_rotation(axis: str) -> Float[Tensor, "3 3"]:
    rotation = torch.zeros(3, 3)
    index, sign = "xyz".index(axis[1]), 1.0 if axis[0] == "+" else -1.0
    rotation[1, index] = sign
    rotation[0, (index + 2) % 3] = 1.0
    rotation[2] = torch.linalg.cross(rotation[0], rotation[1])
    return rotation


def _found(cast: Cast, frame: Frame, settings: RegisterSettings, tell: Progress) -> Found:
    axes = up_rotations(settings.up).to(frame.points)
    scales = GUESSES if frame.free_scale else HEIGHTS
    starts = best_starts(cast.small, frame.target(SEARCHED), axes, scales, 400)
    tell("searched", float(starts.cost[0]))
    chosen = unlike(cast.small, starts.state, starts.cost, settings.starts, 0.06)
    state, axis = starts.state[chosen], starts.axis[chosen]
    if not frame.free_scale:
        state = State(state.rotations, state.betas, state.translation, torch.ones_like(state.scale))
    free = frame.free_scale
    solver = Solver(cast.middle, frame.target(600), pose_prior())
    state = _run(solver, state, [Stage(w, 0.3, 1.0, free) for w in (0.25, 0.2, 0.16, 0.13, 0.1, 0.1, 0.1)])
    state, axis, _ = _best(solver, state, axis, Stage(0.08, 0.3, 1.0, free), 4, 0.05)
    turned = turned_round(state[torch.arange(1)])
    state, axis = joined(state, turned), torch.cat([axis, axis[:1]])
    solver = Solver(cast.middle, frame.target(1000), pose_prior())
    state = _run(solver, state, [Stage(w, 0.25, 0.8, free) for w in (0.12, 0.1, 0.08, 0.08, 0.06)])
    state, axis, cost = _best(solver, state, axis, Stage(0.05, 0.3, 1.0, free), 3, 0.04)
    tell("rough pose", float(cost[0]))
    few = Solver(cast.middle.take(torch.arange(0, 700, 2)), frame.target(400), pose_prior())
    for _ in range(LIMB_ROUNDS):
        state, axis = _other_limbs(few, solver, state, axis, free)
        state, axis, cost = _best(solver, state, axis, Stage(0.04, 0.3, 1.0, free), 2, 0.02)
        tell("limbs", float(cost[0]))
    solver = Solver(cast.large, frame.target(settings.final_points), pose_prior())
    state = _run(solver, state, [Stage(w, 0.1, 0.5, free) for w in (0.05, 0.05, 0.04, 0.04, 0.03, 0.03)])
    state, axis, cost = _best(solver, state, axis, Stage(0.04, 0.3, 1.0, free), 2, 0.0)
    tell("two rivals", float(cost[0]))
    best = _run(solver, state[torch.arange(1)], [Stage(0.02, 0.1, 0.4, free)] * 12)
    tell("final", float(solver.energy(best, Stage(0.04, 0.3, 1.0, free))))
    rival = state[torch.arange(1, 2)] if len(state.scale) > 1 else None
    verdict = judge(solver, best, rival, cost)
    return Found(best, axes[axis[0]], verdict)


def _run(solver: Solver, state: State, stages: list[Stage]) -> State:
    for stage in stages:
        state = solver.step(state, stage)
    return state


def _best(
    solver: Solver, state: State, axis: Tensor, stage: Stage, keep: int, apart: float
) -> tuple[State, Tensor, Float[Tensor, " k"]]:
    cost = solver.energy(state, stage)
    chosen = unlike(solver.puppet, state, cost, keep, apart)
    return state[chosen], axis[chosen], cost[chosen]


def _other_limbs(few: Solver, solver: Solver, state: State, axis: Tensor, free: bool) -> tuple[State, Tensor]:
    """Each state, and others of it that have one limb from another pose, chosen by few points and refined."""
    wide = Stage(0.08, 0.3, 0.1, free)
    states, owners = [state], [axis]
    poses = library_poses()[:: max(len(library_poses()) // LIMB_POSES, 1)]
    for one in range(len(state.scale)):
        single = state[torch.tensor([one])]
        for limb in LIMBS:
            others = with_limb(single, limb, poses)
            cost = torch.cat([few.energy(others[part], wide) for part in torch.arange(len(poses)).split(16)])
            best = cost.argsort()[:4]
            states.append(others[best])
            owners.append(axis[[one] * len(best)])
    mixed, owner = joined(*states), torch.cat(owners)
    return _run(solver, mixed, [Stage(w, 0.2, 0.5, free) for w in (0.08, 0.06, 0.05, 0.05, 0.04, 0.04)]), owner


def _registration(cast: Cast, frame: Frame, found: Found, body: BodyModel) -> Registration:
    state, puppet = found.state, cast.large
    root = puppet.joints_zero[0] + state.betas[0] @ puppet.joints_zero_basis[:, 0]
    turn = _heading(found.axis @ state.rotations[0, 0]).T @ found.axis
    scale = float(state.scale[0])
    middle = (state.translation[0] / scale + root).double().cpu().numpy()
    rotation = turn.double().cpu().numpy()
    shift = root.double().cpu().numpy() - rotation @ (middle + frame.unit * frame.centre / scale)
    rotations = state.rotations.clone()
    rotations[0, 0] = turn @ rotations[0, 0]
    betas = torch.zeros(1, body.num_betas).to(state.betas)
    betas[:, : state.betas.shape[1]] = state.betas
    params = BodyParams(betas, matrix_to_axis_angle(rotations), torch.zeros(1, 3).to(betas))
    verdict = found.verdict
    placement = Placement(frame.unit / scale, rotation, shift)
    return Registration(placement, params, verdict.residual_mm, not verdict.reason, verdict.reason)


def _heading(root: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    """The turn about y that a rotation has; none where it lays the person down."""
    ahead = root[:, 2]
    length = torch.hypot(ahead[0], ahead[2])
    if length < 0.3:
        return torch.eye(3).to(root)
    sine, cosine = ahead[0] / length, ahead[2] / length
    zero, one = torch.zeros_like(sine), torch.ones_like(sine)
    return torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine]).view(3, 3)
