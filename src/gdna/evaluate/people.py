"""Generated people against real ones, by the features of their normal maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.evaluate.distribution import DistributionDistance, compare, mean_pairwise_distance, nearest
from gdna.evaluate.features import FeatureNetwork, extract_features
from gdna.evaluate.maps import Image, ViewSettings, images_of, prepared_images, render_pairs
from gdna.evaluate.reconstruct import reconstruct
from gdna.evaluate.sets import ScanSet
from gdna.extract.avatar_mesh import Geometry
from gdna.generate.people import Model, Person
from gdna.model.codes import nearest_people
from gdna.model.pose_offsets import pose_numbers
from gdna.types import BodyParams, Codes, PosedMesh

SHOWN = 8  # people on the sheet of nearest neighbours
NEIGHBOURS = 3


@dataclass(frozen=True)
class FeatureSet:
    """People from all sides: row `p * views + v` is view v of person p. `front` are the pictures of view 0."""

    features: Float[Tensor, "N D"]
    person: Int[Tensor, " N"]
    front: tuple[Image, ...] = field(repr=False)

    @property
    def views(self) -> int:
        return len(self.features) // len(self.front)

    def of_people(self) -> Float[Tensor, "P D"]:
        """The mean over a person's views."""
        return self.features.unflatten(0, (-1, self.views)).mean(1)

    def diversity(self) -> float:
        """Mean distance between two people seen from the same side."""
        per_view = self.features.unflatten(0, (-1, self.views)).unbind(1)
        return sum(mean_pairwise_distance(f) for f in per_view) / self.views


@dataclass(frozen=True)
class NearestNeighbours:
    """A generated person with the training people whose normal maps are nearest, and how near these are among
    themselves: a copy would be far nearer to somebody than people are to each other."""

    images: tuple[tuple[Image, ...], ...] = field(repr=False)  # each: generated, then its neighbours, nearest first
    distance: tuple[float, ...]  # of each generated person to its nearest training person
    real_distance: tuple[float, ...]  # of each training person to its nearest other


@dataclass(frozen=True)
class PeopleReport:
    """`near`: as shown, but in poses near to those in which their clothes were learned (see `near_poses`).
    `floor`: training scans against held-out people; what a perfect generator could reach with so few images.
    `redrawn`: the people of these scans, drawn by the model with their learned codes; what random codes add to it is
    the sampling's. Random people are those whom `gdna generate` delivers: torn ones have made room."""

    network: str
    frechet_name: str
    kernel_name: str
    raw: DistributionDistance
    predicted: DistributionDistance | None  # None: the model predicts no normals
    near: DistributionDistance | None  # None: not everybody's training scans at hand
    floor: DistributionDistance | None  # None: no training scans at hand
    redrawn: DistributionDistance | None
    diversity: dict[str, float]
    drawn_again: int  # in the places of torn people (`gdna.generate.whole`)

    def summary(self) -> dict[str, float]:
        values: dict[str, float] = {}
        sets = {"raw": self.raw, "normals": self.predicted, "near_poses": self.near}
        sets |= {"floor": self.floor, "redrawn": self.redrawn}
        for name, distance in sets.items():
            if distance is not None:
                values |= {f"frechet_{name}": distance.frechet, f"kernel_{name}": distance.kernel}
                values |= {f"precision_{name}": distance.precision, f"recall_{name}": distance.recall}
        values |= {f"diversity_{name}": value for name, value in self.diversity.items()}
        return values | {"people_drawn_again": float(self.drawn_again)}


def draw_people(model: Model, poses: Float[Tensor, "K J 3"], count: int, seed: int) -> list[tuple[Person, Tensor]]:
    """Random people, each with one of the given poses (joint rotations); all poses are used before one comes again."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(len(poses), generator=generator) for _ in range(-(-count // len(poses)))]
    order = torch.cat(rounds)[:count]
    return list(zip(model.draw(count, generator), poses[order].cpu(), strict=True))


def posed_person(
    person: Person, joint_rotations: Float[Tensor, "J 3"], resolution: int, geometry: Geometry = "fine"
) -> PosedMesh:
    """The person's mesh in a pose, its root where the body model puts it."""
    return reconstruct(person, transforms_of(person, joint_rotations), resolution, geometry)


