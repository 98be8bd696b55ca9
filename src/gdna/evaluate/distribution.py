"""How far two sets of images are apart, by their features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.errors import GdnaError

NEIGHBOURS = 3  # of the improved precision and recall
ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class DistributionDistance:
    """Of generated images to real ones. Smaller distances are better, larger precision and recall."""

    frechet: float
    kernel: float
    precision: float  # share of the generated that lie among the real: how believable
    recall: float  # share of the real that lie among the generated: how varied
    images: int  # generated
    real_images: int


def compare(
    generated: Float[Tensor, "N D"],
    real: Float[Tensor, "M D"],
    generated_person: Int[Tensor, " N"] | None = None,
    real_person: Int[Tensor, " M"] | None = None,
) -> DistributionDistance:
    """All four. With `..._person` (who is on each image), precision and recall count neighbours among other people
    only: views of one person lie so near to each other that their balls would hold nobody else."""
    precision, recall = precision_recall(generated, real, generated_person, real_person)
    frechet, kernel = frechet_distance(generated, real), kernel_distance(generated, real)
    return DistributionDistance(frechet, kernel, precision, recall, len(generated), len(real))


def frechet_distance(one: Float[Tensor, "N D"], other: Float[Tensor, "M D"]) -> float:
    """Of the Gaussians with the mean and the covariance of two sets: |m - n|^2 + tr(S + T - 2 (S T)^(1/2)).

    With S = A'A and T = B'B, tr (S T)^(1/2) is the sum of the singular values of A B': no root of a product that is
    not symmetric, no complex rounding, and exact where there are fewer images than features (Heusel et al. 2017,
    Dowson and Landau 1982). Raises `GdnaError` for sets of less than two.
    """
    if min(len(one), len(other)) < 2:
        raise GdnaError(f"frechet_distance: sets of {len(one)} and {len(other)} images, expected 2 or more")
    means, roots = [], []
    for features in (one.double(), other.double()):
        means.append(features.mean(0))
        roots.append(torch.linalg.qr((features - means[-1]) / (len(features) - 1) ** 0.5, mode="r").R)
    shared = torch.linalg.matrix_norm(roots[0] @ roots[1].T, "nuc")
    spread = sum(root.square().sum() for root in roots)
    return float((means[0] - means[1]).square().sum() + spread - 2 * shared)


def kernel_distance(one: Float[Tensor, "N D"], other: Float[Tensor, "M D"]) -> float:
    """Squared maximum mean discrepancy, without bias, for the kernel (x y / D + 1)^3 (Binkowski et al., ICLR 2018), of
    the whole sets: what the usual mean over subsets estimates. May be a little below zero for equal distributions."""
    if min(len(one), len(other)) < 2:
        raise GdnaError(f"kernel_distance: sets of {len(one)} and {len(other)} images, expected 2 or more")
    one, other = one.double(), other.double()

    def total(a: Tensor, b: Tensor) -> float:
        return sum(float((rows @ b.T / a.shape[1] + 1).pow(3).sum()) for rows in a.split(ROWS_AT_ONCE))

    def within(a: Tensor) -> float:
        diagonal = (a.square().sum(1) / a.shape[1] + 1).pow(3).sum()
        return (total(a, a) - float(diagonal)) / (len(a) * (len(a) - 1))

    return within(one) + within(other) - 2 * total(one, other) / (len(one) * len(other))


def precision_recall(
    generated: Float[Tensor, "N D"],
    real: Float[Tensor, "M D"],
    generated_person: Int[Tensor, " N"] | None = None,
    real_person: Int[Tensor, " M"] | None = None,
    neighbours: int = NEIGHBOURS,
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al., NeurIPS 2019): a feature belongs to a set if it lies no
    further from one of it than that one's `neighbours`-th nearest (among other people, where people are given)."""
    precision = _covered(generated, real, _radii(real, real_person, neighbours))
    recall = _covered(real, generated, _radii(generated, generated_person, neighbours))
    return float(precision.double().mean()), float(recall.double().mean())


def nearest(one: Float[Tensor, "N D"], other: Float[Tensor, "M D"], count: int) -> Int[Tensor, "N K"]:
    """The `count` nearest of `other` to each of `one`, nearest first."""
    rows = [d.topk(min(count, len(other)), largest=False).indices for d in _distances(one, other)]
    return torch.cat(rows)


def mean_pairwise_distance(features: Float[Tensor, "N D"]) -> float:
    """Mean Euclidean distance between two different ones."""
    if len(features) < 2:
        raise GdnaError(f"mean_pairwise_distance: {len(features)} given, expected 2 or more")
    return float(torch.nn.functional.pdist(features.double()).mean())


def _distances(one: Float[Tensor, "N D"], other: Float[Tensor, "M D"]) -> Iterator[Float[Tensor, "R M"]]:
    """Some rows of the distances at a time, as matrix products in double precision."""
    for rows in one.double().split(ROWS_AT_ONCE):
        yield torch.cdist(rows, other.double(), compute_mode="use_mm_for_euclid_dist")


def _radii(features: Float[Tensor, "N D"], person: Int[Tensor, " N"] | None, neighbours: int) -> Float[Tensor, " N"]:
    person = torch.arange(len(features)) if person is None else person
    others = len(features) - int(torch.unique(person, return_counts=True)[1].max())
    if others < neighbours:
        raise GdnaError(
            f"precision and recall: {others} images of others, expected {neighbours} or more; take more people"
        )
    radii, start = [], 0
    for distances in _distances(features, features):
        same = person[start : start + len(distances), None] == person
        radii.append(distances.masked_fill(same, torch.inf).kthvalue(neighbours, dim=1).values)
        start += len(distances)
    return torch.cat(radii)


def _covered(
    asked: Float[Tensor, "N D"], centres: Float[Tensor, "M D"], radii: Float[Tensor, " M"]
) -> Bool[Tensor, " N"]:
    return torch.cat([(distances <= radii).any(1) for distances in _distances(asked, centres)])
