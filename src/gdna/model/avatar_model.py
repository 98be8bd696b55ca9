"""The generative model of clothed people: fields, codes and the questions asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from gdna.body.skeleton import JOINTS_OF
from gdna.deform.blend import blend_transforms
from gdna.deform.grid import TransformGrid, WeightGrid
from gdna.deform.implicit import attach_gradient, attach_gradients
from gdna.deform.packing import gather, pack, unpack
from gdna.deform.search import SearchSettings, find_correspondences, make_grid
from gdna.errors import GdnaError
from gdna.fields.bound_weights import BoundWeights
from gdna.fields.generator import ShapeGenerator
from gdna.fields.mlp import MlpSizes
from gdna.fields.normal import NormalField
from gdna.fields.occupancy import Ask, BoundOccupancy, OccupancyField
from gdna.fields.skinning import SkinningField
from gdna.fields.warp import ShapeWarp
from gdna.geometry.arithmetic import full_precision
from gdna.geometry.linalg import inverse_3x3, matvec
from gdna.model.bound import BoundFields
from gdna.model.config import ModelConfig
from gdna.model.pose_offsets import PoseOffsets, pose_numbers
from gdna.model.scan_offsets import ScanOffsets
from gdna.types import Codes, Subject

FINE_PARTS = ("normal.", "z_details.")  # how names of parameters that the fine stage trains begin
OUTSIDE = -1000.0  # logit of a posed point without any canonical correspondence


@dataclass(frozen=True)
class PosedQuery:
    """What the model says of posed points; where not `found`, logits are -1000, points and hidden values zero."""

    logits: Float[Tensor, "B N"]
    points_neutral: Float[Tensor, "B N 3"]  # of the root with the largest logit
    hidden: Float[Tensor, "B N K"]
    found: Bool[Tensor, "B N"]
    dropped: Int[Tensor, ""]  # correspondences that fixed capacities had no room for


class AvatarModel(nn.Module):
    """Auto-decoder over `config.num_people` people: one shape and one detail code each, starting at zero."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        occupancy, normal, deformer = config.network, config.norm_network, config.deformer
        self.generator = ShapeGenerator(config.dim_shape)
        sizes = MlpSizes(
            1, occupancy.width, occupancy.depth, 0, 64, frequencies=occupancy.multires, skip=occupancy.skip_in
        )
        self.occupancy = OccupancyField(sizes, occupancy.bias, occupancy.logit_scale)
        warp, skinning = deformer.disp_network, deformer.lbs_network
        self.warp = ShapeWarp(MlpSizes(3, warp.width, warp.depth, min(deformer.warp_betas, config.num_betas)))
        self.skinning = SkinningField(
            MlpSizes(config.num_bones, skinning.width, skinning.depth, config.dim_shape), deformer.soft_blend
        )
        of_surface = normal.base == "surface"
        self.normal = NormalField(
            MlpSizes(
                3,
                normal.width,
                normal.depth,
                config.dim_detail,
                sizes.dim_hidden + 3 * of_surface,
                normal.multires,
                normal.skip_in,
            ),
            bone_tree(config.num_bones) if normal.pose == "local" else None,
            of_surface,
        )
        self.z_shapes = nn.Embedding(config.num_people, config.dim_shape)
        self.z_details = nn.Embedding(config.num_people, config.dim_detail)
        nn.init.zeros_(self.z_shapes.weight)
        nn.init.zeros_(self.z_details.weight)
        self.scan_offsets = None
        if config.num_scans:
            self.scan_offsets = ScanOffsets(config.num_scans, config.dim_shape, config.person_code == "rest")
        self.pose_offsets = None
        if config.shape_pose == "local":
            self.parents = bone_tree(config.num_bones)
            self.pose_offsets = PoseOffsets(config.num_people, config.dim_shape)

    def search_settings(self, backend: str = "auto") -> SearchSettings:
        """As the configuration says."""
        deformer = self.config.deformer
        return SearchSettings(max_steps=deformer.max_steps, init_bones=deformer.init_bones, backend=backend)

    def codes(self, index: Int[Tensor, " B"], scans: Int[Tensor, " B"] | None = None) -> Codes:
        """Learned codes of training people; where `scans` are given, as these training scans of theirs show them."""
        shape = self.z_shapes(index)
        if scans is not None and self.scan_offsets is not None:
            shape = shape + self.scan_offsets(scans, self.config.num_people)
        return Codes(shape, self.z_details(index))

    def codes_in(self, index: Int[Tensor, " B"], bone_transforms: Float[Tensor, "B J 4 4"]) -> Codes:
        """Codes of training people in other poses (canonical -> posed): their own codes where shapes do not see the
        pose."""
        codes = self.codes(index)
        if self.pose_offsets is None:
            return codes
        pose = pose_numbers(bone_transforms, self.parents)
        return replace(codes, shape=codes.shape + self.pose_offsets(pose, self.pose_offsets.mean[index]))

    def subject(self, codes: Codes, betas: Float[Tensor, "B S"]) -> Subject:
        """Run the generator once for people of these codes in these bodies."""
        own = codes.styles
        features = self.generator(codes.shape) if own is None else self.generator.of_styles(own)
        return Subject(betas, codes.shape, codes.detail, features)

    def bind(self, subject: Subject) -> BoundFields:
        """The fields of these people, to be asked many times."""
        normals = self.normal.bind(subject.detail) if self.config.stage == "fine" else None
        occupancy = self.occupancy.bind(subject.features)
        return BoundFields(
            self.warp.bind(subject.betas),
            occupancy,
            self._reading(occupancy),
            self.skinning.bind(subject.shape),
            normals,
            normals if self.normal.head is not None else None,
        )

    def to_neutral(
        self, points_canonical: Float[Tensor, "B N 3"], betas: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B N 3"]:
        return self.warp(points_canonical, betas)

    def occupancy_neutral(
        self, points_neutral: Float[Tensor, "B N 3"], subject: Subject
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Logits, positive inside, and the hidden activation."""
        return self.occupancy(points_neutral, subject.features)

    def read_neutral(
        self, points_neutral: Float[Tensor, "B N 3"], subject: Subject
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Logits, and what the normal field reads of the occupancy field: the hidden activation, followed by the
        surface's own normal where it corrects that (then without gradients)."""
        return self._reading(self.occupancy.bind(subject.features))(points_neutral)

    def _reading(self, occupancy: BoundOccupancy) -> Ask:
        return occupancy.with_normals if self.normal.of_surface else occupancy

    def occupancy_canonical(
        self, points_canonical: Float[Tensor, "B N 3"], subject: Subject
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"], Float[Tensor, "B N 3"]]:
        """Logits, hidden activation and the neutral points."""
        points_neutral = self.to_neutral(points_canonical, subject.betas)
        return *self.occupancy_neutral(points_neutral, subject), points_neutral

    def skin_weights(self, points_neutral: Float[Tensor, "B N 3"], subject: Subject) -> Float[Tensor, "B N J"]:
        return self.skinning(points_neutral, subject.shape)

    def weights_at(self, subject: Subject) -> BoundWeights:
        """Skinning weights as a function of the canonical point, for the parameters as they are now.

        The search of the original leaves the warp out (`DeformerConfig.weights_at`), all else asks at neutral points.
        """
        warp, skinning = self.warp.bind_mlp(subject.betas), self.skinning.mlp.bind(subject.shape)
        warp = warp.silent() if self.config.deformer.weights_at == "canonical" else warp
        return BoundWeights(warp, skinning, self.skinning.blend)

    def transform_grid(
        self, subject: Subject, bone_transforms: Float[Tensor, "B J 4 4"], search: SearchSettings
    ) -> TransformGrid:
        """For asking `occupancy_posed` many times of the same people in the same poses (rays)."""
        like = subject.features.new_empty(len(subject.betas), 0, 3)
        return make_grid(like, bone_transforms, self.weights_at(subject), search)

    def _neutral_roots(
        self,
        roots_canonical: Float[Tensor, "B M 3"],
        points_posed: Float[Tensor, "B M 3"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        subject: Subject,
        weights_at: BoundWeights,
    ) -> Float[Tensor, "B M 3"]:
        """Neutral points of roots, with gradients."""
        if self.config.deformer.weights_at == "neutral":
            return attach_gradients(roots_canonical, points_posed, bone_transforms, weights_at)[1]
        with full_precision():
            roots = attach_gradient(roots_canonical, points_posed, bone_transforms, weights_at)
            return self.to_neutral(roots, subject.betas)

    def normals_neutral(
        self, points_neutral: Float[Tensor, "B N 3"], read: Float[Tensor, "B N K"], subject: Subject
    ) -> Float[Tensor, "B N 3"]:
        """Unit normals in canonical orientation and canonical pose, from what `read_neutral` gives."""
        return self.normal(points_neutral, read, subject.detail)

    def normals_posed(
        self,
        points_neutral: Float[Tensor, "B N 3"],
        read: Float[Tensor, "B N K"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        subject: Subject,
    ) -> Float[Tensor, "B N 3"]:
        """Unit normals in posed space: by the inverse transpose of the blended transform."""
        weights, head = self.skin_weights(points_neutral, subject), self.normal.head
        blended = blend_transforms(weights, bone_transforms)
        local_pose = None if head is None else head.local_pose(weights, bone_transforms)
        normals = self.normal(points_neutral, read, subject.detail, local_pose)
        return normalize(matvec(inverse_3x3(blended[..., :3]).mT, normals), dim=-1)

    def occupancy_posed(
        self,
        points_posed: Float[Tensor, "B N 3"],
        bone_transforms: Float[Tensor, "B J 4 4"],
        subject: Subject,
        search: SearchSettings,
        grid: WeightGrid | TransformGrid | None = None,
        capacity: int | None = None,
    ) -> PosedQuery:
        """Largest logit over a point's canonical correspondences. Gradients reach all fields, the shape code, and
        `points_posed` and `bone_transforms` where they ask for it.

        The fields see the correspondences in `capacity` columns per subject; those beyond count in `dropped`. Without
        a capacity there are as many columns as it takes, and the device is waited for to learn how many.
        """
        weights_at = self.weights_at(subject)
        found = find_correspondences(points_posed, bone_transforms, weights_at, search, grid)
        tries = found.converged.shape[2]
        packed = pack(found.points_canonical.flatten(1, 2), found.converged.flatten(1), capacity)
        targets = gather(points_posed, packed.index // tries)
        points_neutral = self._neutral_roots(packed.values, targets, bone_transforms, subject, weights_at)
        logits, hidden = self.occupancy_neutral(points_neutral, subject)
        logits = logits.to(points_posed.dtype)
        everywhere = unpack(logits, packed, logits.new_full(packed.position.shape, OUTSIDE))
        best, start = everywhere.unflatten(1, (-1, tries)).max(-1)
        column = packed.position.unflatten(1, (-1, tries)).gather(-1, start[..., None])[..., 0]
        any_found = packed.kept.unflatten(1, (-1, tries)).any(-1)
        return PosedQuery(
            best,
            torch.where(any_found[..., None], gather(points_neutral, column), 0.0),
            torch.where(any_found[..., None], gather(hidden, column), 0.0),
            any_found,
            packed.overflow if found.dropped is None else packed.overflow + found.dropped,
        )


def bone_tree(num_bones: int) -> tuple[int, ...]:
    """Parents of the bones of the body that has so many. Raises `GdnaError` where no such body is known."""
    for parents in JOINTS_OF:
        if len(parents) == num_bones:
            return parents
    known = ", ".join(str(len(parents)) for parents in JOINTS_OF)
    raise GdnaError(
        f"model.norm_network.pose=local and model.shape_pose=local: a body of {num_bones} bones; trees are known of "
        f"{known} bones"
    )
