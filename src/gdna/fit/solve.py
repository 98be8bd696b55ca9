"""Many bodies moved into one scan at once: nearest points, robust weights, one damped Gauss-Newton step, again.

The energy of a body: signed distances along its normals, less the clothing that is usual there, from scan to body and
from body to scan, under a Geman-McClure loss whose width shrinks; a scan point inside the body costs more than one
outside; plus the pose prior, joint limits and the betas' prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.body.skeleton import BODY_JOINTS
from gdna.fit.clothing import by_bone
from gdna.fit.nearest import nearest_both
from gdna.fit.pose_library import PosePrior
from gdna.fit.puppet import Posed, Puppet, State
from gdna.geometry.rotations import axis_angle_to_matrix, cross_matrix, matrix_to_axis_angle

NORMAL_REACH = 0.15  # metres that opposite normals count as in the search for neighbours, halved
MEASURES = 300.0  # as many independent measurements are the points of either direction worth
INSIDE = 3.0  # how much more a scan point counts that lies nearer to the body than clothes usually do
BACK = 0.7  # what body points far from the scan cost, where the other way costs 1: scans have holes
SIDEWAYS = 0.3  # how much squared distances along the surface count, beyond the points' spacing, of those across
AGREEING = 0.0  # cosine of two normals from which a pair counts
FACING = 0.2  # cosine to the camera from which a depth image should show a point
LIMIT_SPREAD = 0.05  # radians
OTHER_SPREAD = 0.12  # radians; of joints that no prior knows
TRUST = (0.3, 0.15, 0.05, 1.0)  # a step's prior spread: radians, metres, logarithm of the scale, betas
LONGEST = 0.5  # radians of one joint in one step


@dataclass(frozen=True)
class Target:
    """What a body is moved into: points in metres, y up."""

    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"] | None
    eye: Float[Tensor, " 3"] | None


@dataclass(frozen=True)
class Stage:
    """How loosely points pull, and how strongly priors hold."""

    width: float  # metres; of the robust loss
    sliding: float  # weight of distances along the surface, of those across
    prior: float  # weight of the pose prior
    free_scale: bool
    betas: float = 2.0  # weight of their prior


@dataclass(frozen=True)
class _Pairs:
    """Each row pairs a scan point with a body point."""

    offset: Float[Tensor, "B n 3"]  # from body to scan
    normal: Float[Tensor, "B n 3"]  # of the body
    agree: Bool[Tensor, "B n"]
    body: Tensor  # (B, n) index of the body point
    share: Float[Tensor, "B n"]
    spacing: Tensor  # (B, n) or of all: metres between the points that neighbours are sought among


class Solver:
    """Moves puppets into one target."""

    def __init__(self, puppet: Puppet, target: Target, prior: PosePrior) -> None:
        usual, spread, _ = by_bone(puppet.parents)
        device = puppet.template.device
        self.puppet, self.target, self.prior = puppet, target, prior.to(device)
        self.usual = puppet.weights @ usual.to(device)
        self.spread = puppet.weights @ spread.to(device)
        self.spacing_body = _spacing(puppet.template)
        self.spacing_scan = _spacing(target.points).median()

    def energy(self, state: State, stage: Stage) -> Float[Tensor, " B"]:
        """Mean robust cost (0..1) of scan points and of body points, and a little of the priors."""
        posed = self.puppet.pose(state)
        total = torch.zeros_like(state.scale)
        for pairs, worth in zip(self._pairs(posed), (1.0, BACK), strict=True):
            cost = 1 - self._robust(pairs, stage).sqrt()
            share = pairs.share / self.spread[pairs.body]
            total = total + worth * (cost * share).sum(1) / share.sum(1).clamp_min(1e-6)
        residual, _ = self._pose_terms(state)
        prior = (residual**2).sum(1) * stage.prior + (state.betas**2).sum(1)
        return total + 2e-4 * prior

    def excess(self, posed: Posed) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B V"]]:
        """How far (metres) scan points lie from the body beyond the usual clothes, and body points from the scan."""
        room = self.usual + self.spread
        near = nearest_both(self.target.points, posed.points)
        return (near.body_squared.sqrt() - room[near.body]).clamp_min(0), (near.scan_squared.sqrt() - room).clamp_min(0)

    def returned(self, posed: Posed) -> Bool[Tensor, "B V"]:
        """Which body points have a nearest scan point that itself is nearest to the same bone or one joined to it: an
        arm that is not in the scan can lie near the trunk's points, but these are nearer to the trunk."""
        near = nearest_both(*self._features(posed))
        owner, parents = self.puppet.owner, torch.tensor(self.puppet.parents, device=near.body.device)
        back = owner[near.body.gather(1, near.scan)]
        return (back == owner) | (parents[back] == owner) | (parents[owner] == back)

    def step(self, state: State, stage: Stage) -> State:
        """One damped Gauss-Newton step."""
        posed = self.puppet.pose(state)
        metric, pull = self._pulls(posed, stage)
        jacobian = self.puppet.jacobian(state, posed)
        flat = jacobian.flatten(1, 2)
        weighted = (metric @ jacobian).flatten(1, 2)
        normal = flat.mT @ weighted
        gradient = (flat.mT @ pull.flatten(1)[..., None])[..., 0]
        self._add_priors(state, stage, normal, gradient)
        change = torch.linalg.solve(normal, gradient)
        return self._moved(state, change)

    def _pairs(self, posed: Posed) -> tuple[_Pairs, _Pairs]:
        """The nearest body point of every scan point, and the nearest scan point of every body point."""
        scan, normals = self.target.points, self.target.normals
        near = nearest_both(*self._features(posed))
        body, back = near.body, near.scan
        rows = torch.arange(len(body), device=body.device)[:, None]
        normal, point = posed.normals[rows, body], posed.points[rows, body]
        agree, agree_back = torch.ones_like(body, dtype=torch.bool), torch.ones_like(back, dtype=torch.bool)
        if normals is not None:
            agree = (normal * normals).sum(-1) > AGREEING
            agree_back = (posed.normals * normals[back]).sum(-1) > AGREEING
        share = self.facing(posed).to(posed.points)
        every = torch.arange(back.shape[1], device=back.device).expand_as(back)
        return (
            _Pairs(scan - point, normal, agree, body, torch.ones_like(point[..., 0]), self.spacing_body[body]),
            _Pairs(scan[back] - posed.points, posed.normals, agree_back, every, share, self.spacing_scan),
        )

    def facing(self, posed: Posed) -> Bool[Tensor, "B V"]:
        """Which body points a depth camera could see, were nothing before them; all where there is no camera."""
        if self.target.eye is None:
            return torch.ones_like(posed.points[..., 0], dtype=torch.bool)
        sight = torch.nn.functional.normalize(self.target.eye - posed.points, dim=-1)
        return (sight * posed.normals).sum(-1) > FACING

    def _features(self, posed: Posed) -> tuple[Float[Tensor, "N k"], Float[Tensor, "B V k"]]:
        """What neighbours are close in: places and, where they are known, normals."""
        scan, normals = self.target.points, self.target.normals
        if normals is None:
            return scan, posed.points
        return (
            torch.cat([scan, NORMAL_REACH * normals], -1),
            torch.cat([posed.points, NORMAL_REACH * posed.normals], -1),
        )

    def _robust(self, pairs: _Pairs, stage: Stage) -> Float[Tensor, "B n"]:
        """Weight 0..1 of a Geman-McClure loss."""
        across = (pairs.offset * pairs.normal).sum(-1) - self.usual[pairs.body]
        along = ((pairs.offset**2).sum(-1) - (across + self.usual[pairs.body]) ** 2).clamp_min(0).sqrt()
        squared = across**2 + SIDEWAYS * (along - pairs.spacing).clamp_min(0) ** 2
        return (stage.width**2 / (stage.width**2 + squared)) ** 2 * pairs.agree

    def _pulls(self, posed: Posed, stage: Stage) -> tuple[Float[Tensor, "B V 3 3"], Float[Tensor, "B V 3"]]:
        """Of each body point: the weight of moving it, a quadratic form, and the weighted pull on it."""
        batch, count = posed.points.shape[:2]
        metric = posed.points.new_zeros(batch, count, 3, 3)
        pull = torch.zeros_like(posed.points)
        rows = torch.arange(batch, device=pull.device)[:, None]
        for pairs in self._pairs(posed):
            usual = self.usual[pairs.body]
            across = (pairs.offset * pairs.normal).sum(-1) - usual
            weight = self._robust(pairs, stage) * pairs.share
            weight = weight * torch.where(across < 0, INSIDE, 1.0)
            weight = weight / self.spread[pairs.body] ** 2
            weight = weight * (MEASURES / pairs.share.sum(1, keepdim=True).clamp_min(1))
            outer = pairs.normal[..., :, None] * pairs.normal[..., None, :]
            forms = weight[..., None, None] * (outer + stage.sliding * torch.eye(3).to(outer))
            toward = pairs.offset - usual[..., None] * pairs.normal
            index = (rows.expand_as(pairs.body), pairs.body)
            metric.index_put_(index, forms, accumulate=True)
            pull.index_put_(index, (forms @ toward[..., None])[..., 0], accumulate=True)
        return metric, pull

    def _pose_terms(self, state: State) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n n"]]:
        """Whitened pose and how it changes with each joint's small rotation in its parent's frame."""
        pose = matrix_to_axis_angle(state.rotations[:, 1:BODY_JOINTS])
        jacobian = _block_diagonal(_left_inverse(pose))
        return (pose.flatten(1) - self.prior.mean) @ self.prior.whitening.T, self.prior.whitening @ jacobian

    def _add_priors(
        self, state: State, stage: Stage, normal: Float[Tensor, "B P P"], gradient: Float[Tensor, "B P"]
    ) -> None:
        """In place."""
        bones, size = state.rotations.shape[1], normal.shape[1]
        known = slice(3, 3 * BODY_JOINTS)
        residual, jacobian = self._pose_terms(state)
        normal[:, known, known] += stage.prior * jacobian.mT @ jacobian
        gradient[:, known] -= stage.prior * (jacobian.mT @ residual[..., None])[..., 0]
        pose = matrix_to_axis_angle(state.rotations[:, 1:BODY_JOINTS])
        flat = pose.flatten(1)
        beyond = (flat - self.prior.high).clamp_min(0) + (flat - self.prior.low).clamp_max(0)
        jacobian = _block_diagonal(_left_inverse(pose)) * (beyond != 0)[..., None] / LIMIT_SPREAD
        normal[:, known, known] += jacobian.mT @ jacobian
        gradient[:, known] -= (jacobian.mT @ (beyond / LIMIT_SPREAD)[..., None])[..., 0]
        diagonal = normal.diagonal(dim1=1, dim2=2)
        others = slice(3 * BODY_JOINTS, 3 * bones)
        diagonal[:, others] += OTHER_SPREAD**-2
        gradient[:, others] -= matrix_to_axis_angle(state.rotations[:, BODY_JOINTS:]).flatten(1) * OTHER_SPREAD**-2
        shape = slice(3 * bones + 4, size)
        diagonal[:, shape] += stage.betas
        gradient[:, shape] -= stage.betas * state.betas
        turn, move, grow, bend = (t**-2 for t in TRUST)
        trust = (
            [turn] * (3 * bones) + [move] * 3 + [grow if stage.free_scale else 1e12] + [bend] * (size - 3 * bones - 4)
        )
        diagonal += torch.tensor(trust, device=normal.device)

    def _moved(self, state: State, change: Float[Tensor, "B P"]) -> State:
        bones = state.rotations.shape[1]
        turns = change[:, : 3 * bones].unflatten(1, (bones, 3))
        turns = turns * (LONGEST / turns.norm(dim=-1, keepdim=True).clamp_min(LONGEST))
        return State(
            axis_angle_to_matrix(turns) @ state.rotations,
            state.betas + change[:, 3 * bones + 4 :],
            state.translation + change[:, 3 * bones : 3 * bones + 3],
            state.scale * change[:, 3 * bones + 3].clamp(-0.1, 0.1).exp(),
        )


def _spacing(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """From each point to the nearest other one; as far apart are points and what is between them, on average."""
    return torch.cdist(points, points).fill_diagonal_(torch.inf).amin(1)


def _left_inverse(vector: Float[Tensor, "B n 3"]) -> Float[Tensor, "B n 3 3"]:
    """How an axis-angle vector changes where a small rotation is applied from the left."""
    angle = vector.norm(dim=-1).clamp_min(1e-4)[..., None, None]
    cross = cross_matrix(vector)
    half = angle / 2
    factor = (1 - half * half.cos() / half.sin()) / angle**2
    return torch.eye(3).to(vector) - 0.5 * cross + factor * (cross @ cross)


def _block_diagonal(blocks: Float[Tensor, "B n 3 3"]) -> Float[Tensor, "B m m"]:
    batch, count = blocks.shape[:2]
    whole = blocks.new_zeros(batch, count, 3, count, 3)
    index = torch.arange(count, device=blocks.device)
    whole[:, index, :, index] = blocks.transpose(0, 1)
    return whole.flatten(3, 4).flatten(1, 2)
