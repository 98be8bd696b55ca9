"""Nearest points both ways between one scan and many bodies: plain torch (the definition), and fused in numba."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gdna.errors import GdnaError

PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Nearest:
    """Of each scan point its nearest body point, and the other way; squared distances."""

    body: Int[Tensor, "B N"]
    body_squared: Float[Tensor, "B N"]
    scan: Int[Tensor, "B V"]
    scan_squared: Float[Tensor, "B V"]


def nearest_both(scan: Float[Tensor, "N k"], body: Float[Tensor, "B V k"], backend: str = "auto") -> Nearest:
    """In the space of the k features given. "auto" takes the fused kernel on a CPU and the reference elsewhere."""
    if backend not in ("auto", "reference", "fused"):
        raise GdnaError(f"nearest: unknown backend {backend!r}; expected 'auto', 'reference' or 'fused'")
    if backend == "fused" and body.device.type != "cpu":
        raise GdnaError(f"nearest: backend 'fused' runs on a CPU, the bodies lie on {body.device}; use 'reference'")
    if backend == "reference" or body.device.type != "cpu":
        return _reference(scan, body)
    from gdna.fit.nearest_kernels import nearest_both as fused

    found = fused(scan.detach().contiguous().numpy(), body.detach().mT.contiguous().numpy())
    return Nearest(*(torch.from_numpy(array) for array in found))


def _reference(scan: Float[Tensor, "N k"], body: Float[Tensor, "B V k"]) -> Nearest:
    """Few bodies at a time, as matrices that fit a cache are cheaper."""
    at_once = max(1, PAIRS_AT_ONCE // (scan.shape[0] * body.shape[1]))
    parts = []
    for some in body.split(at_once):
        squared = squared_distances(scan, some).clamp_min(0)
        forth, back = squared.min(2), squared.min(1)
        parts.append((forth.indices, forth.values, back.indices, back.values))
    return Nearest(*(torch.cat(column) for column in zip(*parts, strict=True)))


def squared_distances(scan: Float[Tensor, "N k"], body: Float[Tensor, "B V k"]) -> Float[Tensor, "B N V"]:
    """Rounding may make them slightly negative."""
    return torch.baddbmm((body**2).sum(-1)[:, None], scan.expand(len(body), -1, -1), body.mT, alpha=-2).add_(
        (scan**2).sum(-1)[:, None]
    )
