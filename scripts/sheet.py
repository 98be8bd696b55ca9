"""Draw a sheet of random people in random poses: nobody is chosen, the seed decides.

python scripts/sheet.py                                              # the shipped model -> docs/images/people.webp
python scripts/sheet.py --model outputs/fine --seed 3 --out sheet.webp
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gdna.data.motion import load_motion, shipped_motions
from gdna.evaluate.people import draw_people, posed_person
from gdna.generate.loading import load
from gdna.generate.people import Model
from gdna.geometry.files import atomic_path
from gdna.geometry.mesh import vertex_normals
from gdna.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_y
from gdna.render.portrait import portrait
from gdna.types import PosedMesh

OUT = Path(__file__).parents[1] / "docs/images/people.webp"
MOST_TURNED = math.radians(40)  # from the camera
PICTURE = 1.4  # side of a picture in squares: few fill theirs, so that people are larger if pictures overlap


def main() -> None:
    args = parse()
    model = load(args.model, args.device)
    count = args.rows * args.columns
    people = tqdm(
        portraits(model, count, args.seed, args.resolution, round(PICTURE * args.cell)), total=count, unit=" people"
    )
    sheet = arranged(list(people), args.columns, args.cell)
    kind = {".png": "PNG", ".webp": "WEBP"}[args.out.suffix]
    with atomic_path(args.out) as temporary:
        Image.fromarray(sheet).save(temporary, kind, **({"quality": 90} if kind == "WEBP" else {"optimize": True}))
    print(f"{args.out}: {sheet.shape[1]} x {sheet.shape[0]}, {args.out.stat().st_size / 1e6:.2f} MB")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint or experiment's folder; default: the shipped model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--cell", type=int, default=250, help="pixels from one person to the next")
    parser.add_argument("--resolution", type=int, default=256, help="cells along the longest side of a mesh")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=OUT, help=".png or .webp")
    args = parser.parse_args()
    if args.out.suffix not in (".png", ".webp"):
        parser.error(f"--out {args.out}: expected .png or .webp")
    return args


def portraits(
    model: Model, count: int, seed: int, resolution: int, size: int
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """Random people with random frames of all shipped clips, shaded by their geometry alone, folds in it."""
    generator = torch.Generator().manual_seed(seed)
    poses = random_poses(count, generator)
    for person, rotations in draw_people(model, poses, count, seed):
        with torch.no_grad():
            mesh = posed_person(person, rotations, resolution, "fine")
            yield portrait(PosedMesh(mesh.vertices, mesh.faces, vertex_normals(mesh.vertices, mesh.faces)), size)


def random_poses(count: int, generator: torch.Generator) -> Float[Tensor, "N J 3"]:
    """Frames of the shipped clips, every clip as likely as the others; everybody turned at most `MOST_TURNED` away."""
    clips = [load_motion(name).joint_rotations for name in shipped_motions()]
    poses = []
    for _ in range(count):
        clip = clips[int(torch.randint(len(clips), (), generator=generator))]
        pose = clip[int(torch.randint(len(clip), (), generator=generator))].clone()
        root = axis_angle_to_matrix(pose[:1])[0]
        heading = math.atan2(float(root[0, 2]), float(root[2, 2]))
        aim = MOST_TURNED * (2 * float(torch.rand((), generator=generator)) - 1)
        pose[:1] = matrix_to_axis_angle((rotation_y(aim - heading).to(root) @ root)[None])
        poses.append(pose)
    return torch.stack(poses)


def arranged(images: list[UInt8[np.ndarray, "S S 3"]], columns: int, cell: int) -> UInt8[np.ndarray, "H W 3"]:
    """Row by row, `cell` pixels apart. Pictures may be larger; where they overlap, what is darker is seen."""
    size, rows = len(images[0]), -(-len(images) // columns)
    sheet = np.full((size + (rows - 1) * cell, size + (columns - 1) * cell, 3), 255, np.uint8)
    for number, image in enumerate(images):
        down, right = (cell * place for place in divmod(number, columns))
        there = sheet[down : down + size, right : right + size]
        np.minimum(there, image, out=there)
    return sheet


if __name__ == "__main__":
    main()
