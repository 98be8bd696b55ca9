"""One person of the model as a canonical mesh that can be posed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.errors import GdnaError
from gdna.extract.detail import evened, with_folds
from gdna.extract.iso_surface import largest_part, polished
from gdna.extract.posed_normals import PosedNormals
from gdna.extract.refine import find_surface
from gdna.extract.subdivide import subdivided
from gdna.fields.pose import PosableNormals, PoseHead
from gdna.geometry.arithmetic import matmul_precision
from gdna.geometry.cores import each
from gdna.geometry.mesh import fuse_normals, vertex_normals
from gdna.model.avatar_model import AvatarModel
from gdna.types import AvatarMesh, Subject

Precision = Literal["float32", "bfloat16"]
Geometry = Literal["coarse", "fine", "finest"]

GROWTH = 0.10  # of the body's box, by its longest side, half of it at either end
MARGIN = 0.08  # metres of clothes on each side
START_CELLS = 16  # across the longest side: cells of about 14 cm, thinner than any torso, so the body is not missed
GPU_START_CELLS = 64  # fewer rounds of more questions
POLISH = 2  # at 256 cells 0.27 mm along the edge become 0.018 mm on average (one: 0.034); the last brings the weights
INFLUENCES = 8  # bones a vertex keeps: two sets of four in glTF
CPU_POINTS_AT_ONCE = 1024  # activations stay in the core's second-level cache
GPU_POINTS_AT_ONCE = 2**18


@dataclass(frozen=True)
class MeshQuality:
    """`geometry` "fine": predicted folds move vertices, where the normal field is trained; "finest": those of a mesh of
    four times as many faces; "coarse": they are in the normals only. `precision` "bfloat16" asks the networks in half
    precision: a quarter faster on CPUs that have it (AMX); vertices then move by under 0.1 mm on average."""

    geometry: Geometry = "coarse"
    precision: Precision = "float32"


def body_box(vertices_canonical: Float[Tensor, "V 3"]) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Low and high corner of the box in which a clothed body is looked for."""
    low, high = vertices_canonical.amin(0), vertices_canonical.amax(0)
    grow = GROWTH / 2 * (high - low).max() + MARGIN
    return low - grow, high + grow


def extract_avatar(
    model: AvatarModel,
    subject: Subject,
    vertices_canonical: Float[Tensor, "B 3"],
    joints: Float[Tensor, "J 3"],
    parents: tuple[int, ...],
    resolution: int,
    quality: MeshQuality | None = None,
) -> AvatarMesh:
    """The largest connected part of the model's surface (logit 0) of one person, with skinning weights and normals.

    `vertices_canonical` are the body's, for the box to look in; `resolution` as in `extract_surface`. Each vertex
    keeps its 8 largest weights, brought to sum 1, so that a glTF file skins as `pose_mesh` does. Normals: the
    normal field's where it is trained, fused with the surface's own; else the surface's own. Raises `GdnaError` where
    there is no surface in the box.
    """
    quality = quality or MeshQuality()
    if len(subject.betas) != 1:
        raise GdnaError(f"extract_avatar: found {len(subject.betas)} people in the subject, expected one at a time")
    ask = _Asking(model, subject, quality.precision)
    folds = quality.geometry != "coarse" and ask.fields.normals is not None
    low, high = body_box(vertices_canonical)
    with torch.no_grad():
        start = GPU_START_CELLS if low.is_cuda else START_CELLS
        with matmul_precision("high" if low.is_cuda else "highest"):  # the polish is exact, the corners need not be
            surface, lattice = find_surface(ask.logits, low, high, resolution, start=start)
        if len(surface.faces) == 0:
            raise GdnaError("extract_avatar: the model has no surface in the body's box; is it trained?")
        surface = largest_part(surface)
        with matmul_precision("highest"):
            if folds:
                vertices = evened(lattice.clamped(polished(surface, [ask.logits] * (POLISH - 1))), surface.faces)
                ask.logits_and_attributes(vertices)
            else:
                vertices = polished(surface, [ask.logits] * (POLISH - 1) + [ask.logits_and_attributes])
                vertices = lattice.clamped(vertices)
        faces, attributes = surface.faces, ask.attributes
        assert attributes is not None
        weights = prune(attributes.skin_weights, INFLUENCES)
        normals, normals_in = attributes.normals(vertex_normals(vertices, faces), weights)
        mesh = AvatarMesh(vertices, faces, normals, weights, joints, parents, normals_in)
        if folds and quality.geometry == "finest":
            mesh = subdivided(mesh)
            mesh = replace(mesh, skin_weights=prune(mesh.skin_weights, INFLUENCES))
        return with_folds(mesh) if folds else mesh


