"""The body alone into a raw scan, from scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.fit.clothing import by_bone
from gdna.fit.framing import Frame, framed, up_rotations
from gdna.fit.limbs import HALVES, LIMBS, joined, nudged, turned_round, with_builds, with_limb
from gdna.fit.pose_library import library_poses, pose_prior
from gdna.fit.puppet import Puppet, State
from gdna.fit.search import best_starts, unlike
from gdna.fit.settings import RegisterSettings
from gdna.fit.solve import Solver, Stage
from gdna.fit.types import Placement, RawScan, Registration
from gdna.fit.verdict import Verdict, judge
from gdna.geometry.rotations import matrix_to_axis_angle
from gdna.types import BodyParams

Progress = Callable[[str, float], None]

HEIGHTS = (0.85, 1.15)  # of people, of the average body's
GUESSES = (0.75, 1.3)  # of the scale, where the unit is not known
SEARCHED = 180  # points of the scan in the search
TURNED = 6  # starts that are also tried facing the other way
LIMBS_REFINED = 4  # of each limb's alternatives
SETTLED = 0.997  # of the cost of the round before; above, rounds end
SURVIVORS = 14  # of a round's alternatives, after refinement by few points


def register_body(
    raw: RawScan, body: BodyModel, settings: RegisterSettings | None = None, progress: Progress | None = None
) -> Registration:
    """Where the body lies in the scan, and how sure that is; `progress` is told what is done and the current cost.

    On the body's device. Raises `GdnaError` where too few points are left of a person.
    """
    settings = settings or RegisterSettings()
    tell = progress or (lambda _what, _cost: None)
    cast = Cast.of(body, settings.num_betas)
    frame = framed(raw, settings, body.faces.device)
    with torch.no_grad():
        found = _found(cast, frame, settings, tell)
        return _registration(cast, frame, found, body)


@dataclass(frozen=True)
class Cast:
    """The body with few points, and ever more."""

    tiny: Puppet
    small: Puppet
    middle: Puppet
    large: Puppet

    @staticmethod
    def of(body: BodyModel, num_betas: int) -> Cast:
        _, _, density = by_bone(body.parents)
        even = torch.ones_like(density)
        sizes = ((130, even), (700, density), (1200, density), (2500, density))
        return Cast(*(Puppet.of(body, count, num_betas, dense) for count, dense in sizes))


@dataclass(frozen=True)
class Found:
    state: State  # of one
    axis: Float[Tensor, "3 3"]  # from the frame to y up
    verdict: Verdict


def _found(cast: Cast, frame: Frame, settings: RegisterSettings, tell: Progress) -> Found:
    axes = up_rotations(settings.up).to(frame.points)
    free = frame.free_scale
    state, axis = _rough(cast, frame, axes, settings, tell)
    crew = Crew.of(cast, frame)
    before = float("inf")
    for number, change in enumerate(_changes()[: settings.limb_rounds]):
        state, axis = _round(crew, state, axis, change, free)
        state, axis, cost = _best(crew.exact, state, axis, Stage(0.03, 0.05, 2.0, free), 2, 0.02)
        tell(f"round {number + 1}", float(cost[0]))
        if number and cost[0] > SETTLED * before:
            break
        before = float(cost[0])
    solver = Solver(cast.large, frame.target(settings.final_points), pose_prior())
    state = _run(solver, state, [Stage(w, 0.03, 2.0, free) for w in (0.05, 0.04, 0.03, 0.02, 0.02)])
    rank = Stage(0.03, 0.03, 2.0, free)
    state, axis, cost = _best(solver, state, axis, rank, 2, 0.0)
    best = _run(solver, state[:1], [Stage(0.02, 0.03, 2.0, free)] * 8)
    tell("final", float(solver.energy(best, rank)[0]))
    return Found(best, axes[axis[0]], judge(solver, best, state[1:] if len(cost) > 1 else None, cost))


def _rough(
    cast: Cast, frame: Frame, axes: Float[Tensor, "A 3 3"], settings: RegisterSettings, tell: Progress
) -> tuple[State, Tensor]:
    """The best three of many starts, refined with a wide loss, and the index of the up axis of each."""
    free = frame.free_scale
    starts = best_starts(cast.tiny, frame.target(SEARCHED), axes, GUESSES if free else HEIGHTS, 400)
    tell("searched", float(starts.cost[0]))
    chosen = unlike(cast.tiny, starts.state, starts.cost, settings.starts, 0.06)
    state, axis = starts.state[chosen], starts.axis[chosen]
    if not free:
        state = State(state.rotations, state.betas, state.translation, torch.ones_like(state.scale))
    state, axis = joined(state, turned_round(state[:TURNED])), torch.cat([axis, axis[:TURNED]])
    solver = Solver(cast.small, frame.target(600), pose_prior())
    state = _run(solver, state, [Stage(w, 0.3, 1.0, free) for w in (0.25, 0.2, 0.16, 0.13, 0.1, 0.1, 0.1)])
    state, axis, _ = _best(solver, state, axis, Stage(0.08, 0.3, 1.0, free), 4, 0.05)
    state, axis = joined(state, turned_round(state[:1])), torch.cat([axis, axis[:1]])
    solver = Solver(cast.small, frame.target(1000), pose_prior())
    state = _run(solver, state, [Stage(w, 0.25, 0.8, free) for w in (0.12, 0.1, 0.08, 0.08, 0.06)])
    state, axis, cost = _best(solver, state, axis, Stage(0.05, 0.3, 1.0, free), 3, 0.04)
    tell("rough pose", float(cost[0]))
    return state, axis


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


@dataclass(frozen=True)
class Crew:
    """Solvers of one scan, from the quickest to the most exact."""

    quick: Solver  # chooses among hundreds of limbs
    fair: Solver  # refines and chooses among what is left of them
    exact: Solver  # decides

    @staticmethod
    def of(cast: Cast, frame: Frame) -> Crew:
        halved = [puppet.take(torch.arange(0, len(puppet.template), 2)) for puppet in (cast.small, cast.middle)]
        points = zip((*halved, cast.middle), (500, 800, 2000), strict=True)
        return Crew(*(Solver(puppet, frame.target(count), pose_prior()) for puppet, count in points))


@dataclass(frozen=True)
class Change:
    """What is tried in a round: which limbs, of which poses, and whether single joints are turned; of how many of the
    states."""

    limbs: tuple[tuple[int, ...], ...]
    poses: Float[np.ndarray, "K 24 3"]
    nudges: bool
    states: int


def _changes() -> list[Change]:
    """Whole limbs first, then their outer halves and single joints."""
    poses = library_poses()
    return [
        Change(LIMBS, poses[0::3], False, 2),
        Change(LIMBS + HALVES, poses[1::3], True, 2),
        Change(HALVES, poses[2::3], True, 1),
        Change(HALVES, poses[0::3], True, 1),
    ]


def _round(crew: Crew, state: State, axis: Tensor, change: Change, free: bool) -> tuple[State, Tensor]:
    """The states, and others of the first ones that have a limb from another pose, a joint turned or another build:
    refined by few points, the best of them by more."""
    states, owners = [state], [axis]
    for one in range(min(change.states, len(state.scale))):
        single = state[torch.tensor([one])]
        others = [with_builds(single, crew.fair.puppet)]
        others += [_likeliest(crew.quick, with_limb(single, limb, change.poses), free) for limb in change.limbs]
        others += [nudged(single)] if change.nudges else []
        states += others
        owners.append(axis[[one] * sum(len(some.scale) for some in others)])
    mixed, owner = joined(*states), torch.cat(owners)
    rough = _run(crew.fair, mixed, [Stage(w, 0.1, 1.0, free) for w in (0.08, 0.06, 0.05)])
    kept = crew.fair.energy(rough, Stage(0.04, 0.05, 2.0, free)).argsort()[:SURVIVORS]
    again = _run(
        crew.exact, joined(state, rough[kept]), [Stage(w, 0.05, 2.0, free) for w in (0.06, 0.05, 0.04, 0.03, 0.03)]
    )
    return again, torch.cat([axis, owner[kept]])


def _likeliest(solver: Solver, others: State, free: bool) -> State:
    wide = Stage(0.08, 0.3, 0.1, free)
    parts = torch.arange(len(others.scale)).split(16)
    return others[torch.cat([solver.energy(others[part], wide) for part in parts]).argsort()[:LIMBS_REFINED]]


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
