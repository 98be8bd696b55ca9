"""Do normals keep still while a person moves? What the pose does to them along a clip, beside what moving does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.data.motion import load_motion, resample
from gdna.evaluate.maps import degrees_between
from gdna.extract.pose import pose_mesh
from gdna.generate.animation import animate
from gdna.types import AvatarMesh, Motion

FRAME_RATE = 30.0  # of which "a frame" is one
SECONDS = 4.0
AT_ONCE = 8


@dataclass(frozen=True)
class MotionStability:
    """Degrees, means over vertices, frames and people, of predicted normals in canonical orientation (so that moving
    alone changes nothing), and of what skinning does to normals that do not change.

    A field that is blind to the pose has zero everywhere but in `turn_deg`. One that sees it shall have a large
    `pose_deg` (it answers the pose), `change_deg` well under `turn_deg`, and `flicker_deg` far under `change_deg`.
    """

    pose_deg: float  # from the canonical pose to a frame
    change_deg: float  # from frame to frame
    flicker_deg: float  # from a frame to the mean of the frames before and after it: what does not last
    turn_deg: float  # the surface's own: from frame to frame, of constant normals in posed space

    def summary(self) -> dict[str, float]:
        return {f"motion_{name}": value for name, value in vars(self).items()}


def clip_of(name: str) -> Motion:
    """The first seconds of a clip, 30 frames each."""
    motion = resample(load_motion(name), FRAME_RATE)
    rows = slice(int(SECONDS * FRAME_RATE))
    hands = None if motion.hands is None else motion.hands[rows]
    return replace(
        motion, joint_rotations=motion.joint_rotations[rows], translation=motion.translation[rows], hands=hands
    )


def stability(mesh: AvatarMesh, motion: Motion) -> MotionStability:
    """Of one person playing a clip."""
    transforms = animate(mesh, motion).bone_transforms
    still = replace(mesh, normals_in=None)
    turns = [_mean_degrees(a.normals, b.normals) for a, b in pairwise(pose_mesh(still, transforms))]
    frames = list(_canonical_normals(mesh, transforms))
    between = [(a + c) / 2 for a, c in zip(frames, frames[2:], strict=False)]
    return MotionStability(
        float(np.mean([_mean_degrees(frame, mesh.normals) for frame in frames])),
        _mean([_mean_degrees(a, b) for a, b in pairwise(frames)]),
        _mean([_mean_degrees(a, b) for a, b in zip(frames[1:], between, strict=False)]),
        _mean(turns),
    )


def mean_stability(rows: Sequence[MotionStability]) -> MotionStability:
    return MotionStability(*np.mean([list(vars(row).values()) for row in rows], axis=0).tolist())


def _canonical_normals(mesh: AvatarMesh, bone_transforms: Float[Tensor, "T J 4 4"]) -> Iterator[Float[Tensor, "V 3"]]:
    for some in bone_transforms.split(AT_ONCE):
        yield from [mesh.normals] * len(some) if mesh.normals_in is None else mesh.normals_in(some)


def _mean_degrees(one: Float[Tensor, "V 3"], other: Float[Tensor, "V 3"]) -> float:
    return float(degrees_between(one, torch.nn.functional.normalize(other, dim=-1)).mean())


def _mean(values: Sequence[float]) -> float:
    """Zero for a clip too short to tell."""
    return float(np.mean(values)) if values else 0.0
