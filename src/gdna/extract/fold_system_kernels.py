"""The product of the folds' normal equations with a displacement, vertex by vertex, for a CPU."""

from __future__ import annotations

import numba
import numpy as np

ONE = np.float32(1)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def product(starts, other, directions, weights, stiffness, screen, u, out, first, last):
    """Rows `first` to `last` of `out` (V, 3). Half-edges of vertex v are `starts[v]` to `starts[v + 1]`, each with the
    vertex at its `other` end, the edge's direction (H, 3) and weight (H,); see `gdna.extract.detail.FoldSystem`."""
    loose = ONE - stiffness
    for v in range(first, last):
        x, y, z = u[v, 0], u[v, 1], u[v, 2]
        sum_x, sum_y, sum_z = screen[v] * x, screen[v] * y, screen[v] * z
        for h in range(starts[v], starts[v + 1]):
            far = other[h]
            dx, dy, dz = x - u[far, 0], y - u[far, 1], z - u[far, 2]
            nx, ny, nz = directions[h, 0], directions[h, 1], directions[h, 2]
            along, stiff = loose * (nx * dx + ny * dy + nz * dz), stiffness * weights[h]
            sum_x += nx * along + stiff * dx
            sum_y += ny * along + stiff * dy
            sum_z += nz * along + stiff * dz
        out[v, 0], out[v, 1], out[v, 2] = sum_x, sum_y, sum_z
