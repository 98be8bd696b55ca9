"""Whose scan is it? Several scans of one person share a code."""

from __future__ import annotations

import re
from collections.abc import Sequence

SCAN_MARK = re.compile(r"_(pose_?\d+|rest)$")
REST_MARK = "_rest"


def person_of(name: str) -> str:
    """The scan's name without a `_pose1`, `_pose_1` or `_rest` at its end."""
    return SCAN_MARK.sub("", name)


def is_at_rest(name: str) -> bool:
    """Whether the scan shows its person at rest, by a `_rest` at the end of its name."""
    return name.endswith(REST_MARK)


def people_of(names: Sequence[str]) -> tuple[str, ...]:
    """The persons of the scans, each once, in the order in which they first come."""
    return tuple(dict.fromkeys(map(person_of, names)))
