from __future__ import annotations

import numpy as np
import pytest
import torch

from gdna.body.open_body import open_body
from gdna.data.prepare import PrepareSettings, prepare_scan
from gdna.data.prepared import PreparedSet
from gdna.generate.loading import shipped_model
from gdna.model.checkpoint import load_model
from gdna.train.cache import CacheSettings, trace_scan
from gdna.train.mesh_cache import rasterize_scan
from gdna.types import BodyParams, Scan


@pytest.fixture
def one_person(tmp_path) -> PreparedSet:
    """A body whose code is that of the shipped model's first person."""
    body, rotations = open_body(), torch.zeros(1, 24, 3)
    rotations[0, 16:18, 2] = torch.tensor([-0.6, 0.6])  # arms down
    betas = torch.from_numpy(body.population_betas[:1])
    used, faces = np.unique(body.faces.numpy(), return_inverse=True)
    vertices = body(BodyParams(betas, rotations, torch.zeros(1, 3))).vertices[0].numpy()[used]
    scan = Scan("one", vertices, faces.reshape(-1, 3), betas[0].numpy(), rotations[0].numpy())
    prepare_scan(scan, body, tmp_path, PrepareSettings(500, 2000, 50, views=2, image_size=32))
    return PreparedSet.open(tmp_path, None, "cpu", "body")


def test_the_mesh_gives_what_marching_gives(one_person):
    """Where both see the person, within 3 mm (half a cell) but for surfaces that the rays only graze."""
    model = load_model(shipped_model()).requires_grad_(False)
    marched, hit = trace_scan(model, one_person, 0, CacheSettings(image_size=32))
    points, mask = rasterize_scan(model, one_person, 0, 32, 256)
    assert hit.sum() > 150
    assert (hit != mask).sum() <= 0.05 * hit.sum()  # pixels of 6 cm, half of them on the outline
    both = hit & mask
    distance = (points - marched)[both].norm(dim=1)
    assert (distance < 3e-3).float().mean() > 0.95
    assert distance.median() < 5e-4
    assert (points[~mask] == 0).all()
