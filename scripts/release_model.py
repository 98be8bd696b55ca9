"""Make the shipped model from a trained one: all but the codes in half precision, and the person named whom modes show
that change one thing.

python scripts/release_model.py outputs/fine/checkpoints/last.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from gdna.extract.detail import around, unique_edges
from gdna.generate.loading import load
from gdna.generate.people import Model
from gdna.geometry.mesh import face_areas
from gdna.model.checkpoint import load_extra, save_checkpoint
from gdna.model.codes import from_the_mean
from gdna.types import AvatarMesh

RELEASED = Path(__file__).parents[1] / "src/gdna/model/released/gdna-open.safetensors"
KEPT = ("names", "betas", "step")
CANDIDATES = 32  # the training people nearest to the mean
CELLS = 160
ROUNDS = 30  # of smoothing, which takes folds and rags away and leaves garments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=RELEASED)
    args = parser.parse_args()
    model, extra = load(args.checkpoint, "cpu"), load_extra(args.checkpoint)
    kept = {k: extra[k] for k in KEPT if k in extra} | {"typical": typical(model)}
    save_checkpoint(args.out, model.network, kept, half=True)
    size, config = args.out.stat().st_size / 1e6, model.network.config
    print(f"{args.out}: {size:.1f} MB, stage {config.stage}, shown is training person {kept['typical']}")


def typical(model: Model) -> int:
    """Of the training people whose codes are nearest to the mean, the one whose canonical surface is least ragged: many
    are seen in a single pose, and where that pose pressed a garment together nothing says how it hangs in others."""
    near = from_the_mean(model.network).argsort()[:CANDIDATES].tolist()
    return min(tqdm(near, "people near to the mean"), key=lambda i: raggedness(model.training_person(i).mesh(CELLS)))


def raggedness(mesh: AvatarMesh) -> float:
    """Area over that of the same surface, smoothed."""
    edges, _ = unique_edges(mesh.faces, len(mesh.vertices))
    count = around(torch.ones_like(mesh.vertices), edges).clamp_min(1)
    smooth = mesh.vertices
    for _ in range(ROUNDS):
        smooth = (smooth + around(smooth, edges) / count) / 2
    return float(face_areas(mesh.vertices, mesh.faces).sum() / face_areas(smooth, mesh.faces).sum())


if __name__ == "__main__":
    main()
