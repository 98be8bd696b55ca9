"""Random people who are whole: in the place of somebody torn comes the person of the same number of the next seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gdna.extract.avatar_mesh import Geometry
from gdna.generate.people import Avatar, Person
from gdna.geometry.mesh import genus

MOST_HANDLES = 10  # an arm that touches the body makes one; a torn garment many
TRIES = 5  # seeds after the first

Instead = Callable[[int], Person]
"""Who comes in somebody's place, by how many seeds further: from 1."""


@dataclass(frozen=True)
class Meshed:
    """Who is seen, as a canonical mesh, and how many were torn and thrown away before."""

    person: Person
    avatar: Avatar
    thrown: int = 0


def is_torn(avatar: Avatar) -> bool:
    """By the handles of a mesh, which finer cells find more of."""
    return genus(avatar.faces) > MOST_HANDLES


def meshed(person: Person, resolution: int, instead: Instead | None = None, geometry: Geometry = "coarse") -> Meshed:
    """The person's mesh; with `instead`, that of the first of `TRIES` more who is not torn, or of the last."""
    avatar = person.mesh(resolution, geometry)
    thrown = 0
    while instead is not None and thrown < TRIES and is_torn(avatar):
        thrown += 1
        person = instead(thrown)
        avatar = person.mesh(resolution, geometry)
    return Meshed(person, avatar, thrown)
