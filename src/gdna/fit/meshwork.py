"""A mesh's edges as a matrix."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array, csr_array


def neighbour_matrix(faces: Int[np.ndarray, "F 3"], count: int) -> csr_array:
    """1 for every two of `count` vertices that share an edge."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = (np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]]))
    pairs = coo_array((np.ones(len(both[0])), both), shape=(count, count)).tocsr()
    pairs.data[:] = 1
    return pairs
