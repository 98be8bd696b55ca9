"""How sure a registration is."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gdna.body.skeleton import JOINT_NAMES, JOINTS_OF
from gdna.fit.puppet import Posed, State
from gdna.fit.solve import Solver


@dataclass(frozen=True)
class Verdict:
    residual_mm: float
    reason: str  # empty: sure
    explained: float  # share of the scan's points near the body and its clothes
    margin: float  # how much more the best other hypothesis costs, of the cost
    unseen: tuple[str, ...]  # bones of which the scan shows little


NEAR = 0.05  # metres from the body and its usual clothes
EXPLAINED = 0.80
RESIDUAL_MM = 15.0  # of 21 registrations, the 10 within 2 cm had up to 14.5, 10 of the 11 others 16 or more
MARGIN = 0.02  # of the cost
UNLIKE = 0.04  # metres between the joints of two hypotheses, in the mean, from which they are not the same
SEEN = 0.35
RETURNED = (
    0.75  # of an arm bone's points: 0.89 or more of 17 training people; of two missing arms one bone at 0.57, 0.66
)
ARM_PARTS = ("shoulder", "elbow", "wrist", "hand")
EXTREME = 4.0  # betas
TRIMMED = 0.9


def judge(solver: Solver, best: State, rival: State | None, cost: Float[Tensor, " k"]) -> Verdict:
    """Of the best state, given a rival (both with their costs, the best first)."""
    posed = solver.puppet.pose(best)
    forth, back = solver.excess(posed)
    ordered = forth[0].sort().values
    residual = float(ordered[: max(int(TRIMMED * len(ordered)), 1)].mean() * 1000)
    explained = float((forth[0] < NEAR).float().mean())
    margin = 1.0
    if rival is not None:
        apart = (solver.puppet.pose(rival).joints - posed.joints).norm(dim=-1).mean()
        margin = float((cost[1] - cost[0]) / cost[0]) if float(apart) > UNLIKE else 1.0
    unseen = _unseen(solver, posed, back[0])
    reasons = []
    if explained < EXPLAINED:
        reasons.append(f"{100 * (1 - explained):.0f} % of the points lie over {1000 * NEAR:.0f} mm from the body")
    if residual > RESIDUAL_MM:
        reasons.append(f"points lie {residual:.0f} mm from the body and its usual clothes on average")
    if margin < MARGIN:
        reasons.append(f"another pose explains it almost as well (costs {100 * margin:.1f} % more)")
    if unseen:
        reasons.append(f"little is seen of {', '.join(unseen)}")
    if float(best.betas.abs().max()) > EXTREME:
        reasons.append(f"an uncommon shape (a beta of {float(best.betas.abs().max()):.1f})")
    return Verdict(residual, "; ".join(reasons), explained, margin, unseen)


def _unseen(solver: Solver, posed: Posed, excess: Float[Tensor, " V"]) -> tuple[str, ...]:
    """Bones few of whose points have scan points nearby, and arms whose scan points are rather others'; a depth camera
    sees half of an arm, so there only the first is asked."""
    names = JOINTS_OF.get(solver.puppet.parents, JOINT_NAMES)
    facing, returned = solver.facing(posed)[0], solver.returned(posed)[0]
    unseen = []
    for bone, name in enumerate(names):
        own = (solver.puppet.owner == bone) & facing
        if int(own.sum()) < 8:
            continue
        far = float((excess[own] < NEAR).float().mean()) < SEEN
        arm = name.rpartition("_")[2] in ARM_PARTS and solver.target.eye is None
        if far or (arm and float(returned[own].float().mean()) < RETURNED):
            unseen.append(name)
    return tuple(unseen)
