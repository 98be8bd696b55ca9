"""What a model in training can do so far, as a picture for its log."""

from __future__ import annotations

import time

import numpy as np
import torch
from jaxtyping import UInt8

from gdna.body.interface import BodyModel
from gdna.errors import GdnaError
from gdna.generate.filming import film_camera
from gdna.generate.loading import body_on
from gdna.generate.people import Model
from gdna.model.avatar_model import AvatarModel
from gdna.render.shade import render_pair
from gdna.render.video import contact_sheet
from gdna.types import Motion

PEOPLE = 4
RESOLUTION = 64
SHARE = 0.05  # of the training time at most
WHITE = 255


class Preview:
    """The first training people standing in the zero pose, shaded and as normals; white where there is no surface yet.

    The last picture is given again where a new one would slow training down.
    """

    def __init__(self, body: BodyModel, image_size: int = 256) -> None:
        self.body, self.camera = body, film_camera(image_size)
        self._picture: np.ndarray | None = None
        self._made_at, self._cost = 0.0, 0.0

    def __call__(self, network: AvatarModel) -> UInt8[np.ndarray, "H W 3"]:
        started = time.monotonic()
        if self._picture is None or SHARE * (started - self._made_at) >= self._cost:
            self._picture = self._draw(network)
            self._made_at = time.monotonic()
            self._cost = self._made_at - started
        return self._picture

    def _draw(self, network: AvatarModel) -> UInt8[np.ndarray, "H W 3"]:
        config = network.config
        betas = torch.zeros(config.num_people, config.num_betas)
        model = Model("preview", network, body_on(self.body, network.z_shapes.weight.device), betas)
        pictures = [self._person(model, index) for index in range(min(PEOPLE, config.num_people))]
        return contact_sheet(pictures, columns=2)

    def _person(self, model: Model, index: int) -> UInt8[np.ndarray, "H W2 3"]:
        joints = len(model.body.parents)
        standing = Motion("zero pose", torch.zeros(1, joints, 3), torch.zeros(1, 3), 1.0)
        try:
            mesh = model.training_person(index).mesh(RESOLUTION, "coarse")
            return render_pair(mesh.animate(standing)[0], self.camera)
        except GdnaError:
            size = self.camera.image_size
            return np.full((size, 2 * size, 3), WHITE, np.uint8)
