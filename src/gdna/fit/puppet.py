"""A body model boiled down to some points of its skin, posed in batches with derivatives in closed form.

Any `BodyModel` is boiled down by asking it: its canonical vertices and joints are linear in the betas, and linear blend
skinning carries them. Correctives that depend on the pose (SMPL has some) are left out; they move the skin by
millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.body.skeleton import bone_poses, canonical_rotations, zero_pose_joints
from gdna.geometry.mesh import sample_surface, vertex_normals
from gdna.types import BodyParams


@dataclass(frozen=True)
class State:
    """B bodies: each joint's rotation in its parent's frame as a matrix, root first; the whole scaled by `scale`."""

    rotations: Float[Tensor, "B J 3 3"]
    betas: Float[Tensor, "B S"]
    translation: Float[Tensor, "B 3"]
    scale: Float[Tensor, " B"]

    def __getitem__(self, index: Tensor | slice) -> State:
        return State(self.rotations[index], self.betas[index], self.translation[index], self.scale[index])


@dataclass(frozen=True)
class Posed:
    """What a state looks like."""

    points: Float[Tensor, "B V 3"]
    normals: Float[Tensor, "B V 3"]  # unit
    joints: Float[Tensor, "B J 3"]
    turns: Float[Tensor, "B J 3 3"]  # of each bone, zero pose to posed
    carried: Float[Tensor, "B V J 3"]  # where each bone alone would carry each point; no scale, no translation


@dataclass(frozen=True)
class Puppet:
    """V points on the skin of a body model, J bones, the first S of its betas."""

    template: Float[Tensor, "V 3"]  # canonical, zero betas
    basis: Float[Tensor, "S V 3"]
    normals: Float[Tensor, "V 3"]  # canonical, zero betas
    weights: Float[Tensor, "V J"]
    joints_rest: Float[Tensor, "J 3"]  # canonical, zero betas
    joints_rest_basis: Float[Tensor, "S J 3"]
    joints_zero: Float[Tensor, "J 3"]
    joints_zero_basis: Float[Tensor, "S J 3"]
    rest_turns: Float[Tensor, "J 3 3"]  # of each bone, zero pose to canonical
    below: Float[Tensor, "J J"]  # [k, j] is 1 where bone k is j or hangs on it
    parents: tuple[int, ...]
    owner: Int[Tensor, " V"]  # the bone of the largest weight

    @staticmethod
    def of(body: BodyModel, count: int, num_betas: int, density: Float[Tensor, " J"], seed: int = 0) -> Puppet:
        """`count` points spread over the skin, on each bone's part as densely as `density` says relative to others."""
        used = min(num_betas, body.num_betas)
        device, bones = body.faces.device, len(body.parents)
        betas = torch.zeros(used + 1, body.num_betas, device=device)
        betas[1:, :used] = torch.eye(used, device=device)
        zeros = torch.zeros(used + 1, bones, 3, device=device)
        with torch.no_grad():
            shaped = body(BodyParams(betas, zeros, torch.zeros(used + 1, 3, device=device)))
        vertices, rest = shaped.vertices_canonical.float(), shaped.joints_canonical.float()
        zero = torch.stack([zero_pose_joints(joints, body.parents) for joints in rest])
        faces = _denser(body, density)
        chosen = sample_surface(vertices[0], faces, count, torch.Generator().manual_seed(seed))
        points = torch.stack([chosen.interpolate(v, faces) for v in vertices])
        normals = chosen.interpolate(vertex_normals(vertices[0], body.faces), faces)
        weights = chosen.interpolate(body.skin_weights.float(), faces)
        turns = bone_poses(canonical_rotations(bones).to(rest)[None], zero[:1], body.parents)[0, :, :3, :3]
        return Puppet(
            points[0], points[1:] - points[0], torch.nn.functional.normalize(normals, dim=-1), weights,
            rest[0], rest[1:] - rest[0], zero[0], zero[1:] - zero[0], turns, _below(body.parents).to(device),
            body.parents, weights.argmax(1),
        )  # fmt: skip

    def take(self, index: Int[Tensor, " W"]) -> Puppet:
        """The same with some of the points."""
        return Puppet(
            self.template[index], self.basis[:, index], self.normals[index], self.weights[index],
            self.joints_rest, self.joints_rest_basis, self.joints_zero, self.joints_zero_basis, self.rest_turns,
            self.below, self.parents, self.owner[index],
        )  # fmt: skip

    def pose(self, state: State) -> Posed:
        """Linear blend skinning from the canonical pose, as the body model does it."""
        turns, places = self._kinematics(
            state.rotations, self.joints_zero + _combine(state.betas, self.joints_zero_basis)
        )
        moves = turns @ self.rest_turns.mT
        rest = self.joints_rest + _combine(state.betas, self.joints_rest_basis)
        points = self.template + _combine(state.betas, self.basis)
        shift = places - (moves @ rest[..., None])[..., 0]
        carried = torch.einsum("bjac,bvc->bvja", moves, points) + shift[:, None]
        scale, translation = state.scale[:, None, None], state.translation[:, None]
        posed = (carried * self.weights[..., None]).sum(2)
        blended = torch.einsum("vj,bjac->bvac", self.weights, moves)
        normals = torch.nn.functional.normalize((blended @ self.normals[..., None])[..., 0], dim=-1)
        return Posed(posed * scale + translation, normals, places * scale + translation, turns, carried)

    def jacobian(self, state: State, posed: Posed) -> Float[Tensor, "B V 3 P"]:
        """How the points move with: each joint's rotation by a small vector in its parent's frame (3 J), translation
        (3), logarithm of the scale (1), betas (S)."""
        scale = state.scale[:, None, None]
        places = (posed.joints - state.translation[:, None]) / scale
        levers = torch.einsum("bvka,kj->bvja", posed.carried * self.weights[..., None], self.below)
        levers = levers - (self.weights @ self.below)[..., None] * places[:, None]
        frames = torch.stack([_eye_like(posed.turns) if p < 0 else posed.turns[:, p] for p in self.parents], 1)
        bones, count = len(self.parents), levers.shape[1]
        whole = levers.new_empty(len(levers), count, 3, 3 * bones + 4 + len(self.basis))
        for axis in range(3):  # d v = (A phi) x lever, written out as it is most of the work
            one, two = (axis + 1) % 3, (axis + 2) % 3
            turning = whole[:, :, axis, : 3 * bones].unflatten(2, (bones, 3))
            torch.mul(frames[:, None, :, one], levers[..., two, None], out=turning)
            turning.addcmul_(frames[:, None, :, two], levers[..., one, None], value=-1)
        whole[..., : 3 * bones] *= scale[..., None]
        whole[..., 3 * bones : 3 * bones + 3] = torch.eye(3).to(levers)
        whole[..., 3 * bones + 3] = posed.points - state.translation[:, None]
        whole[..., 3 * bones + 4 :] = self._shaping(state, posed) * scale[..., None]
        return whole

    def _shaping(self, state: State, posed: Posed) -> Float[Tensor, "B V 3 S"]:
        moves = posed.turns @ self.rest_turns.mT
        places = self._kinematics_linear(posed.turns, self.joints_zero_basis)
        shift = places - torch.einsum("bjac,sjc->bsja", moves, self.joints_rest_basis)
        blended = torch.einsum("vj,bjac->bvac", self.weights, moves)
        return torch.einsum("bvac,svc->bvas", blended, self.basis) + torch.einsum("vj,bsja->bvas", self.weights, shift)

    def _kinematics(
        self, rotations: Float[Tensor, "B J 3 3"], joints: Float[Tensor, "B J 3"]
    ) -> tuple[Float[Tensor, "B J 3 3"], Float[Tensor, "B J 3"]]:
        turns: list[Tensor] = []
        for j, parent in enumerate(self.parents):
            turns.append(rotations[:, j] if parent < 0 else turns[parent] @ rotations[:, j])
        stacked = torch.stack(turns, 1)
        places: list[Tensor] = []
        for j, parent in enumerate(self.parents):
            bone = joints[:, j] - (joints[:, parent] if parent >= 0 else 0)
            places.append(bone if parent < 0 else places[parent] + (turns[parent] @ bone[..., None])[..., 0])
        return stacked, torch.stack(places, 1)

    def _kinematics_linear(
        self, turns: Float[Tensor, "B J 3 3"], basis: Float[Tensor, "S J 3"]
    ) -> Float[Tensor, "B S J 3"]:
        """How the joints' places follow the betas."""
        places: list[Tensor] = []
        for j, parent in enumerate(self.parents):
            if parent < 0:
                places.append(basis[None, :, j].expand(len(turns), -1, -1))
            else:
                places.append(
                    places[parent] + torch.einsum("bac,sc->bsa", turns[:, parent], basis[:, j] - basis[:, parent])
                )
        return torch.stack(places, 2)


def _combine(betas: Float[Tensor, "B S"], basis: Float[Tensor, "S n 3"]) -> Float[Tensor, "B n 3"]:
    return torch.tensordot(betas, basis, dims=1)


def _eye_like(turns: Float[Tensor, "B J 3 3"]) -> Float[Tensor, "B 3 3"]:
    return torch.eye(3).to(turns).expand(len(turns), 3, 3)


def _below(parents: tuple[int, ...]) -> Float[Tensor, "J J"]:
    below = torch.zeros(len(parents), len(parents))
    for bone in range(len(parents)):
        ancestor = bone
        while ancestor >= 0:
            below[bone, ancestor] = 1
            ancestor = parents[ancestor]
    return below


def _denser(body: BodyModel, density: Float[Tensor, " J"]) -> Int[Tensor, "F 3"]:
    """Faces, those of dense parts several times, so that sampling by area finds them as often."""
    owner = body.skin_weights.argmax(1)[body.faces[:, 0]]
    times = density.to(owner.device)[owner].round().long().clamp_min(1)
    return body.faces.repeat_interleave(times, 0)
