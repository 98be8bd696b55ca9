"""The body on its way from the start pose to a pose: what cloth collides with and what accessories are carried by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from gdna.body.open_body import open_body
from gdna.synthesize.accessories import Accessory
from gdna.synthesize.boots import fit_shoes
from gdna.synthesize.garment import BodyPath
from gdna.synthesize.mannequin import Mannequin, joint
from gdna.types import BodyParams

SKULL_CENTRE = np.array([0.0, 0.085, 0.01])  # metres from the head joint, canonical


def blend(
    points: Float[np.ndarray, "P 3"], weights: Float[np.ndarray, "P J"], transforms: Float[np.ndarray, "J 4 4"]
) -> Float[np.ndarray, "P 3"]:
    """Linear blend skinning."""
    mixed = (weights @ transforms[:, :3].reshape(len(transforms), 12)).reshape(-1, 3, 4)
    return np.einsum("vij,vj->vi", mixed[:, :, :3], points) + mixed[:, :, 3]


@dataclass(frozen=True)
class Stage:
    """A body, its motion, and the shoes it wears while moving."""

    body: Mannequin
    path: BodyPath  # the skin without the head, shoes instead of the feet
    skin: Float[np.ndarray, "C 3"]  # posed
    eyes: Float[np.ndarray, "E 3"]  # posed
    eye_faces: Int[np.ndarray, "G 3"]
    joints: Float[np.ndarray, "24 3"]  # posed
    transforms: Float[np.ndarray, "24 4 4"]  # canonical -> posed
    shoes: Accessory | None  # canonical

    @property
    def upward(self) -> Float[np.ndarray, "3"]:
        """Unit vector along the neck, posed."""
        along = self.joints[joint("head")] - self.joints[joint("neck")]
        return along / np.linalg.norm(along)

    @property
    def skull(self) -> Float[np.ndarray, "3"]:
        """The middle of the skull, posed."""
        head = joint("head")
        return self.joints[head] + self.transforms[head, :3, :3] @ SKULL_CENTRE

    @property
    def shoes_at_start(self) -> Float[np.ndarray, "A 3"]:
        """The shoes in the start pose."""
        assert self.shoes is not None
        return blend(self.shoes.vertices, self.shoes.skin_weights, self.body.transforms)

    def wear(self, asset: Accessory) -> Float[np.ndarray, "A 3"]:
        """An accessory's vertices, posed."""
        return blend(asset.vertices, asset.skin_weights, self.transforms)


def move(
    body: Mannequin, betas: Float[np.ndarray, " S"], rotations: Float[np.ndarray, "T 24 3"], shoes: str | None
) -> Stage:
    """Walk a body of shape `betas` through joint rotations that begin in the start pose."""
    model = open_body()
    frames = len(rotations)
    posed = model(
        BodyParams(
            torch.from_numpy(betas)[None].expand(frames, -1),
            torch.from_numpy(rotations).float(),
            torch.zeros(frames, 3),
        )
    )
    transforms = posed.bone_transforms.double().numpy()
    vertices = posed.vertices.double().numpy()
    count = int(body.skin_quads.max()) + 1
    asset = None if shoes is None else fit_shoes(shoes, body)
    faces = np.asarray(model.faces)
    used, local = np.unique(faces[faces.min(1) >= count], return_inverse=True)
    return Stage(
        body=body,
        path=_path(body, vertices[:, :count], transforms, asset),
        skin=vertices[-1, :count],
        eyes=vertices[-1, used],
        eye_faces=local.reshape(-1, 3),
        joints=posed.joints[-1].double().numpy(),
        transforms=transforms[-1],
        shoes=asset,
    )


def _path(body: Mannequin, skin: np.ndarray, transforms: np.ndarray, shoes: Accessory | None) -> BodyPath:
    count = skin.shape[1]
    faces, weights = body.skin_faces, body.skin_weights[:count]
    faces = faces[(weights[:, joint("head")] < 0.5)[faces].all(1)]  # or the chin lifts collars
    if shoes is not None:
        worn = np.stack([blend(shoes.vertices, shoes.skin_weights, t) for t in transforms])
        faces = np.concatenate([faces[~shoes.hides[:count][faces].all(1)], shoes.faces + count])
        skin = np.concatenate([skin, worn], 1)
        weights = np.concatenate([weights, shoes.skin_weights])
    return BodyPath(skin, faces, weights, transforms @ np.linalg.inv(transforms[:1]))
