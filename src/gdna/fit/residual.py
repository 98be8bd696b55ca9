"""The scan's own geometry on the fitted surface: each vertex moves to the scan, smoothly where the scan has holes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import cg
from torch import Tensor

from gdna.deform.blend import blend_transforms, transform
from gdna.evaluate.surface import nearest_points
from gdna.fit.evidence import Evidence
from gdna.fit.meshwork import neighbour_matrix
from gdna.fit.progress import Progress, Watch
from gdna.geometry.linalg import inverse_3x3, matvec
from gdna.geometry.mesh import vertex_normals
from gdna.types import AvatarMesh

STIFFNESS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.05)  # of neighbours moving alike, against a vertex moving onto the scan
CANDIDATES = 8  # nearest samples that a vertex chooses from
TURN_COST = 0.03  # metres that a sample turned by 90 degrees counts as farther
AGREES = 0.3  # least cosine between the normals of vertex and scan
RIM, RIM_SAMPLES = 3.0, 2000  # times the usual distance of samples, measured on so many, that is aside
SOLVER_STEPS, SOLVER_TOLERANCE = 200, 1e-3  # of conjugate gradients
LEAST_WEIGHT = 1e-6  # of staying where it is: a part of which the scan shows nothing does not float
SMALLEST_VOLUME = 0.1  # of a blended transform: below it skinning is folded and its inverse noise


@dataclass(frozen=True)
class Pull:
    """Where the scan wants vertices to be, and how much."""

    offsets: Float[np.ndarray, "V 3"]
    weights: Float[np.ndarray, " V"]  # 0: the scan says nothing


def add_residual(
    mesh: AvatarMesh, transforms: Float[Tensor, "J 4 4"], evidence: Evidence, reach: float, watch: Watch
) -> AvatarMesh:
    """The mesh, whose vertices land on the scan when `transforms` pose it; faces and skinning weights stay."""
    blended = blend_transforms(mesh.skin_weights[None], transforms[None])[0]
    posed = transform(blended, mesh.vertices)
    moved = onto_scan(posed.cpu().double().numpy(), mesh.faces.cpu().numpy(), evidence, reach, watch)
    offsets = torch.from_numpy(moved).to(posed) - posed
    sound = torch.linalg.det(blended[..., :3]).abs() > SMALLEST_VOLUME
    back = torch.where(sound[:, None], matvec(inverse_3x3(blended[..., :3]), offsets), 0)
    vertices = mesh.vertices + back
    return replace(mesh, vertices=vertices, normals=vertex_normals(vertices, mesh.faces), normals_in=None)


def onto_scan(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    evidence: Evidence,
    reach: float,
    watch: Watch,
) -> Float[np.ndarray, "V 3"]:
    """Posed vertices drawn to the scan in rounds, first stiffly, then freely (Amberg et al., CVPR 2007, with
    translations for their affine maps)."""
    moved, neighbours = vertices, neighbour_matrix(faces, len(vertices))
    for step, stiffness in enumerate(STIFFNESS):
        pull = pull_of(moved, faces, evidence, reach)
        wanted = moved + pull.offsets - vertices
        moved = vertices + smooth_displacements(wanted, pull.weights, neighbours, stiffness, moved - vertices)
        length = np.linalg.norm(pull.offsets, axis=1)[pull.weights > 0]
        error = 1000 * float(length.mean()) if len(length) else 0.0
        watch(Progress("residual", step + 1, len(STIFFNESS), error, "mm"))
    return moved


def pull_of(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], evidence: Evidence, reach: float
) -> Pull:
    """To the scan's nearest point that looks the same way: on its triangles where there are any, else on the plane
    through the nearest sample. No pull where that lies aside of the vertex, as at the rim of a hole."""
    from scipy.spatial import cKDTree

    normals = vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()
    points, directions = evidence.surface_points, evidence.surface_normals
    tree = cKDTree(points)
    distance, index = tree.query(vertices, k=min(CANDIDATES, len(points)))
    cosine = (directions[index] * normals[:, None]).sum(-1)
    choice = (np.arange(len(vertices)), (distance + TURN_COST * (1 - cosine)).argmin(1))
    sample, cosine = index[choice], cosine[choice]
    gap = points[sample] - vertices
    offsets = (gap * directions[sample]).sum(1, keepdims=True) * directions[sample]
    aside = np.linalg.norm(gap - offsets, axis=1)
    usual = float(np.median(tree.query(points[:RIM_SAMPLES], k=2)[0][:, 1]))
    if evidence.seen is not None:
        offsets = nearest_points(vertices + offsets, evidence.seen)[2] - vertices
    near = (np.linalg.norm(offsets, axis=1) < reach) & (aside < RIM * usual)
    weights = np.where(near & (cosine > AGREES), cosine, 0.0)
    return Pull(np.where(weights[:, None] > 0, offsets, 0.0), weights)


def smooth_displacements(
    wanted: Float[np.ndarray, "V 3"],
    weights: Float[np.ndarray, " V"],
    neighbours: csr_array,
    stiffness: float,
    start: Float[np.ndarray, "V 3"],
) -> Float[np.ndarray, "V 3"]:
    """Displacements u that make sum_i w_i |u_i - wanted_i|^2 + stiffness * sum_edges |u_i - u_j|^2 least, from
    `start`."""
    diagonal = weights + stiffness * neighbours.sum(1) + LEAST_WEIGHT
    system = (diags_array(diagonal) - stiffness * neighbours).tocsr()
    settings = {"rtol": SOLVER_TOLERANCE, "maxiter": SOLVER_STEPS, "M": diags_array(1 / diagonal)}
    columns = [cg(system, weights * wanted[:, k], x0=start[:, k], **settings)[0] for k in range(3)]
    return np.stack(columns, 1)
