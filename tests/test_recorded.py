"""The recorded search, as far as a machine without a GPU tells: elsewhere it is the plain one."""

from __future__ import annotations

from dataclasses import replace

import torch
from fused_scene import bent, cloud, small_weights

from gdna.deform.blend import skin
from gdna.deform.recorded import RecordedSearch
from gdna.deform.search import GridSettings, SearchSettings, find_correspondences
from gdna.geometry.records import shape_of, tensors_of, with_tensors

SETTINGS = SearchSettings(
    backend="fused",
    grid=GridSettings(shape=(6, 7, 8), low=(-0.7, -0.7, -0.7), high=(0.7, 0.7, 0.7)),
    init_bones=(0, 1, 2),
)


def test_without_a_gpu_it_is_the_plain_search():
    weights, transforms = small_weights(), bent()
    posed = skin(cloud(2, 10), transforms, weights).detach()
    found, plain = (
        search(posed, transforms, weights)
        for search in (RecordedSearch(SETTINGS), lambda *inputs: find_correspondences(*inputs, SETTINGS))
    )
    assert plain.converged.any()
    assert torch.equal(found.points_canonical, plain.points_canonical)


def test_every_tensor_of_the_inputs_is_found_and_replaced():
    weights = small_weights()
    tensors = list(tensors_of(weights))
    assert len(tensors) == 2 * 3 + 2 * (2 + 3)  # three of each network's first layer, two of each later one
    copies = with_tensors(weights, lambda tensor: tensor + 1)
    assert all(torch.equal(two, one + 1) for one, two in zip(tensors, tensors_of(copies), strict=True))
    assert copies.blend == weights.blend
    assert shape_of(copies) == shape_of(weights)
    assert shape_of(replace(weights, blend=1.0)) != shape_of(weights)
    assert shape_of(small_weights(batch=3)) != shape_of(weights)
    assert len({shape_of(copies), shape_of(weights)}) == 1  # fit to be a key
