"""A trained model and its people: draw them, mix them, mesh them, keep them in a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.body.interface import BodyModel
from gdna.errors import GdnaError
from gdna.export.avatar_npz import AvatarRecord, load_avatar, save_avatar
from gdna.extract.avatar_mesh import Geometry, MeshQuality, extract_avatar
from gdna.fields.generator import STYLES
from gdna.generate.animation import Animation, animate
from gdna.model.avatar_model import AvatarModel
from gdna.model.codes import from_the_mean, sample_people
from gdna.model.config import NOVELTY
from gdna.types import AvatarMesh, BodyParams, Codes, Motion

RESOLUTION = 256  # cells along the longest side of a mesh that is looked at closely


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, the body it was trained on, and its training people's body shapes."""

    name: str
    network: AvatarModel = field(repr=False)
    body: BodyModel = field(repr=False)
    betas: Float[Tensor, "P S"] = field(repr=False)
    typical: int | None = None  # the training person whom whoever released the model would show; None: nobody is named

    @property
    def device(self) -> torch.device:
        return self.network.z_shapes.weight.device

    @property
    def num_people(self) -> int:
        """How many people it was trained on."""
        return self.network.config.num_people

    @cached_property
    def skin(self) -> Int[Tensor, " Vs"]:
        """The body's vertices that its faces use, ascending."""
        return self.body.faces.unique()

    def sample(
        self, count: int, seed: int = 0, random_betas: bool = True, novelty: float = NOVELTY
    ) -> tuple[Person, ...]:
        """Random people, the same for the same seed, in bodies drawn with their clothes or, without `random_betas`, in
        the mean body. `novelty` in [0, 1]: how little is left of any training person (see `sample_people`)."""
        return self.draw(count, torch.Generator().manual_seed(seed), random_betas, novelty)

    def draw(
        self, count: int, generator: torch.Generator, random_betas: bool = True, novelty: float = NOVELTY
    ) -> tuple[Person, ...]:
        """As `sample`, from a generator."""
        drawn = sample_people(self.network, self.betas, count, generator, novelty)
        betas, codes = drawn.betas * float(random_betas), drawn.codes
        return tuple(self.person(betas[i], codes.shape[i], codes.detail[i]) for i in range(count))

    def training_person(
        self, index: int, own_betas: bool = True, joint_rotations: Float[Tensor, "J 3"] | None = None
    ) -> Person:
        """A person the model was trained on, in its own body shape or in the mean one; with joint rotations (radians,
        root first) clothed as that pose leaves it, where the model's shapes see the pose."""
        if not 0 <= index < self.num_people:
            raise GdnaError(f"training person {index}: the model has {self.num_people}, counted from 0")
        betas = self.betas[index].to(self.device) * float(own_betas)
        z_shape, z_detail = (table.weight.detach()[index] for table in self._codes())
        if joint_rotations is not None:
            pose = BodyParams(betas[None], joint_rotations[None].to(betas), betas.new_zeros(1, 3))
            with torch.no_grad():
                transforms = self.body(pose).bone_transforms
                z_shape = self.network.codes_in(torch.tensor([index], device=self.device), transforms).shape[0]
        return self.person(betas, z_shape, z_detail)

    def typical_person(self) -> Person:
        """The training person whom the model's file names, else the one whose codes lie nearest to the mean of all."""
        nearest = int(from_the_mean(self.network).argmin()) if self.typical is None else self.typical
        return self.training_person(nearest)

    def mean_person(self) -> Person:
        """Mean codes in the mean body: a mixture of everybody's clothes, which nobody wears."""
        z_shape, z_detail = (table.weight.detach().mean(0) for table in self._codes())
        return self.person(torch.zeros(self.body.num_betas), z_shape, z_detail)

    def person(
        self,
        betas: Float[Tensor, " S"],
        z_shape: Float[Tensor, " Z"],
        z_detail: Float[Tensor, " Zd"],
        styles: Float[Tensor, " Y"] | None = None,
    ) -> Person:
        """The person of these numbers."""
        styles = None if styles is None else styles.to(self.device)
        return Person(self, betas.to(self.device), z_shape.to(self.device), z_detail.to(self.device), styles)

    def load_person(self, path: Path | str) -> Person:
        """A person that `Person.save` wrote. Raises `GdnaError` where the file is none or does not fit this model."""
        record, config = load_avatar(path), self.network.config
        styles = STYLES if record.styles is None else len(record.styles)
        found = (*(len(numbers) for numbers in (record.betas, record.shape, record.detail)), styles)
        expected = (config.num_betas, config.dim_shape, config.dim_detail, STYLES)
        if found != expected:
            raise GdnaError(
                f"{path}: betas, shape, detail and styles of {found} numbers, the model {self.name} takes {expected}; "
                "load it with the model that made it"
            )
        if record.mesh is not None and record.mesh.parents != self.body.parents:
            raise GdnaError(
                f"{path}: a mesh on {len(record.mesh.parents)} bones, the model {self.name} has "
                f"{len(self.body.parents)}; load it with the model that made it"
            )
        person = self.person(record.betas, record.shape, record.detail, record.styles)
        return person if record.mesh is None else replace(person, own_mesh=_on(record.mesh, self.device))

    def _codes(self) -> tuple[torch.nn.Embedding, torch.nn.Embedding]:
        return self.network.z_shapes, self.network.z_details


