"""Points without a surface: which way it looks there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import cg

NEIGHBOURS = 16
AGREEING = 12  # neighbours whose normals tell a point's side
SHARPNESS = 4  # power of the cosine between two normals by which they count
SAME_SHEET = 0.5  # height over a neighbour's plane, in its distance, from which it may belong to another sheet
TRUST = 0.02  # in the hints, against one neighbour's word
SOLVER_STEPS, SOLVER_TOLERANCE = 500, 1e-4  # of conjugate gradients


def estimate_normals(
    points: Float[np.ndarray, "N 3"], hint: Float[np.ndarray, "N 3"], neighbours: int = NEIGHBOURS
) -> Float[np.ndarray, "N 3"]:
    """Unit normals of the planes through each point's neighbours, on the side of `hint` (any directions outward)."""
    from scipy.spatial import cKDTree

    index = cKDTree(points).query(points, k=min(neighbours, len(points)))[1]
    around = points[index].astype(np.float64)
    around -= around.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0]
    return np.where((normals * hint).sum(1, keepdims=True) < 0, -normals, normals)


def agreed(
    points: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"], hint: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 3"]:
    """The normals, turned as neighbours are, and all together as most hints say: a hint is wrong under a loose hem.

    Signs s that make sum_ij w_ij (s_i - sign(n_i.n_j) s_j)^2 + sum_i trust_i (s_i - hint_i)^2 least, as Hoppe et al.
    (1992) ask of neighbours, with weights in place of a spanning tree.
    """
    from scipy.spatial import cKDTree

    number = len(points)
    distance, index = cKDTree(points).query(points, k=min(AGREEING + 1, number))
    distance, index = distance[:, 1:], index[:, 1:]
    cosine = np.einsum("ni,nki->nk", normals, normals[index])
    height = np.abs(np.einsum("nki,ni->nk", points[index] - points[:, None], normals)) / (distance + 1e-12)
    weight = np.abs(cosine) ** SHARPNESS * np.exp(-((height / SAME_SHEET) ** 2)) * np.sign(cosine)
    rows = np.repeat(np.arange(number), index.shape[1])
    pairs = coo_array((weight.ravel(), (rows, index.ravel())), shape=(number, number)).tocsr()
    pairs = (pairs + pairs.T) / 2
    told = (normals * hint).sum(1)
    trust = TRUST * told**2 + 1e-9
    system = (diags_array(np.asarray(abs(pairs).sum(1)).ravel() + trust) - pairs).tocsr()
    solver = {"rtol": SOLVER_TOLERANCE, "maxiter": SOLVER_STEPS, "M": diags_array(1 / system.diagonal())}
    side = cg(system, trust * np.sign(told), **solver)[0]
    return normals * np.where(side < 0, -1.0, 1.0)[:, None]


def turned_out(normals: Float[np.ndarray, "N 3"], hint: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """A sensor's normals, all turned round where most lie on the other side of their hints."""
    return normals if (normals * hint).sum() >= 0 else -normals
