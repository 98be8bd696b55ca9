"""How well a trained model reproduces scans: intersection over union of occupancy at points that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gdna.data.people import people_of, person_of
from gdna.data.prepared import PreparedSet, prepared_names
from gdna.deform.search import SearchSettings
from gdna.errors import GdnaError
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_extra, load_model
from gdna.objectives import intersection_over_union
from gdna.types import Codes

POINTS_AT_ONCE = 2**16


@dataclass(frozen=True)
class ScanIou:
    """Of one scan; in [0, 1], larger is better."""

    name: str
    uniform: float  # points in the scan's bounding box, 5 cm wider
    near: float  # points about 1 cm from its surface
    found: float  # share of all points with a correspondence


@dataclass(frozen=True)
class IouReport:
    """`trained`: the scans of the training; `posed`: other scans of the same people, in poses never trained."""

    trained: tuple[ScanIou, ...]
    posed: tuple[ScanIou, ...]

    def summary(self) -> dict[str, float]:
        """Means over scans."""
        means = {}
        for group, scans in (("trained", self.trained), ("posed", self.posed)):
            for field in ("uniform", "near", "found"):
                if scans:
                    means[f"{group}_{field}"] = sum(getattr(s, field) for s in scans) / len(scans)
        return means


def evaluate_iou(
    model_path: Path | str,
    data_dir: Path | str,
    held_out_dir: Path | str | None = None,
    *,
    device: torch.device | str = "auto",
    search: SearchSettings | None = None,
) -> IouReport:
    """Ask the model at the held-out points of the scans it was trained on and, if `held_out_dir` is given, of that
    folder's scans, each with its person's code.

    Raises `GdnaError` where the model does not name its scans or a person was not trained.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(model_path, device).requires_grad_(False).eval()
    search = search or model.search_settings()
    names = tuple(load_extra(model_path).get("names", ()))
    people = people_of(names)
    if len(people) != model.config.num_people:
        raise GdnaError(
            f"{model_path}: names scans of {len(people)} people for {model.config.num_people} codes; train it again"
        )
    trained = PreparedSet.open(data_dir, names, device, "body")

    def score(data: PreparedSet, index: int) -> ScanIou:
        name = data.names[index]
        transforms = data.bone_transforms[index]
        codes = codes_of(model, people.index(person_of(name)), transforms, scan_of(names, name))
        return scan_iou(model, data, index, codes, search)

    of_trained = tuple(score(trained, i) for i in range(len(trained)))
    if held_out_dir is None:
        return IouReport(of_trained, ())
    posed = PreparedSet.open(held_out_dir, prepared_names(held_out_dir), device, "body")
    strangers = [name for name in posed.names if person_of(name) not in people]
    if strangers:
        raise GdnaError(
            f"{held_out_dir}: {strangers[0]} is no person of {model_path} (it knows {people[0]} ...); scans of one "
            "person are named NAME, NAME_pose1, NAME_pose2 and so on"
        )
    return IouReport(of_trained, tuple(score(posed, i) for i in range(len(posed))))


@torch.no_grad()
def scan_iou(model: AvatarModel, data: PreparedSet, index: int, codes: Codes, search: SearchSettings) -> ScanIou:
    """Scan `index` of the set against the person of these codes (one), in the scan's own pose and body shape."""
    points = data.held_out(index)
    uniform, found_uniform = _inside(model, data, index, codes, search, points.uniform_points)
    near, found_near = _inside(model, data, index, codes, search, points.near_points)
    return ScanIou(
        data.names[index],
        intersection_over_union(uniform, points.uniform_occupancy),
        intersection_over_union(near, points.near_occupancy),
        float(torch.cat([found_uniform, found_near]).float().mean()),
    )


def codes_of(
    model: AvatarModel, person: int, bone_transforms: Float[Tensor, "J 4 4"], scan: int | None = None
) -> Codes:
    """The learned codes of one training person in a pose (canonical -> posed); where a training scan's number is given,
    as in that scan."""
    device = model.z_shapes.weight.device
    index = torch.tensor([person], device=device)
    if scan is None:
        return model.codes_in(index, bone_transforms[None].to(device))
    return model.codes(index, torch.tensor([scan], device=device))


def scan_of(names: Sequence[str], name: str) -> int | None:
    """The number of a training scan, None for others."""
    return names.index(name) if name in names else None


def _inside(
    model: AvatarModel,
    data: PreparedSet,
    index: int,
    codes: Codes,
    search: SearchSettings,
    points_posed: Float[Tensor, "N 3"],
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
    device = data.betas.device
    subject = model.subject(codes, data.betas[index, None])
    transforms = data.bone_transforms[index, None]
    inside, found = [], []
    for part in points_posed.to(device).split(POINTS_AT_ONCE):
        query = model.occupancy_posed(part[None], transforms, subject, search)
        inside.append(query.logits[0] > 0)
        found.append(query.found[0])
    return torch.cat(inside).cpu(), torch.cat(found).cpu()