@dataclass(frozen=True, eq=False)
class Person:
    """Someone the model can make: body shape, shape code, detail code.

    A person fitted to a scan may have `styles` of its own in the generator's layers (None: those of `z_shape`), and a
    canonical mesh, which codes do not make.
    """

    model: Model
    betas: Float[Tensor, " S"] = field(repr=False)
    z_shape: Float[Tensor, " Z"] = field(repr=False)
    z_detail: Float[Tensor, " Zd"] = field(repr=False)
    styles: Float[Tensor, " Y"] | None = field(default=None, repr=False)
    own_mesh: AvatarMesh | None = field(default=None, repr=False)

    @property
    def codes(self) -> Codes:
        return Codes(self.z_shape[None], self.z_detail[None], None if self.styles is None else self.styles[None])

    @property
    def layer_styles(self) -> Float[Tensor, " Y"]:
        """What the generator's layers are told of this person."""
        return self.model.network.generator.styles_of(self.z_shape[None])[0] if self.styles is None else self.styles

    def blend(self, other: Person, share: float) -> Person:
        """The person `share` of the way to `other`, in codes, styles and body shape."""
        pairs = ((self.betas, other.betas), (self.z_shape, other.z_shape), (self.z_detail, other.z_detail))
        betas, z_shape, z_detail = (torch.lerp(a, b, share) for a, b in pairs)
        if self.styles is None and other.styles is None:  # between codes, styles follow
            return Person(self.model, betas, z_shape, z_detail)
        styles = torch.lerp(self.layer_styles, other.layer_styles, share)
        return Person(self.model, betas, z_shape, z_detail, styles)

    def mesh(self, resolution: int = RESOLUTION, geometry: Geometry = "fine") -> Avatar:
        """The person as a canonical mesh, `resolution` cells along the longest side; "fine": predicted folds move its
        vertices, "finest": those of four times as many faces, "coarse": they are in its normals only.

        Their own mesh, where they have one. Raises `GdnaError` where the model has no surface there (it is hardly
        trained).
        """
        if self.own_mesh is not None:
            return Avatar(**vars(self.own_mesh))
        network, body = self.model.network, self.model.body
        parameters = BodyParams(
            self.betas[None], self.betas.new_zeros(1, len(body.parents), 3), self.betas.new_zeros(1, 3)
        )
        with torch.no_grad():
            posed = body(parameters)
            skin = posed.vertices_canonical[0, self.model.skin]
            subject = network.subject(self.codes, self.betas[None])
            joints, quality = posed.joints_canonical[0], MeshQuality(geometry)
            mesh = extract_avatar(network, subject, skin, joints, body.parents, resolution, quality)
        return Avatar(**vars(mesh))

    def save(self, path: Path | str) -> None:
        """Write the person's numbers (npz); `Model.load_person` makes the same person again."""
        pose = torch.zeros(len(self.model.body.parents), 3)
        save_avatar(path, self.record(pose, torch.zeros(3)))

    def record(self, joint_rotations: Float[Tensor, "J 3"], translation: Float[Tensor, " 3"]) -> AvatarRecord:
        """What a file keeps of the person, in a pose."""
        numbers = self.z_shape, self.z_detail, self.betas
        return AvatarRecord(*numbers, joint_rotations, translation, self.own_mesh, self.styles)

    def with_codes(
        self,
        betas: Float[Tensor, " S"] | None = None,
        z_shape: Float[Tensor, " Z"] | None = None,
        z_detail: Float[Tensor, " Zd"] | None = None,
    ) -> Person:
        """The person with some numbers changed: made by the model, without a mesh of its own; another shape code
        brings its own styles."""
        return Person(
            self.model,
            self.betas if betas is None else betas,
            self.z_shape if z_shape is None else z_shape,
            self.z_detail if z_detail is None else z_detail,
            self.styles if z_shape is None else None,
        )


@dataclass(frozen=True, eq=False)
class Avatar(AvatarMesh):
    """A person's canonical mesh, ready to move."""

    def animate(self, motion: Motion) -> Animation:
        """The posed meshes of a clip, made as they are asked for."""
        return animate(self, motion)


def _on(mesh: AvatarMesh, device: torch.device) -> AvatarMesh:
    return AvatarMesh(
        mesh.vertices.to(device),
        mesh.faces.to(device),
        mesh.normals.to(device),
        mesh.skin_weights.to(device),
        mesh.joints.to(device),
        mesh.parents,
    )
