"""Whose scan is it? Several scans of one person share a code."""

from __future__ import annotations

import re
from collections.abc import Sequence

POSE_MARK = re.compile(r"_pose_?\d+$")


def person_of(name: str) -> str:
    """The scan's name without a `_pose1` or `_pose_1` at its end."""
    return POSE_MARK.sub("", name)


def people_of(names: Sequence[str]) -> tuple[str, ...]:
    """The persons of the scans, each once, in the order in which they first come."""
    return tuple(dict.fromkeys(map(person_of, names)))
