"""Random people in the scans' poses, drawn from the coarse model before the fine stage.

What is generated is then looked at in training, too: the original's critic only ever sees trained people, drawn with
their learned codes in the poses of their own scans.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from gdna.data.cache_file import PixelCache
from gdna.data.prepared import PreparedSet
from gdna.data.random_person_file import RandomPerson, random_person_path, read_random_person, write_random_person
from gdna.data.sharding import shard
from gdna.geometry.records import with_tensors
from gdna.model.avatar_model import AvatarModel
from gdna.model.checkpoint import load_model
from gdna.model.codes import Mixture, learned_codes
from gdna.train.cache import CacheSettings, is_current
from gdna.train.fine import trained_names
from gdna.train.mesh_cache import Posed, rasterize_views
from gdna.train.schedule import generator_for
from gdna.types import BodyParams, Codes

CANDIDATES = 32  # drawn for each random person


def build_random_people(
    model_path: Path | str,
    data_dir: Path | str,
    cache_dir: Path | str,
    body: Any,
    per_scan: int = 1,
    settings: CacheSettings | None = None,
    *,
    agent_tot: int = 1,
    agent_id: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Write `per_scan` random people in the pose of every scan that a coarse model was trained on, beside the scans'
    correspondences; `body` is the body model, on the device. The same people whatever the number of processes.

    A file that is newer than the model is kept. Raises `GdnaError` where model or scans are missing, or the model knows
    one person only.
    """
    settings = settings or CacheSettings()
    model = load_model(model_path, device).requires_grad_(False).eval()
    names = trained_names(model_path, model)
    data = PreparedSet.open(data_dir, names, device, "body")
    mine = [(i, number) for i in shard(range(len(names)), agent_tot, agent_id) for number in range(per_scan)]
    waiting = 0.5 if sys.stderr.isatty() else 30.0
    for index, number in tqdm(mine, desc="random people", unit=" people", mininterval=waiting, dynamic_ncols=True):
        path = random_person_path(cache_dir, names[index], number)
        shape = data.num_views, settings.image_size, settings.image_size
        if not is_current(path, Path(model_path), shape, lambda file: read_random_person(file).pixels):
            write_random_person(path, random_person(model, data, body, index, number, settings))


@torch.no_grad()
def random_person(
    model: AvatarModel, data: PreparedSet, body: Any, index: int, number: int, settings: CacheSettings
) -> RandomPerson:
    """The `number`-th one in the pose of scan `index`: of some who are mostly others, drawn as
    `gdna.model.codes.sample_people` does, the one whose body is nearest to the scan's, so that the critic can compare
    the two where both are seen."""
    shapes, details = learned_codes(model)
    known, skin = data.betas[data.first_scans()], body.faces.unique()
    drawn = Mixture.draw(len(shapes), CANDIDATES, generator_for(index, number))
    bodies = drawn.of(known)
    rotations = data.joint_rotations[index, None].expand(CANDIDATES, -1, -1)
    posed = body(BodyParams(bodies, rotations, bodies.new_zeros(CANDIDATES, 3)))
    apart = (posed.vertices_canonical[:, skin] - data.vertices_canonical[index]).norm(dim=-1).mean(1)
    own = drawn.base.to(apart.device) == data.person[index]
    best = apart.masked_fill(own, math.inf).argmin()[None]
    mixture: Mixture = with_tensors(drawn, lambda who: who[best.to(who.device)])
    z_shape, detail, betas = mixture.of(shapes), mixture.of(details), bodies[best]
    subject = model.subject(Codes(z_shape, detail), betas)
    at = int(best)
    person = Posed(subject, posed.vertices_canonical[at, skin], posed.joints_canonical[at], posed.bone_transforms[at])
    points, mask = rasterize_views(
        model, person, body.parents, data.num_views, settings.image_size, settings.resolution
    )
    who = torch.cat([mixture.base, mixture.one, mixture.other])
    return RandomPerson(who, z_shape[0], betas[0], person.bone_transforms, PixelCache(points[mask], mask))
