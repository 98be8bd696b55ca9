"""Hair, shoes and hats: modelled meshes bound to the body's vertices, so that they follow every shape and pose.

Converted from MakeHuman's CC0 assets by `scripts/convert_wardrobe.py`; the source and licence lie beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.errors import GdnaError


@dataclass(frozen=True)
class Accessory:
    """An asset fitted to one body in the canonical pose."""

    name: str
    vertices: Float[np.ndarray, "A 3"]  # canonical
    faces: Int[np.ndarray, "G 3"]
    skin_weights: Float[np.ndarray, "A J"]
    hides: Bool[np.ndarray, " V"]  # body vertices that lie inside it


@dataclass(frozen=True)
class _Binding:
    faces: np.ndarray  # (G, 3)
    references: np.ndarray  # (A, 3) body vertices
    weights: np.ndarray  # (A, 3), rows sum to 1, negative ones happen
    offsets: np.ndarray  # (A, 3) in the asset's own axes
    frame: np.ndarray  # (A,) which of `frames` turns the offset
    frames: np.ndarray  # (3, 3, 3) asset axes -> canonical axes
    scale_vertices: np.ndarray  # (3, 2) body vertices whose distance scales each axis
    scale_lengths: np.ndarray  # (3,) their distance where the asset was modelled
    scale_frame: int
    hidden: np.ndarray  # body vertices


@lru_cache(maxsize=32)
def _binding(name: str) -> _Binding:
    folder = resources.files("gdna.synthesize").joinpath("assets")
    file = folder.joinpath(f"{name}.npz")
    if not file.is_file():
        known = ", ".join(sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".npz")))
        raise GdnaError(f"accessory {name!r} is not shipped; known are {known}")
    with file.open("rb") as stream:
        data = dict(np.load(stream, allow_pickle=False))
    whole = {k: data[k].astype(np.int64) for k in ("faces", "references", "frame", "scale_vertices", "hidden")}
    real = {k: data[k].astype(np.float64) for k in ("weights", "offsets", "frames", "scale_lengths")}
    return _Binding(**whole, **real, scale_frame=int(data["scale_frame"]))


def fit_accessory(
    name: str, vertices_canonical: Float[np.ndarray, "V 3"], skin_weights: Float[np.ndarray, "V J"]
) -> Accessory:
    """Fit asset `name` to a body: weighted sums of its vertices plus offsets scaled with the body. Raises `GdnaError`
    for a name that is not shipped."""
    b = _binding(name)
    body = vertices_canonical.astype(np.float64)
    axes = b.frames[b.scale_frame]
    spans = (body[b.scale_vertices[:, 0]] - body[b.scale_vertices[:, 1]]) @ axes
    scale = np.abs(np.diagonal(spans)) / b.scale_lengths
    offsets = np.einsum("aij,aj->ai", b.frames[b.frame], b.offsets * scale)
    vertices = np.einsum("ak,akc->ac", b.weights, body[b.references]) + offsets
    positive = np.clip(b.weights, 0, None)
    weights = np.einsum("ak,akj->aj", positive / positive.sum(1, keepdims=True), skin_weights[b.references])
    hides = np.zeros(len(body), bool)
    hides[b.hidden] = True
    return Accessory(name, vertices, b.faces, weights / weights.sum(1, keepdims=True), hides)
