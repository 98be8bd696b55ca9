"""Points of given triangles."""

import numba
import numpy as np

from gdna.synthesize.tree_kernels import barycentric


@numba.njit(cache=True)
def nearest_on(vertices, faces, face, points):  # (V, 3) f64, (F, 3) i64, (N) i64, (N, 3) f64 -> (N, 3) f64
    """The point of each one's triangle that is closest to it."""
    nearest = np.empty((len(points), 3))
    for i in range(len(points)):
        a, b, c = faces[face[i], 0], faces[face[i], 1], faces[face[i], 2]
        wa, wb, wc = barycentric(vertices, a, b, c, points[i, 0], points[i, 1], points[i, 2])
        for k in range(3):
            nearest[i, k] = wa * vertices[a, k] + wb * vertices[b, k] + wc * vertices[c, k]
    return nearest
