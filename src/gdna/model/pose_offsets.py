"""What the pose does to a shape: cloth hangs and gathers by how the body under it is bent, whoever wears it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gdna.fields.pose import joint_bends

# The body's joints that move cloth, by number (the same in all trees): hips to ankles and spine, collars, shoulders,
# elbows. Feet, neck, head, wrists and hands move next to none; they would only help to learn scans by heart.
JOINTS = (slice(1, 10), slice(13, 15), slice(16, 20))
POSE_NUMBERS = 9 * sum(joints.stop - joints.start for joints in JOINTS) + 3

STEP = 0.1  # of the weights in the map; they are a tenth of a network's, and an optimiser's steps are the same for all


class PoseOffsets(nn.Module):
    """Offset of a person's shape code in a pose: W (pose - own pose).

    It counts from the pose of the person's own code: the mean of its training scans, or that of its scan at rest. W
    starts at zero: the model starts as one whose shapes are blind to the pose. It is linear and the same for everybody
    on purpose: from a few hundred scans, a hidden layer or a say of the person's code learned more of them by heart and
    less of people left out. What it means for skirt or leggings is the generator's to say.
    """

    mean: Float[Tensor, "n P"]  # pose of each training person's own code

    def __init__(self, num_people: int, dim_shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim_shape, POSE_NUMBERS))
        self.register_buffer("mean", torch.zeros(num_people, POSE_NUMBERS))

    def forward(self, pose: Float[Tensor, "B P"], start: Float[Tensor, "B P"]) -> Float[Tensor, "B Z"]:
        """From the pose `start` to `pose`, both as `pose_numbers` tells them."""
        return (pose - start) @ (STEP * self.weight).T

    def set_people(self, poses: Float[Tensor, "m P"], person: Int[Tensor, " m"], share: Float[Tensor, " m"]) -> None:
        """Count from the mean pose of each person's scans, of which there are m, with each `share` in it
        (`origin_shares`)."""
        self.mean.copy_(torch.zeros_like(self.mean).index_add(0, person, share[:, None] * poses))


def pose_numbers(bone_transforms: Float[Tensor, "B J 4 4"], parents: tuple[int, ...]) -> Float[Tensor, "B P"]:
    """Bends of the joints, and where up is for the pelvis, as gravity pulls on cloth. Zero in the canonical pose; the
    same wherever the person stands and faces. `bone_transforms` are canonical -> posed, y up."""
    bends = joint_bends(bone_transforms, parents)
    up = bone_transforms[:, 0, 1, :3]  # the world's y in the pelvis' frame
    tilt = torch.cat([up[:, :1], up[:, 1:2] - 1, up[:, 2:]], 1)
    return torch.cat([*(bends[:, joints].flatten(1) for joints in JOINTS), tilt], 1)
