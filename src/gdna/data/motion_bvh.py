"""Biovision hierarchies (.bvh)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gdna.data.retarget import SourceClip, retarget
from gdna.errors import GdnaError
from gdna.geometry.rotations import axis_angle_to_matrix
from gdna.types import Motion


@dataclass
class _Hierarchy:
    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)


def read_bvh(path: Path) -> Motion:
    """Read and retarget. Positions of joints other than the root are ignored (they repeat the offsets).

    Raises `GdnaError` where the file is broken or its skeleton is not a person's.
    """
    try:
        hierarchy, numbers, frame_time = _parse(path.read_text(errors="replace").split())
    except (ValueError, IndexError) as error:
        raise GdnaError(f"{path}: not a readable BVH file ({error})") from error
    rotations, positions = _decode(hierarchy, torch.from_numpy(numbers))
    return retarget(
        SourceClip(
            path.stem,
            str(path),
            tuple(hierarchy.names),
            tuple(hierarchy.parents),
            torch.tensor(hierarchy.offsets),
            rotations,
            positions,
            1 / frame_time,
        )
    )


def _parse(words: list[str]) -> tuple[_Hierarchy, Float[np.ndarray, "T C"], float]:
    if not words or words[0].upper() != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    hierarchy, i = _Hierarchy(), 1
    stack: list[int] = []
    joint, in_end_site = -1, False
    while (word := words[i]).upper() != "MOTION":
        i += 1
        match word.upper():
            case "ROOT" | "JOINT":
                hierarchy.names.append(words[i])
                hierarchy.parents.append(stack[-1] if stack else -1)
                joint, in_end_site, i = len(hierarchy.names) - 1, False, i + 1
            case "END":
                in_end_site, i = True, i + 1
            case "{":
                stack.append(joint)
            case "}":
                stack.pop()
            case "OFFSET":
                if not in_end_site:
                    hierarchy.offsets.append([float(w) for w in words[i : i + 3]])
                i += 3
            case "CHANNELS":
                count = int(words[i])
                hierarchy.channels.append([w.lower() for w in words[i + 1 : i + 1 + count]])
                i += 1 + count
            case _:
                raise ValueError(f"unexpected word {word!r} in the hierarchy")
    # MOTION Frames: T Frame Time: s numbers
    frames, frame_time = int(words[i + 2]), float(words[i + 5])
    width = sum(len(c) for c in hierarchy.channels)
    numbers = np.array(words[i + 6 :], np.float32)
    if frames < 1 or frame_time <= 0 or not np.isfinite(numbers).all() or len(numbers) != frames * width:
        raise ValueError(f"{len(numbers)} numbers for {frames} frames of {width} channels, {frame_time} s each")
    if hierarchy.parents.count(-1) != 1 or len(hierarchy.channels) != len(hierarchy.names):
        raise ValueError("expected one root, and channels for every joint")
    return hierarchy, numbers.reshape(frames, width), frame_time


def _decode(
    hierarchy: _Hierarchy, numbers: Float[Tensor, "T C"]
) -> tuple[Float[Tensor, "T n 3 3"], Float[Tensor, "T 3"]]:
    """Local rotations, multiplied in the order of the channels, and where the root is."""
    rotations: list[Tensor] = []
    position = torch.tensor(hierarchy.offsets[0]).repeat(len(numbers), 1)
    column = 0
    for joint, channels in enumerate(hierarchy.channels):
        rotation = torch.eye(3).expand(len(numbers), 3, 3)
        for channel in channels:
            axis = "xyz".index(channel[0])
            if channel.endswith("rotation"):
                rotation = rotation @ axis_rotation(axis, numbers[:, column])
            elif joint == 0:
                position[:, axis] = numbers[:, column]
            column += 1
        rotations.append(rotation)
    return torch.stack(rotations, 1), position


def axis_rotation(axis: int, degrees: Float[Tensor, " T"]) -> Float[Tensor, "T 3 3"]:
    """Turn about x (0), y (1) or z (2)."""
    vector = torch.zeros(len(degrees), 3)
    vector[:, axis] = torch.deg2rad(degrees)
    return axis_angle_to_matrix(vector)
