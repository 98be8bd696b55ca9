"""Where to start: poses of the library at all yaws, compared with the scan by a few points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.skeleton import BODY_JOINTS
from gdna.fit.nearest import nearest_both
from gdna.fit.pose_library import library_poses
from gdna.fit.puppet import Puppet, State
from gdna.fit.solve import BACK, NORMAL_REACH, Target
from gdna.geometry.rotations import axis_angle_to_matrix

YAWS = 16
FAR = 0.25  # metres at which a distance stops counting
AXIS_POSES = 90
AXIS_MARGIN = 1.1  # an axis whose best pose costs this much more is out
CLOSER = 3  # times as many as asked for are put in place more exactly
MOVES = 6
AT_ONCE = 128  # candidates compared at once
FACING = 0.2  # cosine to the camera from which a depth image should show a point


@dataclass(frozen=True)
class Starts:
    """Candidates, best first, and the index of the up axis that each supposes."""

    state: State
    cost: Float[Tensor, " K"]
    axis: Int[Tensor, " K"]


def candidates(puppet: Puppet, poses: Float[np.ndarray, "K 24 3"], axes: Float[Tensor, "A 3 3"], yaws: int) -> State:
    """Every pose at every yaw about every axis (rotations from the scan's frame to one with y up), of the average body
    at the origin; axes change fastest, then yaws."""
    rotations = torch.zeros(len(poses), len(puppet.parents), 3)
    known = min(poses.shape[1] if len(puppet.parents) == poses.shape[1] else BODY_JOINTS, len(puppet.parents))
    rotations[:, :known] = torch.from_numpy(poses[:, :known].astype(np.float32))
    matrices = axis_angle_to_matrix(rotations).to(puppet.template)
    turns = torch.zeros(yaws, 3)
    turns[:, 1] = torch.arange(yaws) * (2 * math.pi / yaws)
    placed = (axes.mT[None] @ axis_angle_to_matrix(turns).to(axes)[:, None]).flatten(0, 1).to(matrices)
    whole = matrices[:, None].expand(-1, len(placed), -1, -1, -1).clone()
    whole[:, :, 0] = placed @ whole[:, :, 0]
    whole = whole.flatten(0, 1)
    size = len(whole)
    return State(
        whole,
        torch.zeros(size, len(puppet.basis)).to(whole),
        torch.zeros(size, 3).to(whole),
        torch.ones(size).to(whole),
    )


def compare(
    puppet: Puppet, target: Target, state: State, scales: tuple[float, float], moves: int = 1
) -> tuple[State, Float[Tensor, " K"]]:
    """Each state put over the target by its middle and spread, scaled within `scales`, and moved by the mean
    distance of neighbours `moves` times; how badly it fits (metres)."""
    placed, costs = [], []
    for part in torch.arange(len(state.scale), device=state.scale.device).split(AT_ONCE):
        some, cost = _compare(puppet, target, state[part], scales, moves)
        placed.append(some)
        costs.append(cost)
    whole = State(*(torch.cat([getattr(s, n) for s in placed]) for n in ("rotations", "betas", "translation", "scale")))
    return whole, torch.cat(costs)


def _compare(
    puppet: Puppet, target: Target, state: State, scales: tuple[float, float], moves: int
) -> tuple[State, Float[Tensor, " K"]]:
    state = State(state.rotations, state.betas, torch.zeros_like(state.translation), torch.ones_like(state.scale))
    posed = puppet.pose(state)
    share = torch.ones_like(posed.points[..., 0])
    middle_scan = target.points.mean(0)
    if target.eye is not None:
        toward = torch.nn.functional.normalize(target.eye - middle_scan, dim=0)
        share = (posed.normals @ toward > FACING).to(share)
    total = share.sum(1, keepdim=True).clamp_min(1)
    middle = (posed.points * share[..., None]).sum(1) / total
    spread = (((posed.points - middle[:, None]) ** 2).sum(-1) * share).sum(1) / total[:, 0]
    scale = ((target.points - middle_scan) ** 2).sum(-1).mean().div(spread).sqrt().clamp(*scales)
    shift = middle_scan - scale[:, None] * middle
    points = posed.points * scale[:, None, None] + shift[:, None]
    forth, back, offset = _distances(target, points, posed.normals)
    for _ in range(moves):
        near = (forth < FAR).to(offset)
        move = (offset * near[..., None]).sum(1) / near.sum(1, keepdim=True).clamp_min(1)
        points, shift = points + move[:, None], shift + move
        forth, back, offset = _distances(target, points, posed.normals)
    cost = forth.clamp_max(FAR).mean(1) + BACK * (back.clamp_max(FAR) * share).sum(1) / total[:, 0]
    return State(state.rotations, state.betas, shift, scale), cost


def _distances(
    target: Target, points: Float[Tensor, "B V 3"], normals: Float[Tensor, "B V 3"]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B V"], Float[Tensor, "B N 3"]]:
    """From scan to body, from body to scan, and the way from the nearest body point to each scan point."""
    scan, body = target.points, points
    if target.normals is not None:
        scan = torch.cat([scan, NORMAL_REACH * target.normals], -1)
        body = torch.cat([points, NORMAL_REACH * normals], -1)
    near = nearest_both(scan, body)
    nearest = points.gather(1, near.body[..., None].expand(-1, -1, 3))
    return near.body_squared.sqrt(), near.scan_squared.sqrt(), target.points - nearest


def best_starts(
    puppet: Puppet, target: Target, axes: Float[Tensor, "A 3 3"], scales: tuple[float, float], keep: int
) -> Starts:
    """The best `keep` of the library's poses. Where several axes are possible, some poses choose one or two first."""
    poses = library_poses()
    possible = torch.arange(len(axes))
    if len(axes) > 1:
        few = poses[np.linspace(0, len(poses) - 1, AXIS_POSES).round().astype(int)]
        _, cost = compare(puppet, target, candidates(puppet, few, axes, YAWS), scales)
        by_axis = cost.unflatten(0, (-1, len(axes))).amin(0).cpu()
        possible = (by_axis < AXIS_MARGIN * by_axis.min()).nonzero()[:, 0]
        possible = possible[by_axis[possible].argsort()][:2]
    state, cost = compare(puppet, target, candidates(puppet, poses, axes[possible], YAWS), scales)
    order = cost.argsort()[: CLOSER * keep]
    state, cost = compare(puppet, target, state[order], scales, MOVES)
    closer = cost.argsort()[:keep]
    axis = possible.to(order.device)[order % len(possible)]
    return Starts(state[closer], cost[closer], axis[closer])


def unlike(puppet: Puppet, state: State, cost: Float[Tensor, " K"], keep: int, apart: float) -> Int[Tensor, " k"]:
    """Indices of the best states whose joints lie over `apart` metres from those of every better one, in the mean."""
    joints = puppet.pose(state).joints
    chosen: list[int] = []
    for index in cost.argsort().tolist():
        if all((joints[index] - joints[c]).norm(dim=-1).mean() > apart for c in chosen):
            chosen.append(index)
        if len(chosen) == keep:
            break
    return torch.tensor(chosen, device=cost.device)
