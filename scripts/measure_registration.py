"""How well the body is found in open scans, whose body is known, and whether it is sure where it should be.

    python scripts/measure_registration.py outputs/registration                      # all held-out people
    python scripts/measure_registration.py outputs/registration --tot 16 --id 3      # a share of them
    python scripts/measure_registration.py outputs/hard --people 0006 0041 --damage arm legs

Only the visible surface is given to the registration, at a random yaw, with a random axis up, in metres, centimetres or
millimetres, shifted; by a seed made of the scan's name. `--damage` takes parts away first, each person in each way.
Writes OUT/NAME_DAMAGE.json a registration, and OUT/table.md of all that are there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import in_patches, noisy, only, with_strays
from scipy.spatial.transform import Rotation

from gdna.body.open_body import open_body
from gdna.fit.framing import up_rotations
from gdna.fit.register import register_body
from gdna.fit.types import RawScan
from gdna.geometry.files import atomic_path
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack
from gdna.scans.types import PackedScan
from gdna.types import BodyParams

WITHIN = 20.0  # mm of mean joint error that count as found
DAMAGES = ("none", "arm", "legs", "top", "front", "headless", "patches", "noise", "stray")
PELVIS, HEAD, LEFT_ARM = 0, 15, (18, 20, 22)
PATCH, MISSING, NOISE = 0.13, 0.4, 0.008  # metres, share of the surface, metres
CLOUD, STRAYS = 20_000, 5000

Mesh = tuple[np.ndarray, np.ndarray | None]


def damaged(points: np.ndarray, faces: np.ndarray, joints: np.ndarray, kind: str, rng: np.random.Generator) -> Mesh:
    """Points and faces (None: a cloud) of what is left. "front": the half that faces the front is kept, "legs" and
    "top" keep these."""
    middle = points[faces].mean(1)
    gone = np.zeros(len(faces), bool)
    if kind == "arm":
        gone = np.linalg.norm(middle[:, None] - joints[list(LEFT_ARM)], axis=2).min(1) < 0.17
    elif kind in ("legs", "top"):
        gone = (middle[:, 1] > joints[PELVIS, 1]) == (kind == "legs")
    elif kind == "front":
        gone = middle[:, 2] < np.median(middle[:, 2])
    elif kind == "headless":
        gone = middle[:, 1] > joints[HEAD, 1] - 0.08
    elif kind == "patches":
        gone = in_patches(points, faces, PATCH, MISSING, rng)
    elif kind == "noise":
        points = noisy(points, NOISE, rng)
    elif kind == "stray":
        return with_strays(points[rng.permutation(len(points))[:CLOUD]], STRAYS, rng), None
    return only(points, faces, ~gone)


def registered(packed: PackedScan, damage: str) -> dict[str, Any]:
    """What is found, and how far off it is."""
    scan = packed.to_scan()
    rng = np.random.default_rng(sum(map(ord, scan.name + damage)))
    points, faces = only(scan.vertices.astype(np.float64), scan.faces, packed.surface.visible)
    truth = BodyParams(
        torch.from_numpy(scan.betas)[None], torch.from_numpy(scan.joint_rotations)[None], torch.zeros(1, 3)
    )
    joints = open_body()(truth).joints[0].double().numpy()
    points, left = damaged(points, faces, joints, damage, rng)
    yaw = Rotation.from_rotvec([0, rng.uniform(-np.pi, np.pi), 0]).as_matrix()
    turn = (up_rotations("auto")[int(rng.integers(6))].double().numpy().T @ yaw).T
    unit = float(rng.choice([1.0, 100.0, 1000.0]))
    shift = unit * rng.normal(0, 0.5, 3)
    before = time.process_time()
    found = register_body(RawScan(scan.name, unit * points @ turn + shift, left, None), open_body())
    seconds = time.process_time() - before
    mine = open_body()(found.body).joints[0].double().numpy()
    errors = 1000 * np.linalg.norm(mine - found.placement(unit * joints @ turn + shift), axis=1)
    return {
        "name": scan.name, "damage": damage, "pose": packed.about.traits.get("pose"), "error_mm": float(errors.mean()),
        "worst_joint_mm": float(errors.max()), "residual_mm": found.residual_mm, "sure": found.sure,
        "reason": found.reason, "cpu_seconds": seconds,
    }  # fmt: skip


def table(reports: list[dict[str, Any]]) -> str:
    """Markdown: errors a damage, and how often it was sure of what was found, and of what was not."""
    lines = ["| scans | number | mean joint error, mm | median | worst | within 2 cm | sure of these | of the others |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for damage in DAMAGES:
        some = [report for report in reports if report["damage"] == damage]
        if not some:
            continue
        errors = np.array([report["error_mm"] for report in some])
        sure, found = np.array([report["sure"] for report in some]), errors < WITHIN
        lines.append(
            f"| {damage} | {len(some)} | {errors.mean():.1f} | {np.median(errors):.1f} | {errors.max():.1f} | "
            f"{found.sum()} | {sure[found].sum()} | {sure[~found].sum()} of {(~found).sum()} |"
        )
    lines += [
        "",
        "| scan | damage | error, mm | worst joint | residual, mm | not sure, because |",
        "|---|---|---|---|---|---|",
    ]
    for r in sorted(reports, key=lambda report: report["error_mm"]):
        numbers = f"{r['error_mm']:.1f} | {r['worst_joint_mm']:.0f} | {r['residual_mm']:.1f}"
        lines.append(f"| {r['name']} {r['pose']} | {r['damage']} | {numbers} | {r['reason']} |")
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", default=None, help="default: data/open_scans.gdnapack, or the shipped one")
    parser.add_argument("--people", nargs="+", default=[], help="default: all whom the pack holds out")
    parser.add_argument("--damage", nargs="+", default=["none"], choices=DAMAGES)
    parser.add_argument("--tot", type=int, default=1)
    parser.add_argument("--id", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pack = open_pack(find_pack(args.pack))
    names = args.people or [entry.name for entry in pack.people(held_out=True)]
    for name, damage in [(name, damage) for name in names for damage in args.damage][args.id :: args.tot]:
        path = args.out / f"{name}_{damage}.json"
        if path.is_file():
            continue
        report = registered(pack.read(pack.find(name)), damage)
        write(path, json.dumps(report, indent=2) + "\n")
        print(f"{name} {damage}: {report['error_mm']:.1f} mm {report['reason']}", flush=True)
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.out.glob("[!.]*.json"))]
    if reports:
        write(args.out / "table.md", table(reports))


if __name__ == "__main__":
    main()
