"""A stand-in."""

from __future__ import annotations

from typing import Any

from gdna.errors import GdnaError
from gdna.fit.types import RawScan, Registration


def register_body(raw: RawScan, body: Any, settings: Any = None, progress: Any = None) -> Registration:
    raise GdnaError(f"{raw.name}: give the body's parameters (body=params.npz)")
