"""The activation of `mlp.activate` and its derivative, each in one pass over memory, for asking fields on a CPU."""

from __future__ import annotations

import numba
import numpy as np

# Chebyshev interpolation of exp(-t) on [0, 20 / 32], relative error 1.2e-9, and of log(1 + e) / e on [0, 1], error of
# the logarithm 1.8e-8; both below a float32's rounding of the result.
E0, E1, E2 = np.float32(0.99999999931), np.float32(-0.9999998919626), np.float32(0.4999972225955)
E3, E4, E5 = np.float32(-0.1666397795891), np.float32(0.0415419306458), np.float32(-0.0080327182320)
E6 = np.float32(0.0010192380229)
L0, L1, L2 = np.float32(0.99999996593), np.float32(-0.49999444976), np.float32(0.33318121707)
L3, L4, L5 = np.float32(-0.24835398987), np.float32(0.19076880731), np.float32(-0.13602247612)
L6, L7, L8 = np.float32(0.07751608662), np.float32(-0.02907406461), np.float32(0.00512612210)
ZERO, TWO, FURTHEST, PARTS = np.float32(0), np.float32(2), np.float32(20 / 32), np.float32(1 / 32)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
def softplus_(x, sharpness):  # (N,) f32, f32: x <- log(1 + exp(sharpness x)) / sharpness
    scale, unit = sharpness * PARTS, np.float32(1) / sharpness
    for i in range(x.size):
        t = min(abs(x[i]) * scale, FURTHEST)
        e = E0 + t * (E1 + t * (E2 + t * (E3 + t * (E4 + t * (E5 + t * E6)))))
        e *= e  # five squarings: exp(-32 t)
        e *= e
        e *= e
        e *= e
        e *= e
        log = e * (L0 + e * (L1 + e * (L2 + e * (L3 + e * (L4 + e * (L5 + e * (L6 + e * (L7 + e * L8))))))))
        x[i] = max(x[i], ZERO) + log * unit


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
def times_slope_(x, activation, sharpness):  # (N,) f32, (N,) f32, f32: x <- x (1 - exp(-sharpness activation))
    scale = sharpness * PARTS
    for i in range(x.size):
        t = min(activation[i] * scale, FURTHEST)
        p = -t * (E1 + t * (E2 + t * (E3 + t * (E4 + t * (E5 + t * E6)))))  # 1 - exp(-t)
        p *= TWO - p  # five doublings: 1 - exp(-32 t); a small difference keeps all its digits
        p *= TWO - p
        p *= TWO - p
        p *= TWO - p
        x[i] *= p * (TWO - p)
