"""Settings that explain themselves on the command line."""

from __future__ import annotations

from dataclasses import field
from typing import Any

HELP = "help"  # metadata of a dataclass field: one line of meaning


def key(default: Any, meaning: str) -> Any:
    """A dataclass field with its line in `gdna VERB --help`."""
    return field(default=default, metadata={HELP: meaning})
