"""What points with normals say is inside: winding numbers of the surface that they stand for (Barill et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

MOST = 3000  # points that stand for all
NEIGHBOURS = 8  # that tell a point's share of the area
UNDECIDED = 0.2  # from 0 and 1
AWAY, AWAY_SPREAD = 0.01, 0.3  # metres from any point, and of the distance to its last neighbour, where sums are smooth
ASKED, ASKED_SIGMA, ASKED_AWAY = 4000, 0.03, 0.02  # points around the surface that must be decided; metres
OPEN_AT = 0.05  # share of undecided ones from which there are holes
AT_ONCE = 1024


@dataclass(frozen=True)
class Dipoles:
    """Points of a surface, with their normals times the area that each stands for."""

    every: cKDTree  # the surface, as dense as it is known
    places: Float[np.ndarray, "n 3"]
    areas: Float[np.ndarray, "n 3"]
    away: float  # metres

    @classmethod
    def of(
        cls, points: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"], rng: np.random.Generator
    ) -> Dipoles:
        some = rng.permutation(len(points))[:MOST]
        places = points[some]
        radius = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, len(places)))[0][:, -1]
        areas = normals[some] * (np.pi * radius**2 / NEIGHBOURS)[:, None]
        return cls(cKDTree(points), places, areas, max(AWAY, AWAY_SPREAD * float(np.median(radius))))

    def side(self, points: Float[np.ndarray, "N 3"]) -> Int[np.ndarray, " N"]:
        """1 inside, -1 outside, 0 where nothing is said: too near to the surface, or over a hole."""
        side = np.zeros(len(points), np.int64)
        far = np.flatnonzero(self.every.query(points)[0] > self.away)
        winding = self.winding(points[far])
        side[far] = (np.abs(winding - 1) < UNDECIDED).astype(np.int64) - (np.abs(winding) < UNDECIDED)
        return side

    def winding(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
        """The solid angle of all areas, of the whole sphere's."""
        middle = self.places.mean(0)
        places, areas = (values.astype(np.float32) for values in (self.places - middle, self.areas))
        points = (points - middle).astype(np.float32)
        own, squared = (places * areas).sum(1), (places**2).sum(1)
        total = np.zeros(len(points))
        for start in range(0, len(points), AT_ONCE):
            part = points[start : start + AT_ONCE]
            distance = ((part**2).sum(1)[:, None] + squared - 2 * part @ places.T).clip(1e-8)
            total[start : start + AT_ONCE] = ((own - part @ areas.T) / (distance * np.sqrt(distance))).sum(1)
        return total / (4 * np.pi)

    def are_whole(self, rng: np.random.Generator) -> bool:
        """Whether they decide nearly everywhere around the surface, so that it has no large hole."""
        around = self.every.data[rng.integers(0, self.every.n, ASKED)]
        around = around + ASKED_SIGMA * rng.normal(size=around.shape)
        around = around[self.every.query(around)[0] > max(ASKED_AWAY, self.away)]
        return len(around) > 0 and float((self.side(around) == 0).mean()) < OPEN_AT
