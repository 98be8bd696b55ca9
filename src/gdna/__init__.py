"""Learns clothed, animatable, detailed 3D people from static body-registered scans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdna.api import Animation, Avatar, Model, Motion, Person, load, motion, motions, picture, save_glb

__version__ = "0.9.0"
__all__ = ["Animation", "Avatar", "Model", "Motion", "Person", "load", "motion", "motions", "picture", "save_glb"]


def __getattr__(name: str) -> Any:
    """What `gdna.api` offers, imported when it is first asked for, since it brings torch with it."""
    if name in __all__:
        from gdna import api

        return getattr(api, name)
    raise AttributeError(f"module 'gdna' has no attribute {name!r}")
