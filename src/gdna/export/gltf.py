"""The container: one JSON tree and one block of numbers in a binary glTF 2.0 file.

Written here rather than by a glTF package: what a rigged person needs is an aligned buffer and a header.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from gdna.geometry.files import atomic_path

Json = dict[str, Any]

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
COMPONENT_TYPES = {"u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


class GltfBuffer:
    """Arrays laid end to end, each an accessor of its own."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.views: list[Json] = []
        self.accessors: list[Json] = []

    def add(self, array: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Index of the new accessor. `bounds` writes the least and largest value, which positions and times need."""
        kind = array.dtype.str[1:]
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if array.shape[1:] == (4, 4):
            data = np.ascontiguousarray(data.transpose(0, 2, 1))  # glTF writes matrices by columns
        view: Json = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": data.nbytes}
        if target is not None:
            view["target"] = target
        accessor: Json = {
            "bufferView": len(self.views),
            "componentType": COMPONENT_TYPES[kind],
            "count": len(array),
            "type": ELEMENT_TYPES[array.shape[1:]],
        }
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor["min"], accessor["max"] = rows.min(0).tolist(), rows.max(0).tolist()
        self._bytes += data.tobytes()
        self._bytes += bytes(-len(self._bytes) % 4)
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def write(self, path: Path | str, tree: Json) -> None:
        """`tree` and the arrays as one .glb file."""
        whole = {**tree, "accessors": self.accessors, "bufferViews": self.views}
        whole["buffers"] = [{"byteLength": len(self._bytes)}]
        text = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._bytes)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<III", MAGIC, 2, length))
            file.write(struct.pack("<II", len(text), JSON_CHUNK) + text)
            file.write(struct.pack("<II", len(self._bytes), BINARY_CHUNK) + self._bytes)
