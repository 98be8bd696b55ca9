"""How a coarse run begins with the weights of another."""

from __future__ import annotations

from pathlib import Path

import torch

from gdna.data.people import people_of
from gdna.model.avatar_model import FINE_PARTS, AvatarModel
from gdna.model.checkpoint import check_tensors, load_extra, load_model

SHAPE_CODES, SCAN_OFFSETS, POSE_OFFSETS = "z_shapes.weight", "scan_offsets.", "pose_offsets."


def begin_with(model: AvatarModel, start: Path | str, names: tuple[str, ...]) -> None:
    """Give an untrained model of the scans `names` the coarse parts of a checkpoint. People and scans that it knows
    keep their codes, other people begin with the mean of its codes. What poses do is taken over where both models have
    it. Raises `GdnaError` where sizes differ."""
    given, apart = load_model(start), (*FINE_PARTS, SCAN_OFFSETS, POSE_OFFSETS)
    parts, own = ({k: v for k, v in m.state_dict().items() if not k.startswith(apart)} for m in (given, model))
    known_names = tuple(load_extra(start).get("names", ()))
    known, people = people_of(known_names), people_of(names)
    if known != people:
        codes = parts[SHAPE_CODES]
        rows = [codes[known.index(person)] if person in known else codes.mean(0) for person in people]
        parts[SHAPE_CODES] = torch.stack(rows)
    check_tensors(start, parts, own)
    model.load_state_dict(model.state_dict() | parts)
    if given.pose_offsets is not None and model.pose_offsets is not None:
        kept = {"mean": model.pose_offsets.mean}  # of the new run's scans
        model.pose_offsets.load_state_dict(given.pose_offsets.state_dict() | kept)
    if given.scan_offsets is not None and model.scan_offsets is not None:
        offsets = given.scan_offsets.weight.detach()
        if given.scan_offsets.from_rest != model.scan_offsets.from_rest:  # they count from elsewhere
            offsets = given.scan_offsets(torch.arange(len(known_names)), given.config.num_people).detach()
        for scan, name in enumerate(names):
            if name in known_names:
                model.scan_offsets.weight.data[scan] = offsets[known_names.index(name)]
