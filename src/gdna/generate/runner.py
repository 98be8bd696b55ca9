"""From settings to a film, a contact sheet and people in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from gdna.body.skeleton import rotations_for
from gdna.data.motion import keep_in_view, load_motion, resample
from gdna.errors import GdnaError
from gdna.export.glb import write_glb
from gdna.export.ply import write_ply
from gdna.extract.avatar_mesh import Geometry
from gdna.generate.filming import Image, Shot, cores, film, film_camera
from gdna.generate.modes import MODES, Scene
from gdna.generate.people import RESOLUTION, Model, Person
from gdna.generate.settings import EvalMode, GenerateSettings
from gdna.render.video import contact_sheet, save_png, trim_pairs, write_video
from gdna.types import Motion

Track = Callable[[Iterable[Image], int], Iterable[Image]]
"""Passes the images on and may tell of their progress; the number is how many there will be."""

QUICK_RESOLUTION = (
    112  # where nearly every frame needs a mesh of its own, on a CPU: 200 frames in under 3 minutes on two cores
)
FRAME_RATES = {EvalMode.thetas: 30.0, EvalMode.sample: 4.0}
FRAME_RATE = 15.0
SHEET_IMAGES, SHEET_COLUMNS = 20, 5
FORMATS = ("glb", "ply", "npz")


@dataclass(frozen=True)
class Results:
    """What was written."""

    video: Path
    sheet: Path
    people: tuple[Path, ...]
    thrown: int = 0  # random people who were torn, and others came in their place


def generate(
    model: Model, settings: GenerateSettings, out: Path | str, track: Track = lambda images, _: images
) -> Results:
    """Write MODE_seedSEED.mp4, a sheet of some of its frames (.png), and the people asked for, into `out`.

    The same settings and model give the same people and frames (bit by bit on one kind of machine). Raises `GdnaError`
    where a setting, the motion or the person to load does not fit.
    """
    unknown = [name for name in settings.save if name not in FORMATS]
    if unknown:
        raise GdnaError(f"save: unknown format {unknown[0]}; expected some of {', '.join(FORMATS)}, as save=[glb,npz]")
    scene = open_scene(model, settings)
    frames = list(MODES[settings.eval_mode](scene))
    many, on_cpu = settings.eval_mode is not EvalMode.thetas, model.device.type == "cpu"
    shots = film(
        frames,
        int(settings.number("mesh_resolution", QUICK_RESOLUTION if many and on_cpu else RESOLUTION)),
        film_camera(settings.image_size),
        int(settings.number("workers", cores() if on_cpu else 1)),
    )
    name = f"{settings.eval_mode.name}_seed{settings.seed}"
    video, sheet = Path(out, f"{name}.mp4"), Path(out, f"{name}.png")
    shown = _Picker(len(frames), SHEET_IMAGES)
    seen: list[tuple[Person, int]] = []  # of each frame, without the meshes
    write_video(video, shown.of(track(_images(shots, seen), len(frames))), scene.motion.frame_rate)
    save_png(sheet, contact_sheet(trim_pairs(shown.picked), SHEET_COLUMNS))
    kept = [person for (person, _), frame in zip(seen, frames, strict=True) if frame.key][: settings.save_limit]
    people = save_people(kept, settings, Path(out, name)) if settings.save else ()
    return Results(video, sheet, people, sum(thrown for _, thrown in seen))


def _images(shots: Iterable[Shot], seen: list[tuple[Person, int]]) -> Iterator[Image]:
    """Notes who is seen, and how many were torn before."""
    for shot in shots:
        seen.append((shot.seen.person, shot.seen.thrown))
        yield shot.image


class _Picker:
    """Keeps some evenly spread images of those that pass through."""

    def __init__(self, total: int, count: int) -> None:
        self.numbers = set(np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist())
        self.picked: list[Image] = []

    def of(self, images: Iterable[Image]) -> Iterator[Image]:
        for number, image in enumerate(images):
            if number in self.numbers:
                self.picked.append(image)
            yield image


def open_scene(model: Model, settings: GenerateSettings) -> Scene:
    """Reads the motion and the person to start from."""
    rate = settings.number("frame_rate", FRAME_RATES.get(settings.eval_mode, FRAME_RATE))
    motion = resample(clip(settings), rate)
    motion = replace(motion, joint_rotations=rotations_for(motion, model.body.parents))
    return Scene(
        model=model,
        motion=motion,
        start=model.load_person(settings.load) if settings.load else None,
        frames=settings.frames,
        segment=settings.segment,
        random_betas=settings.random_betas,
        novelty=settings.novelty,
        generator=torch.Generator().manual_seed(settings.seed),
        base_kind=settings.base,
    )


def clip(settings: GenerateSettings) -> Motion:
    """The motion before a camera that does not move."""
    return keep_in_view(load_motion(settings.motion))


def save_people(people: Sequence[Person], settings: GenerateSettings, folder: Path) -> tuple[Path, ...]:
    """person_000.glb (rigged, with the motion as its clip), .ply (canonical mesh with normals), .npz (its numbers)."""
    written = []
    resolution = int(settings.number("mesh_resolution", RESOLUTION))
    geometry = cast(Geometry, settings.geometry)
    for number, person in enumerate(people):
        path = folder / f"person_{number:03d}"
        avatar = person.mesh(resolution, geometry) if {"glb", "ply"} & set(settings.save) else None
        if avatar is not None and "glb" in settings.save:
            write_glb(path.with_suffix(".glb"), avatar, clip(settings))
        if avatar is not None and "ply" in settings.save:
            write_ply(path.with_suffix(".ply"), avatar.vertices, avatar.faces, avatar.normals)
        if "npz" in settings.save:
            person.save(path.with_suffix(".npz"))
        written += [path.with_suffix(f".{name}") for name in FORMATS if name in settings.save]
    return tuple(written)