def with_details(model: AvatarModel, subject: Subject, mesh: AvatarMesh) -> AvatarMesh:
    """The mesh with the normals of a person of the same shape and body; its vertices stay."""
    ask = _Asking(model, subject, "float32")
    with torch.no_grad():
        ask.logits_and_attributes(mesh.vertices)
        assert ask.attributes is not None
        own = vertex_normals(mesh.vertices, mesh.faces)
        normals, normals_in = ask.attributes.normals(own, mesh.skin_weights)
    return replace(mesh, normals=normals, normals_in=normals_in)


def prune(weights: Float[Tensor, "V J"], count: int) -> Float[Tensor, "V J"]:
    """The `count` largest weights of each row, brought back to sum 1."""
    largest, bone = weights.topk(min(count, weights.shape[1]), dim=1)
    return torch.zeros_like(weights).scatter_(1, bone, largest / largest.sum(1, keepdim=True))


@dataclass(frozen=True)
class _Attributes:
    skin_weights: Float[Tensor, "V J"]
    predicted: Float[Tensor, "V 3"] | None  # normals; None: the normal field is not trained
    posable: PosableNormals | None  # None: it is, but does not see the pose
    head: PoseHead | None

    def normals(
        self, surface: Float[Tensor, "V 3"], skin_weights: Float[Tensor, "V J"]
    ) -> tuple[Float[Tensor, "V 3"], PosedNormals | None]:
        """Of the canonical pose and of any, fused with the surface's own."""
        if self.predicted is None:
            return surface, None
        normals = fuse_normals(self.predicted, surface)
        if self.posable is None or self.head is None:
            return normals, None
        return normals, PosedNormals(self.head, self.posable, surface, skin_weights)


class _Asking:
    """The model's answers about one person's canonical points, a batch that suits the device at a time."""

    def __init__(self, model: AvatarModel, subject: Subject, precision: Precision) -> None:
        self.fields = model.bind(subject)
        self.device = subject.features.device.type
        self.half = precision == "bfloat16"
        self.attributes: _Attributes | None = None

    def logits(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        return self._in_parts(self._logits, points)[0].float()

    def logits_and_attributes(self, points: Float[Tensor, "V 3"]) -> Float[Tensor, " V"]:
        """The logits; `attributes` are those of these points then."""
        logits, weights, *normals = (answer.float() for answer in self._in_parts(self._all, points))
        by_pose = self.fields.posable.head if self.fields.posable else None
        if by_pose is None:
            self.attributes = _Attributes(weights, normals[0] if normals else None, None, None)
        else:
            posable = PosableNormals(*normals)
            still = by_pose.normals(posable, torch.zeros_like(posable.key[:1]))
            self.attributes = _Attributes(weights, still, posable, by_pose)
        return logits

    def _logits(self, points: Float[Tensor, "1 N 3"]) -> tuple[Tensor, ...]:
        return (self.fields.occupancy(self.fields.to_neutral(points))[0],)

    def _all(self, points: Float[Tensor, "1 N 3"]) -> tuple[Tensor, ...]:
        points_neutral = self.fields.to_neutral(points)
        weights, (logits, read) = self.fields.skin_weights(points_neutral), self.fields.read(points_neutral)
        if self.fields.normals is None:
            return logits, weights
        if self.fields.posable is not None:
            posable = self.fields.posable.posable(points_neutral, read.float())
            return logits, weights, posable.base, posable.key
        return logits, weights, self.fields.normals(points_neutral, read.float())

    def _in_parts(
        self, ask: Callable[[Float[Tensor, "1 N 3"]], tuple[Tensor, ...]], points: Float[Tensor, "N 3"]
    ) -> list[Tensor]:
        """The answers of `ask` to all points; on a CPU, each thread asks parts of its own."""

        def part(some: Float[Tensor, "N 3"]) -> tuple[Tensor, ...]:
            with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=self.half):
                return ask(some[None])

        if self.device != "cpu":
            answers = [part(some) for some in points.split(GPU_POINTS_AT_ONCE)]
        else:
            answers = each(part, points.split(CPU_POINTS_AT_ONCE))
        return [torch.cat(columns, 1)[0] for columns in zip(*answers, strict=True)]
