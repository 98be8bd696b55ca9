from __future__ import annotations

import math

import pytest
import torch

from gdna.body.skeleton import PARENTS
from gdna.objectives import (
    bone_ends,
    bone_points,
    code_loss,
    critic_loss,
    generator_loss,
    inside_loss,
    intersection_over_union,
    normal_loss,
    occupancy_loss,
    skin_prior_loss,
    skin_weight_loss,
    warp_loss,
)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_occupancy_loss_is_cross_entropy_over_all_points():
    logits = _random(2, 5)
    occupied = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0]])
    found = torch.ones(2, 5, dtype=torch.bool)
    probability = logits.sigmoid()
    expected = -(occupied * probability.log() + (1 - occupied) * (1 - probability).log()).mean()
    torch.testing.assert_close(occupancy_loss(logits, occupied, found), expected)


def test_points_without_correspondence_have_no_gradient_and_do_not_reweight_the_others():
    occupied = torch.ones(1, 4)
    found = torch.tensor([[True, True, False, True]])
    logits = torch.tensor([[0.5, -1.0, -1000.0, 2.0]], requires_grad=True)
    loss = occupancy_loss(logits, occupied, found)
    loss.backward()
    plain = logits.detach().clone().requires_grad_()
    torch.nn.functional.binary_cross_entropy_with_logits(plain, occupied).backward()
    expected = plain.grad * found
    torch.testing.assert_close(logits.grad, expected)
    assert loss.item() < 1  # and not a thousand
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    assert occupancy_loss(logits.detach(), occupied, nothing).item() == 0


def test_a_wild_logit_of_an_unfound_point_does_no_harm():
    logits = torch.tensor([[0.0, math.nan]], requires_grad=True)
    loss = occupancy_loss(logits, torch.zeros(1, 2), torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2) / 2)
    assert logits.grad.isfinite().all()


def test_quadratic_losses():
    assert code_loss(torch.full((3, 4), 2.0)).item() == 4
    assert warp_loss(torch.zeros(2, 5, 3), torch.full((5, 3), 0.1)).item() == pytest.approx(0.01)
    weights = torch.eye(3)[None].repeat(2, 1, 1)
    assert skin_weight_loss(weights, torch.tensor([0, 1, 2])).item() == 0
    assert skin_weight_loss(weights, torch.tensor([1, 1, 2])).item() == pytest.approx(2 / 9)


def test_skin_prior_loss():
    body = torch.eye(3)
    assert skin_prior_loss(body[None].expand(2, -1, -1), body).item() == 0
    assert skin_prior_loss(body[None, [1, 0, 2]], body).item() == pytest.approx(4 / 3)  # two of three points wrong
    assert inside_loss(torch.zeros(2, 3)).item() == pytest.approx(math.log(2))


def test_normal_loss_of_turned_normals():
    angle = torch.tensor(0.3)
    target = torch.tensor([[[0.0, 0, 1], [0, 0, 1], [0, 1, 0]]])
    turned = torch.stack([angle.sin(), torch.tensor(0.0), angle.cos()]).expand(1, 3, 3)
    found = torch.tensor([[True, True, False]])
    assert normal_loss(turned, target, found).item() == pytest.approx(1 - math.cos(0.3), abs=1e-6)
    assert normal_loss(turned, target, ~found & False).item() == 0


def test_adversarial_losses_at_zero_and_their_signs():
    zero = torch.zeros(4, requires_grad=True)
    loss = generator_loss(zero)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert (zero.grad < 0).all()  # the generator wants larger logits
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    critic_loss(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()


def test_bone_points_lie_on_the_bones():
    joints = _random(24, 3)
    points = bone_points(joints, PARENTS, 5, torch.Generator().manual_seed(1)).view(23, 5, 3)
    for j in range(1, 24):
        start, end = joints[PARENTS[j]], joints[j]
        length = (end - start).norm()
        detour = (points[j - 1] - start).norm(dim=1) + (points[j - 1] - end).norm(dim=1)
        torch.testing.assert_close(detour, length.expand(5), rtol=1e-5, atol=1e-5)
    again = bone_points(joints, PARENTS, 5, torch.Generator().manual_seed(1)).view(23, 5, 3)
    assert torch.equal(points, again)


def test_bone_ends_name_each_joint_and_each_parent():
    joints = _random(24, 3)
    points, bones = bone_ends(joints, PARENTS)
    assert bones.tolist() == [*range(24), *PARENTS[1:]]
    assert torch.equal(points[:24], joints)
    assert torch.equal(points[24:], joints[1:])


def test_intersection_over_union():
    inside = torch.tensor([True, True, False, False])
    assert intersection_over_union(inside, torch.tensor([True, False, True, False])) == pytest.approx(1 / 3)
    assert intersection_over_union(inside, inside) == 1
    assert intersection_over_union(~inside & False, ~inside & False) == 1