def transforms_of(person: Person, joint_rotations: Float[Tensor, "J 3"]) -> Float[Tensor, "J 4 4"]:
    """Canonical to posed, the root where the body model puts it."""
    rotations = joint_rotations[None].to(person.model.device)
    with torch.no_grad():
        posed = person.model.body(BodyParams(person.betas[None], rotations, rotations.new_zeros(1, 3)))
    return posed.bone_transforms[0]


def near_poses(people: Sequence[Person], scans: Sequence[tuple[ScanSet, int]]) -> list[Float[Tensor, "J 3"] | None]:
    """For each person the joint rotations of a training scan: of somebody else, and of these the nearest to a pose in
    which the person's clothes were learned, those of the training person with the nearest codes. None where none of
    that person's scans is given.

    Cloth falls as the pose has it, so a shape code tells of its scans' poses; in poses far from these it is a guess.
    """
    model = people[0].model
    who = nearest_people(model.network, _together([person.codes for person in people])).tolist()
    owner = torch.tensor([s.person[i] for s, i in scans])
    transforms = torch.stack([s.data.bone_transforms[i] for s, i in scans])
    numbers = pose_numbers(transforms, model.body.parents).cpu()
    apart = torch.cdist(numbers, numbers)
    found: list[Tensor | None] = []
    for person in who:
        own = owner == person
        if not own.any() or own.all():
            found.append(None)
            continue
        nearest = int(apart[own].amin(0).masked_fill(own, torch.inf).argmin())
        found.append(scans[nearest][0].data.joint_rotations[scans[nearest][1]].cpu())
    return found


def generated_images(mesh: PosedMesh, views: ViewSettings) -> tuple[list[Image], list[Image]]:
    """With the raw normals, and with the predicted ones."""
    pairs = list(render_pairs(mesh, views))
    return images_of(pairs, False), images_of(pairs, True)


def feature_set(people: Iterable[Iterable[Image]], network: FeatureNetwork) -> FeatureSet:
    """Each of `people` are the views of one person, equally many; one person's pictures are in memory at a time."""
    parts: list[Tensor] = []
    front: list[Image] = []
    for views in people:
        images = list(views)
        parts.append(extract_features(images, network))
        front.append(images[0])
    person = torch.arange(len(parts)).repeat_interleave(len(parts[0]))
    return FeatureSet(torch.cat(parts), person, tuple(front))


def generated_sets(people: Iterable[Sequence[list[Image]]], network: FeatureNetwork) -> tuple[FeatureSet, ...]:
    """Each of `people` are the views of one person in several kinds, raw and predicted say, equally many for all; a
    set of each kind."""
    kinds = 0

    def every() -> Iterator[list[Image]]:
        nonlocal kinds
        for pictures in people:
            kinds = len(pictures)
            yield from pictures

    mixed = feature_set(every(), network)
    views = mixed.views
    rows = mixed.features.unflatten(0, (-1, kinds, views))
    person = torch.arange(len(rows)).repeat_interleave(views)
    return tuple(FeatureSet(rows[:, k].flatten(0, 1), person, mixed.front[k::kinds]) for k in range(kinds))


def scan_images(scans: Sequence[tuple[ScanSet, int]], views: ViewSettings) -> Iterator[Iterator[Image]]:
    """Normal maps of prepared scans, each given as its set and its number there."""
    return (prepared_images(s.data.folder, s.data.names[i], views) for s, i in scans)


def compare_sets(one: FeatureSet, other: FeatureSet) -> DistributionDistance:
    return compare(one.features, other.features, one.person, other.person)


def neighbours(generated: FeatureSet, training: FeatureSet) -> NearestNeighbours:
    """By the mean features of all views."""
    one, other = generated.of_people(), training.of_people()
    rows = nearest(one, other, NEIGHBOURS)
    images = [(generated.front[i], *(training.front[j] for j in rows[i].tolist())) for i in range(min(SHOWN, len(one)))]
    among = torch.cdist(other, other)
    among.fill_diagonal_(torch.inf)
    to_real = torch.cdist(one, other).amin(1)
    return NearestNeighbours(tuple(images), tuple(to_real.tolist()), tuple(among.amin(1).tolist()))


def _together(codes: Sequence[Codes]) -> Codes:
    return Codes(torch.cat([c.shape for c in codes]), torch.cat([c.detail for c in codes]))
