"""Is a person whole? Parts that float, holes that should not be, limbs that are missing: of the model's whole surface,
and of what is generated, which is its largest part and nobody who is torn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.body.skeleton import JOINT_NAMES, JOINTS_OF
from gdna.data.inside import components
from gdna.evaluate.surface import Surface
from gdna.extract.avatar_mesh import body_box
from gdna.extract.refine import extract_surface
from gdna.generate.people import Person
from gdna.generate.whole import MOST_HANDLES, Instead, meshed
from gdna.geometry.mesh import genus
from gdna.types import BodyParams

START_CELLS = 64  # cells of about 3.5 cm: what floats is found where it is larger than that
POINTS_AT_ONCE = {"cpu": 2**13, "cuda": 2**18}
ALONG = np.linspace(0.1, 0.9, 9)  # where a bone is asked
HEAD_REACH = 0.5  # of the neck's length, beyond the head's joint
HEAD = JOINT_NAMES.index("head")  # in every tree
BONE_CELL = 0.02  # metres: these points are few, and looked up by such squares
COVERED = 0.5  # share of a bone that must lie inside
LARGE_CM3 = 2.0  # fingertips that cells of 9 to 17 mm cut off are smaller


@dataclass(frozen=True)
class SurfaceHealth:
    """Of one person's surface."""

    floaters: int  # closed parts outside the largest
    floater_cm3: float  # of together
    large_floaters: int  # above `LARGE_CM3`
    cavities: int  # closed parts turned inward: bubbles that nobody sees
    handles: int  # genus of the largest part
    missing_bones: tuple[str, ...]  # of the largest part

    @property
    def broken(self) -> bool:
        return self.floaters > 0 or bool(self.missing_bones) or self.torn

    @property
    def torn(self) -> bool:
        return self.handles > MOST_HANDLES


@dataclass(frozen=True)
class SampleHealth:
    """Of one random person."""

    field: SurfaceHealth  # the model's whole surface, floating parts included
    generated: SurfaceHealth  # the mesh that `gdna generate` writes, of this person or of who comes in the place
    drawn_again: int  # how many were torn and made room

    @property
    def notable(self) -> bool:
        """Whether the field shows something large, or the mesh anything."""
        return self.field.torn or bool(self.field.missing_bones or self.field.large_floaters) or self.generated.broken


@dataclass(frozen=True)
class HealthReport:
    """Of many people."""

    people: tuple[SampleHealth, ...]

    def summary(self) -> dict[str, float]:
        """Counts and means: of what is generated, and by `field_` of the model's whole surfaces."""
        generated, fields = [p.generated for p in self.people], [p.field for p in self.people]
        counts = {"samples": len(self.people), "drawn_again": sum(p.drawn_again for p in self.people)}
        for prefix, surfaces in (("", generated), ("field_", fields)):
            counts |= {
                f"{prefix}broken": sum(s.broken for s in surfaces),
                f"{prefix}with_floaters": sum(s.floaters > 0 for s in surfaces),
                f"{prefix}with_missing_bones": sum(bool(s.missing_bones) for s in surfaces),
                f"{prefix}with_many_handles": sum(s.torn for s in surfaces),
            }
        counts["field_with_large_floaters"] = sum(s.large_floaters > 0 for s in fields)
        means = {
            "handles": float(np.mean([s.handles for s in generated])),
            "field_handles": float(np.mean([s.handles for s in fields])),
            "field_floater_cm3": float(np.median([s.floater_cm3 for s in fields])),
        }
        return {name: float(count) for name, count in counts.items()} | means


def check_person(person: Person, resolution: int, instead: Instead | None = None) -> SampleHealth:
    """The model's whole surface of a person, and the mesh that is generated; with `instead` of who comes in the place
    of somebody torn, as `gdna.generate.whole` has it. Folds move vertices only, so it is looked at without them."""
    parents = person.model.body.parents
    names = JOINTS_OF[parents]
    field = check_surface(*raw_surface(person, resolution), parents, names)
    found = meshed(person, resolution, instead)
    mesh = found.avatar
    surface = Surface(mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy())
    generated = check_surface(surface, mesh.joints.cpu().numpy(), parents, names)
    return SampleHealth(field, generated, found.thrown)


