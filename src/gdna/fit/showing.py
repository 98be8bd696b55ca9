"""Which places a scan shows, and which lie over its holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gdna.fit.evidence import Evidence

RIM = 0.015  # metres that the nearest surface point may lie aside


@dataclass(frozen=True)
class Showing:
    """Of points, seen from the scan's surface point nearest to each."""

    above: Float[np.ndarray, " N"]  # metres along its normal
    aside: Float[np.ndarray, " N"]  # metres across

    @staticmethod
    def of(points: Float[np.ndarray, "N 3"], evidence: Evidence) -> Showing:
        from scipy.spatial import cKDTree

        index = cKDTree(evidence.surface_points).query(points)[1]
        offset, normal = points - evidence.surface_points[index], evidence.surface_normals[index]
        above = (offset * normal).sum(1)
        return Showing(above, np.linalg.norm(offset - above[:, None] * normal, axis=1))

    @property
    def shown(self) -> Bool[np.ndarray, " N"]:
        """Whether the scan has a surface under or over the point."""
        return self.aside < RIM
