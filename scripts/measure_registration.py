"""How well the body is found in synthetic scans whose body is known.

    python scripts/measure_registration.py SCANS/0007 SCANS/0008_pose1 ...

Each folder holds a scan.npz of gdna's synthesize. Only the visible surface is given to the registration, at a random
yaw, with a random axis up, in metres, centimetres or millimetres, shifted; by a seed made of the scan's name.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from gdna.body.open_body import open_body
from gdna.fit.framing import up_rotations
from gdna.fit.register import register_body
from gdna.fit.types import RawScan
from gdna.synthesize.scan_file import SyntheticScan, load_scan
from gdna.types import BodyParams


def joint_errors(scan: SyntheticScan) -> tuple[np.ndarray, float, str]:
    """Metres a joint, CPU seconds, and why the registration is not sure."""
    rng = np.random.default_rng(sum(map(ord, scan.name)))
    yaw = Rotation.from_rotvec([0, rng.uniform(-np.pi, np.pi), 0]).as_matrix()
    axis = up_rotations("auto")[int(rng.integers(6))].double().numpy().T
    unit = float(rng.choice([1.0, 100.0, 1000.0]))
    shift = unit * rng.normal(0, 0.5, 3)
    used, faces = np.unique(scan.faces[scan.visible].astype(np.int64), return_inverse=True)
    points = unit * scan.vertices[used].astype(np.float64) @ (axis @ yaw).T + shift
    truth = BodyParams(
        torch.from_numpy(scan.betas)[None], torch.from_numpy(scan.joint_rotations)[None], torch.zeros(1, 3)
    )
    joints = unit * open_body()(truth).joints[0].double().numpy() @ (axis @ yaw).T + shift
    before = time.process_time()
    found = register_body(RawScan(scan.name, points, faces.reshape(-1, 3), None), open_body())
    seconds = time.process_time() - before
    mine = open_body()(found.body).joints[0].double().numpy()
    return np.linalg.norm(mine - found.placement(joints), axis=1), seconds, found.reason


def main() -> None:
    torch.set_num_threads(1)
    means = []
    for folder in sys.argv[1:]:
        scan = load_scan(Path(folder))
        errors, seconds, reason = joint_errors(scan)
        means.append(1000 * errors.mean())
        worst = 1000 * errors.max()
        print(
            f"{scan.name} {scan.traits.pose}: {means[-1]:.1f} mm, worst {worst:.0f}, {seconds:.0f} s {reason}",
            flush=True,
        )
    all_means = np.array(means)
    print(
        f"{len(means)} scans: mean {all_means.mean():.1f} mm, median {np.median(all_means):.1f}, "
        f"p95 {np.percentile(all_means, 95):.1f}, within 2 cm {100 * (all_means < 20).mean():.0f} %"
    )


if __name__ == "__main__":
    main()
