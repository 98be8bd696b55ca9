"""One synthetic person: a body, an outfit, a pose, draped cloth, one scan. The seed and the index decide everything,
so that people can be made in any order and on any number of machines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gdna.errors import GdnaError
from gdna.synthesize.accessories import fit_accessory
from gdna.synthesize.assemble import Assembly, assemble
from gdna.synthesize.cloth import DrapeSettings, drape
from gdna.synthesize.cutting import triangles
from gdna.synthesize.exactness import Exactness, coming_out
from gdna.synthesize.garments import Pattern
from gdna.synthesize.hair import STYLES, grow_hair, knit_cap
from gdna.synthesize.layers import Headwear, Worn, dressed_parts
from gdna.synthesize.mannequin import Mannequin, mannequin
from gdna.synthesize.outfits import Outfit, cut_pattern, random_outfit
from gdna.synthesize.poses import Pose, pose_path, rest_pose, sample_pose
from gdna.synthesize.scan_file import AT_REST, ScanTraits, SyntheticScan, load_scan, scan_name, to_scan
from gdna.synthesize.shapes import Shape, draw_shape
from gdna.synthesize.shaping import clear_layer
from gdna.synthesize.stage import Stage, move
from gdna.synthesize.styles import TopStyle, TrouserStyle

__all__ = ["AT_REST", "SynthesisSettings", "SyntheticScan", "load_scan", "synthesize", "to_scan"]

LAYER_GAP = 0.007  # metres between garments before draping
SAFE_POSES = ("standing", "walking")
UPRIGHT_POSES = ("standing", "walking", "waving", "reaching", "arms up", "arms crossed")


@dataclass(frozen=True)
class Limits:
    """Beyond which a scan is given up."""

    stretch: float = 1.5  # 99th percentile of the threads, in rest lengths
    tangled: float = 0.05  # share of a garment's vertices where it passes through itself
    outside: float = 1e-3  # share of the body's surface outside its clothes' surface
    deepest: float = 0.002  # metres that the body comes out


@dataclass(frozen=True)
class SynthesisSettings:
    """How people are made, and which are given up: then the next pose is drawn, the last ones calm."""

    frames: int = 30  # from the start pose to the pose
    recess: float = 0.006  # metres that the lids of openings lie inside the hems
    drape: DrapeSettings = field(default_factory=DrapeSettings)
    tries: int = 7
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class _Dressed:
    stage: Stage
    worn: list[Worn]
    assembly: Assembly
    exact: Exactness

    def fault(self, limits: Limits) -> str | None:
        """Why this scan cannot be kept."""
        for w in self.worn:
            found = w.draped.diagnostics
            if found.stretch_p99 > limits.stretch:
                return f"{w.pattern.garment.name} stretched {found.stretch_p99:.2f}-fold"
            if found.tangled > limits.tangled:
                return f"{w.pattern.garment.name} passes through itself at {100 * found.tangled:.1f} %"
        if self.exact.outside > limits.outside or self.exact.deepest > limits.deepest:
            return f"body {100 * self.exact.outside:.2f} % outside, {1000 * self.exact.deepest:.1f} mm deep"
        return None


def synthesize(seed: int, index: int, settings: SynthesisSettings | None = None, pose_index: int = 0) -> SyntheticScan:
    """Person number `index` of the family `seed`, in one of any number of poses; body and outfit are the same in all.

    Named "0007", or "0007_pose1" for pose 1. Pose `AT_REST` ("0007_rest") is the start pose: cloth as it hangs before
    anybody moves. A pose in which cloth or exactness fails is drawn anew. Raises `GdnaError` where that does not help.
    """
    settings = SynthesisSettings() if settings is None else settings
    rng = np.random.default_rng([seed, index])
    shape = draw_shape(rng)
    outfit = random_outfit(rng, shape.gender, shape.age)
    body = mannequin(shape.betas)
    headwear = _headwear(body, outfit, [seed, index, 0])
    faults: list[str] = []
    for attempt in range(settings.tries):
        draws = np.random.default_rng([seed, index, 1 + pose_index, attempt])
        if pose_index == AT_REST:
            pose = rest_pose(draws, attempt)
        else:
            pose = sample_pose(body, draws, SAFE_POSES if attempt >= settings.tries - 2 else _kinds(outfit))
        try:
            dressed = _dress_in(body, shape, outfit, headwear, pose, settings)
            fault = dressed.fault(settings.limits)
        except GdnaError as lost:
            fault = str(lost)
        if fault is None:
            traits = _traits(shape, pose, dressed, len(faults))
            return _scan(scan_name(index, pose_index), (seed, index, pose_index), dressed, outfit, shape, pose, traits)
        faults.append(f"{pose.kind}: {fault}")
    raise GdnaError(f"person {index} of seed {seed}, pose {pose_index}: no pose worked out ({'; '.join(faults)})")


def _kinds(outfit: Outfit) -> tuple[str, ...] | None:
    """Poses that a person dressed like this takes, None for all: the lid over an open coat's front cannot follow legs
    that are far apart."""
    long_and_open = any(isinstance(s, TopStyle) and s.opening is not None and s.hem < 0 for s in outfit.garments)
    return UPRIGHT_POSES if long_and_open else None


def _dress_in(
    body: Mannequin, shape: Shape, outfit: Outfit, headwear: list[Headwear], pose: Pose, settings: SynthesisSettings
) -> _Dressed:
    stage = move(body, shape.betas, pose_path(pose.rotations, settings.frames), outfit.shoes)
    worn = dress(stage, outfit, settings)
    parts = dressed_parts(stage, worn, headwear, settings.recess)
    assembly = assemble(parts)
    kept = np.zeros(len(stage.skin), bool)  # skin that the scan shows where the body has it
    used = np.unique(body.skin_faces)
    kept[used] = (parts[0].solid.vertices[: len(used)] == stage.skin[used]).all(1)
    moved = ~kept[body.skin_faces].all(1)
    exact = coming_out(stage.skin, body.skin_faces, assembly.vertices, assembly.faces, moved)
    return _Dressed(stage, worn, assembly, exact)


def _scan(
    name: str,
    numbers: tuple[int, int, int],
    dressed: _Dressed,
    outfit: Outfit,
    shape: Shape,
    pose: Pose,
    traits: ScanTraits,
) -> SyntheticScan:
    assembly = dressed.assembly
    extras = (outfit.hair, outfit.shoes, outfit.hat)
    return SyntheticScan(
        name=name,
        vertices=assembly.vertices.astype(np.float32),
        faces=assembly.faces.astype(np.int32),
        face_labels=assembly.face_labels,
        label_names=assembly.label_names,
        visible=assembly.visible,
        betas=shape.betas,
        joint_rotations=pose.rotations.astype(np.float32),
        joints=dressed.stage.joints.astype(np.float32),
        garments=(*(w.pattern.garment.name for w in dressed.worn), *(e for e in extras if e is not None)),
        seed=numbers[0],
        index=numbers[1],
        pose_index=numbers[2],
        traits=traits,
    )


def _traits(shape: Shape, pose: Pose, dressed: _Dressed, redraws: int) -> ScanTraits:
    return ScanTraits(
        age=shape.age,
        gender=shape.gender,
        height=shape.height,
        weight=shape.weight,
        muscle=shape.muscle,
        proportions=shape.proportions,
        pose=pose.kind,
        fabrics=tuple(w.pattern.garment.fabric.name for w in dressed.worn),
        redraws=redraws,
        stretch=max((w.draped.diagnostics.stretch_p99 for w in dressed.worn), default=1.0),
        outside=dressed.exact.outside,
        deepest=dressed.exact.deepest,
    )


def _headwear(body: Mannequin, outfit: Outfit, seed: list[int]) -> list[Headwear]:
    """Hat and hair on the body."""
    rng = np.random.default_rng(seed)
    found: list[Headwear] = []
    if outfit.hat == "knit cap":
        found.append(("hat", knit_cap(body, rng)))
    elif outfit.hat is not None:
        found.append(("hat", fit_accessory(outfit.hat, body.vertices_canonical, body.skin_weights)))
    if outfit.hair in STYLES:
        found.append(("hair", grow_hair(outfit.hair, body, rng)))
    elif outfit.hair is not None:
        found.append(("hair", fit_accessory(outfit.hair, body.vertices_canonical, body.skin_weights)))
    return found


def dress(stage: Stage, outfit: Outfit, settings: SynthesisSettings) -> list[Worn]:
    """Cut the outfit's garments to the body and drape them, innermost first; a shirt under a jacket is draped one level
    coarser. Raises `GdnaError` where a garment is lost."""
    worn: list[Worn] = []
    last_top = max((k for k, s in enumerate(outfit.garments) if isinstance(s, TopStyle)), default=0)
    for k, style in enumerate(outfit.garments):
        pattern = _over(cut_pattern(stage.body, style), [w.pattern for w in worn], stage)
        hidden = isinstance(style, TopStyle) and k < last_top
        fineness = replace(settings.drape, levels=max(settings.drape.levels - 1, 0)) if hidden else settings.drape
        draped = drape(pattern.garment, stage.path, fineness, [w.draped for w in worn])
        worn.append(Worn(pattern, draped))
    return worn


def _over(pattern: Pattern, inner: list[Pattern], stage: Stage) -> Pattern:
    """The pattern lifted over the garments worn under it, and over boots."""
    garment = pattern.garment
    vertices = garment.vertices
    for other in inner:
        vertices = clear_layer(vertices, other.garment.vertices, triangles(other.garment.quads), LAYER_GAP)
    if stage.shoes is not None and isinstance(pattern.style, TrouserStyle):
        vertices = clear_layer(vertices, stage.shoes_at_start, stage.shoes.faces, garment.fabric.thickness)
    return replace(pattern, garment=replace(garment, vertices=vertices))
