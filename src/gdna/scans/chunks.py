"""Several byte strings in one, each with its length before it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_LENGTH = struct.Struct("<I")


def join_chunks(chunks: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(chunk)) + chunk for chunk in chunks)


def split_chunks(payload: bytes, count: int) -> list[bytes]:
    """The `count` strings of `join_chunks`. Raises `ValueError` where the lengths do not add up."""
    chunks, place = [], 0
    while place < len(payload):
        if place + _LENGTH.size > len(payload):
            raise ValueError("cut off within a length")
        end = place + _LENGTH.size + _LENGTH.unpack_from(payload, place)[0]
        if end > len(payload):
            raise ValueError(f"cut off: {end - len(payload)} bytes are missing")
        chunks.append(payload[place + _LENGTH.size : end])
        place = end
    if len(chunks) != count:
        raise ValueError(f"{len(chunks)} parts, expected {count}")
    return chunks
