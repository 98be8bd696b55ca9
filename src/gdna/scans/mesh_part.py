"""Triangle meshes by Draco: edgebreaker connectivity, predicted positions on a lattice, entropy coding."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

COMPRESSION = 10  # Draco's smallest
MAX_BITS = 20
SMALLEST_BITS = 4
PLACES = 2**21  # more than there are places, and its third power fits 64 bits
LEVELS = 97  # positions of coincident vertices along an axis within a step; 97^3 vertices can be told apart


def encode_mesh(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], quantum: float
) -> tuple[bytes, Int[np.ndarray, " F"]]:
    """The bytes, and for each face as it will be decoded the number of the face it was. Vertices are rounded to
    multiples of `quantum` (metres). Raises `ValueError` where the mesh does not survive."""
    import DracoPy

    steps = np.round(vertices / quantum).astype(np.int64)
    origin = steps.min(0)
    bits = max(SMALLEST_BITS, math.ceil(math.log2(int((steps - origin).max()) + 1)))
    if bits > MAX_BITS:
        raise ValueError(f"{np.ptp(vertices, axis=0).max():.3g} m in steps of {quantum:.3g} m are too many")
    payload = DracoPy.encode(
        (steps + _apart(len(steps))) * quantum,
        faces.astype(np.uint32),
        quantization_bits=bits,
        compression_level=COMPRESSION,
        quantization_range=quantum * (2**bits - 1),
        quantization_origin=origin * quantum,
    )
    points, decoded = decode_mesh(payload)
    return payload, _renumbering(steps, faces, np.round(points / quantum).astype(np.int64), decoded)


def decode_mesh(payload: bytes) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Raises `ValueError` where the bytes are no mesh."""
    import DracoPy

    try:
        mesh = DracoPy.decode(payload)
        return np.asarray(mesh.points, np.float64), np.asarray(mesh.faces, np.int64)
    except (DracoPy.FileTypeException, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"no mesh ({error})") from error


def _apart(count: int) -> Float[np.ndarray, "n 3"]:
    """Shares of a step, below a quarter and no two alike: Draco would unite vertices at the same place, and with them
    open the solids that meet there."""
    index = np.arange(count)[:, None] // np.array([1, LEVELS, LEVELS**2])
    return 0.5 * (index % LEVELS) / LEVELS - 0.25


def _renumbering(
    steps: Int[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    decoded_steps: Int[np.ndarray, "W 3"],
    decoded_faces: Int[np.ndarray, "F 3"],
) -> Int[np.ndarray, " F"]:
    """Decoded faces to faces, by their corners' places."""
    _, place = np.unique(np.concatenate([steps, decoded_steps]), axis=0, return_inverse=True)
    place = place.ravel()
    before, after = _keys(place[faces]), _keys(place[len(steps) :][decoded_faces])
    old, new = np.argsort(before, kind="stable"), np.argsort(after, kind="stable")
    if not np.array_equal(before[old], after[new]):
        raise ValueError(f"{len(before)} faces became {len(after)} others; is the mesh proper?")
    order = np.empty(len(new), np.int64)
    order[new] = old
    return order


def _keys(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " F"]:
    """One number a face, the same whichever corner it begins with."""
    turns = [np.roll(faces, turn, axis=1) @ [PLACES**2, PLACES, 1] for turn in range(3)]
    return np.min(turns, axis=0)