@torch.no_grad()
def raw_surface(person: Person, resolution: int) -> tuple[Surface, Float[np.ndarray, "J 3"]]:
    """The whole canonical surface of logit 0 in the body's box, and the joints."""
    network, body = person.model.network, person.model.body
    still = BodyParams(
        person.betas[None], person.betas.new_zeros(1, len(body.parents), 3), person.betas.new_zeros(1, 3)
    )
    posed = body(still)
    fields = network.bind(network.subject(person.codes, person.betas[None]))
    at_once = POINTS_AT_ONCE.get(person.model.device.type, POINTS_AT_ONCE["cpu"])

    def logits(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        return torch.cat([fields.occupancy(fields.to_neutral(p[None]))[0][0] for p in points.split(at_once)])

    low, high = body_box(posed.vertices_canonical[0, body.faces.unique()])
    vertices, faces = extract_surface(logits, low, high, resolution, start=min(START_CELLS, resolution))
    return Surface(vertices.cpu().numpy(), faces.cpu().numpy()), posed.joints_canonical[0].cpu().numpy()


def check_surface(
    surface: Surface, joints: Float[np.ndarray, "J 3"], parents: tuple[int, ...], names: tuple[str, ...] = JOINT_NAMES
) -> SurfaceHealth:
    """Parts, genus and bones of a closed surface whose faces look outward."""
    if len(surface.faces) == 0:
        return SurfaceHealth(0, 0.0, 0, 0, 0, names[1:])
    parts = components(surface.faces, len(surface.vertices))
    volumes = part_volumes(surface, parts)
    main = int(volumes.argmax())
    floating = np.arange(len(parts)) != main
    floaters = floating & (volumes > 0)
    whole = Surface(surface.vertices, surface.faces[parts[main]])
    return SurfaceHealth(
        floaters=int(floaters.sum()),
        floater_cm3=1e6 * float(volumes[floaters].sum()),
        large_floaters=int((1e6 * volumes[floaters] > LARGE_CM3).sum()),
        cavities=int((floating & (volumes <= 0)).sum()),
        handles=genus(torch.from_numpy(surface.faces[parts[main]])),
        missing_bones=tuple(names[bone] for bone in missing_bones(whole, joints, parents)),
    )


def part_volumes(surface: Surface, parts: Sequence[Int[np.ndarray, " _"]]) -> Float[np.ndarray, " P"]:
    """Cubic metres that each closed part (numbers of its faces) encloses; negative where it is turned inward."""
    from gdna.data.surface_kernels import volumes_and_areas

    faces = np.ascontiguousarray(surface.faces[np.concatenate(parts)], np.int64)
    ends = np.cumsum([len(part) for part in parts])
    return volumes_and_areas(np.ascontiguousarray(surface.vertices, np.float64), faces, ends)[0]


def missing_bones(surface: Surface, joints: Float[np.ndarray, "J 3"], parents: tuple[int, ...]) -> list[int]:
    """Bones (by their far joint) of which less than half lies inside the closed surface. The head's goes half its
    length further, into the skull."""
    bones = [joint for joint, parent in enumerate(parents) if parent >= 0]
    start, way = joints[[parents[b] for b in bones]], joints[bones] - joints[[parents[b] for b in bones]]
    reach = np.array([1 + HEAD_REACH * (b == HEAD) for b in bones])
    points = start[:, None] + ALONG[:, None] * (way * reach[:, None])[:, None]
    covered = enclosed_by(surface, points.reshape(-1, 3).astype(np.float64))
    share = covered.reshape(len(bones), -1).mean(1)
    return [bone for bone, of_bone in zip(bones, share, strict=True) if of_bone < COVERED]


def enclosed_by(surface: Surface, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
    """Which points a closed connected surface encloses: `gdna.data.inside.inside`, without asking whether it is one."""
    from gdna.data.crossing_kernels import enclosed

    vertices, faces = (np.ascontiguousarray(a, kind) for a, kind in ((surface.vertices, float), (surface.faces, int)))
    return enclosed(vertices, faces, np.array([len(faces)]), points, BONE_CELL)
