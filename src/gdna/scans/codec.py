"""A scan as a few ten thousand bytes: the body against its model, everything else by Draco, labels by runs."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from gdna.body.open_body import open_body
from gdna.body.skeleton import PARENTS
from gdna.scans.body_part import Reference, decode_body, encode_body
from gdna.scans.chunks import join_chunks, split_chunks
from gdna.scans.mesh_part import decode_mesh, encode_mesh
from gdna.scans.types import BodyParameters, Surface
from gdna.types import BodyParams

QUANTUM = 2.5e-4  # metres between the places that a vertex can take
CHUNKS = 4
NUM_JOINTS = len(PARENTS)
VISIBLE = 128  # the bit beside a face's label
FIXED_NUMBERS = 6 * NUM_JOINTS + 3  # parameters without betas


def encode(surface: Surface, body: BodyParameters, quantum: float = QUANTUM) -> bytes:
    """Vertices are rounded to `quantum` metres in each coordinate, everything else is kept; vertices and faces come
    back in another order. Raises `ValueError` where the mesh cannot be coded."""
    faces = surface.faces.astype(np.int64)
    vertices = surface.vertices.astype(np.float64)
    match = encode_body(vertices, faces, reference(body), quantum)
    first = np.zeros(0, np.int64) if match is None else match.faces
    rest = np.setdiff1d(np.arange(len(faces)), first)
    mesh = b""
    if len(rest):
        used, local = np.unique(faces[rest], return_inverse=True)
        mesh, order = encode_mesh(vertices[used], local.reshape(-1, 3), quantum)
        rest = rest[order]
    marks = _marks(surface)[np.concatenate([first, rest])]
    return join_chunks(
        [_parameters(body), b"" if match is None else match.payload, mesh, zlib.compress(marks.tobytes(), 9)]
    )


def decode(blob: bytes, quantum: float = QUANTUM) -> tuple[Surface, BodyParameters]:
    """What `encode` coded. Raises `ValueError` where the bytes do not fit together."""
    numbers, skin, mesh, marks = split_chunks(blob, CHUNKS)
    body = _read_parameters(numbers)
    parts = [decode_body(skin, reference(body), quantum)] if skin else []
    if mesh:
        parts.append(decode_mesh(mesh))
    offsets = np.cumsum([0, *(len(v) for v, _ in parts)])
    vertices = np.concatenate([v for v, _ in parts])
    faces = np.concatenate([f + o for (_, f), o in zip(parts, offsets[:-1], strict=True)])
    labels, visible = _read_marks(marks)
    if len(labels) != len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{len(labels)} labels, {len(faces)} faces, {len(vertices)} vertices do not fit together")
    return Surface(vertices.astype(np.float32), faces.astype(np.int32), labels, visible), body


def decode_parameters(blob: bytes) -> BodyParameters:
    """The body parameters alone, without decoding the mesh. Raises `ValueError` where the bytes do not fit."""
    return _read_parameters(split_chunks(blob, CHUNKS)[0])


def reference(body: BodyParameters) -> Reference:
    """The bare body that the parameters give."""
    model = open_body()
    posed = model(
        BodyParams(
            torch.from_numpy(body.betas)[None],
            torch.from_numpy(body.joint_rotations)[None],
            torch.from_numpy(body.translation)[None],
        )
    )
    return Reference(posed.vertices[0].double().numpy(), model.faces.numpy())


def _parameters(body: BodyParameters) -> bytes:
    parts = (body.betas, body.joint_rotations.ravel(), body.joints.ravel(), body.translation)
    return np.concatenate(parts).astype("<f4").tobytes()


def _read_parameters(payload: bytes) -> BodyParameters:
    numbers = np.frombuffer(payload, "<f4").astype(np.float32)
    num_betas = len(numbers) - FIXED_NUMBERS
    if num_betas < 1:
        raise ValueError(f"{len(numbers)} body parameters, expected more than {FIXED_NUMBERS}")
    betas, rotations, joints, translation = np.split(numbers, num_betas + np.array([0, 3, 6]) * NUM_JOINTS)
    return BodyParameters(betas, rotations.reshape(-1, 3), joints.reshape(-1, 3), translation)


def _marks(surface: Surface) -> UInt8[np.ndarray, " F"]:
    if surface.face_labels.max() >= VISIBLE:
        raise ValueError(f"label {surface.face_labels.max()}, expected below {VISIBLE}")
    return surface.face_labels + VISIBLE * surface.visible.astype(np.uint8)


def _read_marks(payload: bytes) -> tuple[UInt8[np.ndarray, " F"], Bool[np.ndarray, " F"]]:
    marks = np.frombuffer(zlib.decompress(payload), np.uint8)
    return marks % VISIBLE, marks >= VISIBLE
