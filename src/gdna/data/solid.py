"""The solid that a scan stands for: filled where only the modelling of the body under it left it hollow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from gdna.body.interface import BodyModel
from gdna.body.mouth import mouth_faces
from gdna.body.open_body import OpenBody
from gdna.types import Scan

SAME = 5e-4  # metres from the body's vertex within which a scan's vertex is that vertex, rounded


def has_hollow_mouth(body: BodyModel) -> bool:
    """Whether scans of this body are filled."""
    return isinstance(body, OpenBody)


def with_filled_mouth(scan: Scan, vertices_posed: Float[np.ndarray, "V 3"], body: BodyModel) -> Scan:
    """The scan with one more closed part, which fills the cavity behind the lips of the open body. Other scans, and
    those in which this cavity is not found vertex by vertex, stay as they are.

    `vertices_posed` are all vertices of the scan's body, posed. A scan is the union of its parts, so the part may
    share its walls with the body's: the same points, or a film between them would stay hollow.
    """
    from scipy.spatial import cKDTree

    if not has_hollow_mouth(body):
        return scan
    used, local = np.unique(mouth_faces(), return_inverse=True)
    expected = vertices_posed[used]
    near = ((scan.vertices > expected.min(0) - SAME) & (scan.vertices < expected.max(0) + SAME)).all(1)
    if np.count_nonzero(near) < len(used):
        return scan
    candidates = scan.vertices[near]
    distance, index = cKDTree(candidates).query(expected, distance_upper_bound=SAME)
    if not np.isfinite(distance).all():
        return scan
    faces = local.reshape(-1, 3) + len(scan.vertices)
    return replace(
        scan,
        vertices=np.concatenate([scan.vertices, candidates[index]]),
        faces=np.concatenate([scan.faces, faces.astype(scan.faces.dtype)]),
    )
