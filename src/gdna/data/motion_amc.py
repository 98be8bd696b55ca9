"""Acclaim motions as the CMU database gives them: .amc (frames) with .asf (skeleton)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.data.motion_bvh import axis_rotation
from gdna.data.retarget import SourceClip, retarget
from gdna.errors import GdnaError
from gdna.types import Motion

CMU_FRAME_RATE = 120.0  # not stated in the files


@dataclass
class _Bone:
    direction: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    length: float = 0.0
    axis: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    axis_order: str = "xyz"
    channels: list[str] = field(default_factory=list)


def read_amc(path: Path) -> Motion:
    """Read and retarget; the skeleton is NAME.asf, SUBJECT.asf (as 07.asf for 07_01.amc) or the only .asf there.

    Raises `GdnaError` where a file is missing or broken or the skeleton is not a person's.
    """
    skeleton_path = _find_skeleton(path)
    try:
        bones, parents = _read_skeleton(skeleton_path)
    except (ValueError, IndexError, KeyError) as error:
        raise GdnaError(f"{skeleton_path}: not a readable ASF skeleton ({error!r})") from error
    try:
        frames = _read_frames(path, bones)
    except (ValueError, IndexError, KeyError) as error:
        raise GdnaError(f"{path}: not a readable AMC motion for {skeleton_path.name} ({error!r})") from error
    names = list(parents)
    offsets = [_offset(bones, parents[name]) for name in names]
    rotations = torch.stack([_local(bones[name], frames[name]) for name in names], 1)
    return retarget(
        SourceClip(
            path.stem,
            str(path),
            tuple(names),
            tuple(-1 if parents[name] is None else names.index(str(parents[name])) for name in names),
            torch.stack(offsets),
            rotations,
            _values(bones["root"], frames["root"], "t"),
            CMU_FRAME_RATE,
        )
    )


def _find_skeleton(path: Path) -> Path:
    for name in (path.stem, path.stem.split("_")[0]):
        if (found := path.with_name(f"{name}.asf")).is_file():
            return found
    others = sorted(path.parent.glob("*.asf"))
    if len(others) == 1:
        return others[0]
    raise GdnaError(f"{path}: {len(others)} .asf files beside it, expected its skeleton {path.stem.split('_')[0]}.asf")


def _read_skeleton(path: Path) -> tuple[dict[str, _Bone], dict[str, str | None]]:
    """Bones, and each bone's parent, parents first."""
    sections: dict[str, list[list[str]]] = {}
    section: list[list[str]] = []
    for line in path.read_text(errors="replace").splitlines():
        words = line.split("#")[0].replace("(", " ").replace(")", " ").split()
        if words and words[0].startswith(":"):
            section = sections.setdefault(words[0].lower(), [])
        elif words:
            section.append(words)
    bones = {"root": _read_root(sections[":root"]), **_read_bones(sections[":bonedata"])}
    parents: dict[str, str | None] = {"root": None}
    for words in sections[":hierarchy"]:
        if words[0] not in ("begin", "end"):
            parents |= dict.fromkeys(words[1:], words[0])
    return bones, parents


def _read_root(lines: list[list[str]]) -> _Bone:
    bone = _Bone()
    for words in lines:
        if words[0] == "order":
            bone.channels = [w.lower() for w in words[1:]]
        elif words[0] == "axis":
            bone.axis_order = words[1].lower()
        elif words[0] == "orientation":
            bone.axis = [float(w) for w in words[1:4]]
    return bone


def _read_bones(lines: list[list[str]]) -> dict[str, _Bone]:
    bones: dict[str, _Bone] = {}
    bone = _Bone()
    for words in lines:
        match words[0]:
            case "begin":
                bone = _Bone()
            case "name":
                bones[words[1]] = bone
            case "direction":
                bone.direction = [float(w) for w in words[1:4]]
            case "length":
                bone.length = float(words[1])
            case "axis":
                bone.axis, bone.axis_order = [float(w) for w in words[1:4]], words[4].lower()
            case "dof":
                bone.channels = [w.lower() for w in words[1:]]
            case _:
                pass  # id, limits, body mass
    return bones


def _read_frames(path: Path, bones: dict[str, _Bone]) -> dict[str, Float[Tensor, "T C"]]:
    frames: dict[str, list[list[float]]] = {name: [] for name in bones}
    count = 0
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1:
            count += 1
        elif len(words) - 1 != len(bones[words[0]].channels):
            raise ValueError(f"frame {count}: {len(words) - 1} numbers for {words[0]}")
        else:
            frames[words[0]].append([float(w) for w in words[1:]])
    for name, rows in frames.items():
        if bones[name].channels and len(rows) != count:
            raise ValueError(f"{len(rows)} of {count} frames name {name}")
    if not count:
        raise ValueError("no frames")
    return {name: torch.tensor(rows or [[]] * count) for name, rows in frames.items()}


def _offset(bones: dict[str, _Bone], parent: str | None) -> Float[Tensor, " 3"]:
    """A bone begins where its parent ends."""
    return torch.zeros(3) if parent is None else torch.tensor(bones[parent].direction) * bones[parent].length


def _local(bone: _Bone, numbers: Float[Tensor, "T C"]) -> Float[Tensor, "T 3 3"]:
    """The channels turn about the bone's own axes, which `axis` turns from the world's."""
    order = bone.axis_order if "x" in bone.axis_order else "xyz"
    turned = [axis_rotation("xyz".index(a), torch.tensor([bone.axis["xyz".index(a)]])) for a in order]
    own = turned[2] @ turned[1] @ turned[0]
    angles = _values(bone, numbers, "r")
    x, y, z = (axis_rotation(k, angles[:, k]) for k in range(3))
    return own @ (z @ y @ x) @ own.mT


def _values(bone: _Bone, numbers: Float[Tensor, "T C"], kind: str) -> Float[Tensor, "T 3"]:
    """Channels tx ty tz or rx ry rz; those the bone lacks are zero."""
    result = torch.zeros(len(numbers), 3)
    for k, axis in enumerate("xyz"):
        if kind + axis in bone.channels:
            result[:, k] = numbers[:, bone.channels.index(kind + axis)]
    return result
