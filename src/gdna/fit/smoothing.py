"""Noise of a scan's surface, told by itself, and a surface without it: of a mesh by its edges, of points by quadratic
surfaces through each one's neighbours (moving least squares: Alexa et al. 2003)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import diags_array, eye_array
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from gdna.fit.meshwork import neighbour_matrix

NOISY = 0.0015  # metres: folds of clean scans look like less
TRIED, TRIED_NEIGHBOURS = 1500, 24  # points by which noise is estimated
REACH = 0.04  # metres: the farthest of them may be so far
LEFT = 0.0008  # metres of noise that shall be left
NEIGHBOURS = (32, 96)  # at least and at most
AT_ONCE = 8192
UNKNOWNS = 6  # of a quadratic surface
BEND = 60.0 / 0.0028**2  # of bending against moving, a square metre of noise: 5 mm on the vertices look like 2.8
SOLVER_STEPS, SOLVER_TOLERANCE = 300, 1e-4  # of conjugate gradients
RIDGE = 1e-6  # of the least squares, in units of the neighbourhood
WILD = 3.0  # deviations from the surface beyond which a neighbour hardly counts
ALOOF, ALOOF_FROM = 5.0, 0.005  # deviations of the neighbours beyond which a point is no part of them; at least metres

Points = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]


def roughness(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], rng: np.random.Generator) -> float:
    """Metres that points deviate from smooth surfaces through their neighbours: noise along the normal. 0, where they
    lie too far apart to tell it from shape."""
    some = rng.permutation(len(points))[:TRIED]
    count = min(TRIED_NEIGHBOURS, len(points))
    distance, index = cKDTree(points).query(points[some], k=count)
    if np.median(distance[:, -1]) > REACH:
        return 0.0
    residual = _fitted(points[some], points[index], normals[index], np.ones(index.shape))[2]
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(count / max(count - UNKNOWNS, 1)))


def calmed(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], noise: float) -> Float[np.ndarray, "V 3"]:
    """A mesh's vertices where they bend evenly and stay near: x that makes |x - vertices|^2 + bend x.L^3 x least, L the
    Laplacian of its edges: neighbours differ little in how they bend, so folds keep their height better than where
    all bending is made small (L^2). Layers of clothes stay apart, as no edge joins them."""
    pairs = neighbour_matrix(faces, len(vertices))
    degree = np.asarray(pairs.sum(1)).ravel()
    laplacian = (diags_array(degree) - pairs) / max(degree[degree > 0].mean(), 1.0)
    system = (eye_array(len(vertices)) + BEND * noise**2 * (laplacian @ laplacian @ laplacian)).tocsr()
    solver = {"rtol": SOLVER_TOLERANCE, "maxiter": SOLVER_STEPS, "M": diags_array(1 / system.diagonal())}
    middle = vertices.mean(0)  # the tolerance is one of the person's size, not of its place
    columns = [cg(system, vertices[:, k] - middle[k], x0=vertices[:, k] - middle[k], **solver)[0] for k in range(3)]
    return np.stack(columns, 1) + middle


def smoothed(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], noise: float) -> Points:
    """The points on the surface through their neighbours, with its normals, on the side of most of theirs; the second
    time only neighbours that look the same way count, so that sheets a centimetre apart stay two."""
    count = min(int(np.clip(UNKNOWNS * (noise / LEFT) ** 2, *NEIGHBOURS)), len(points))
    tree = cKDTree(points)
    moved, directions = np.empty_like(points), normals
    for turn in range(2):
        before, directions = directions, np.empty_like(points)
        for start in range(0, len(points), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            index = tree.query(points[part], k=count)[1]
            cosine = np.einsum("nki,ni->nk", before[index], before[part])
            alike = np.clip(cosine, 0, 1) ** 2 + RIDGE if turn else np.ones(index.shape)
            moved[part], directions[part], _ = _fitted(points[part], points[index], before[index], alike)
    return moved, directions


def aloof(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Points beside the surface of their neighbours, much farther than these are: strays that have company."""
    count, found = min(TRIED_NEIGHBOURS + 1, len(points)), np.zeros(len(points), bool)
    tree = cKDTree(points)
    for start in range(0, len(points), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        around = points[tree.query(points[part], k=count)[1][:, 1:]]
        placed, _, residual = _fitted(points[part], around, np.zeros_like(around), np.ones(around.shape[:2]))
        spread = 1.4826 * np.median(np.abs(residual), 1)
        found[part] = np.linalg.norm(points[part] - placed, axis=1) > np.maximum(ALOOF * spread, ALOOF_FROM)
    return found


def _fitted(
    points: Float[np.ndarray, "n 3"],
    around: Float[np.ndarray, "n k 3"],
    normals: Float[np.ndarray, "n k 3"],
    weights: Float[np.ndarray, "n k"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n k"]]:
    """The points carried onto quadratic surfaces over the planes of weighted neighbours, normals there, and the
    neighbours' heights over them."""
    share = weights / weights.sum(1, keepdims=True)
    middle = np.einsum("nk,nki->ni", share, around)
    offsets = around - middle[:, None]
    frame = np.linalg.eigh(np.einsum("nk,nki,nkj->nij", share, offsets, offsets, optimize=True))[1]  # the normal first
    local = offsets @ frame
    size = np.abs(local[..., 1:]).max((1, 2))[:, None] + 1e-12
    u, v, height = local[..., 1] / size, local[..., 2] / size, local[..., 0]
    terms = _terms(u, v)
    weights = weights * np.exp(-2 * (u * u + v * v))
    residual = height - (terms @ _solved(terms, height, weights)[..., None])[..., 0]
    spread = 1.4826 * np.median(np.abs(residual), 1, keepdims=True) + 1e-12
    shape = _solved(terms, height, weights / (1 + (residual / (WILD * spread)) ** 2) ** 2)
    residual = height - (terms @ shape[..., None])[..., 0]
    own = np.einsum("ni,nij->nj", points - middle, frame)
    a, b = own[:, 1] / size[:, 0], own[:, 2] / size[:, 0]
    _, slope_a, slope_b, bend_a, twist, bend_b = shape.T
    slopes = np.stack([slope_a + 2 * a * bend_a + b * twist, slope_b + a * twist + 2 * b * bend_b], -1) / size
    normal = np.concatenate([np.ones((len(points), 1)), -slopes], 1)
    normal = np.einsum("nij,nj->ni", frame, normal / np.linalg.norm(normal, axis=1, keepdims=True))
    side = np.sign((np.einsum("nk,nki->ni", share, normals) * normal).sum(1, keepdims=True))
    placed = np.concatenate([(_terms(a, b) * shape).sum(1, keepdims=True), own[:, 1:]], 1)
    return middle + np.einsum("nij,nj->ni", frame, placed), normal * np.where(side == 0, 1.0, side), residual


def _terms(u: Float[np.ndarray, "*b"], v: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b 6"]:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], -1)


def _solved(
    terms: Float[np.ndarray, "n k 6"], height: Float[np.ndarray, "n k"], weights: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n 6"]:
    """Weighted least squares."""
    weighted = (terms * weights[..., None]).mT
    return np.linalg.solve(weighted @ terms + RIDGE * np.eye(UNKNOWNS), weighted @ height[..., None])[..., 0]
