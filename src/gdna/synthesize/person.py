"""One synthetic person: a body, an outfit, a pose, draped cloth, one scan. The seed and the index decide everything,
so that people can be made in any order and on any number of machines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from gdna.body.open_body import open_body
from gdna.synthesize.assemble import assemble
from gdna.synthesize.cloth import DrapeSettings, drape
from gdna.synthesize.garments import Pattern, TopStyle
from gdna.synthesize.layers import Worn, dressed_parts
from gdna.synthesize.mannequin import mannequin
from gdna.synthesize.poses import pose_path, sample_pose
from gdna.synthesize.scan_file import SyntheticScan, load_scan, to_scan
from gdna.synthesize.shaping import clear_layer
from gdna.synthesize.stage import Stage, move
from gdna.synthesize.wardrobe import Outfit, cut_pattern, random_outfit

__all__ = ["SynthesisSettings", "SyntheticScan", "draw_betas", "load_scan", "synthesize", "to_scan"]

BETA_JITTER = 0.2
BETA_LIMIT = 2.5
LAYER_GAP = 0.007  # metres between garments before draping


@dataclass(frozen=True)
class SynthesisSettings:
    """How people are made."""

    frames: int = 36  # from the start pose to the pose
    recess: float = 0.006  # metres that the lids of openings lie inside the hems
    drape: DrapeSettings = field(default_factory=DrapeSettings)


def draw_betas(rng: np.random.Generator) -> tuple[Float[np.ndarray, " S"], float]:
    """A believable body near one of the population's, and how feminine it is (0..1)."""
    body = open_body()
    row = int(rng.integers(len(body.population_betas)))
    betas = body.population_betas[row] + BETA_JITTER * rng.standard_normal(body.num_betas)
    femininity = float(body.population_traits[row, body.trait_names.index("gender")])
    return np.clip(betas, -BETA_LIMIT, BETA_LIMIT).astype(np.float32), femininity


def synthesize(seed: int, index: int, settings: SynthesisSettings | None = None, pose_index: int = 0) -> SyntheticScan:
    """Person number `index` of the family `seed`, in one of any number of poses; body and outfit are the same in all.

    Named "0007", or "0007_pose1" for pose 1. Raises `GdnaError` where a garment is lost while draping.
    """
    settings = SynthesisSettings() if settings is None else settings
    rng = np.random.default_rng([seed, index])
    betas, femininity = draw_betas(rng)
    outfit = random_outfit(rng, femininity)
    body = mannequin(betas)
    pose = sample_pose(body, np.random.default_rng([seed, index, 1 + pose_index]))
    stage = move(body, betas, pose_path(pose, settings.frames), outfit.shoes)
    worn = dress(stage, outfit, settings)
    assembly = assemble(dressed_parts(stage, worn, outfit.hair, outfit.hat, settings.recess))
    extras = (outfit.hair, outfit.shoes, outfit.hat)
    return SyntheticScan(
        name=f"{index:04d}" + (f"_pose{pose_index}" if pose_index else ""),
        vertices=assembly.vertices.astype(np.float32),
        faces=assembly.faces.astype(np.int32),
        face_labels=assembly.face_labels,
        label_names=assembly.label_names,
        visible=assembly.visible,
        betas=betas,
        joint_rotations=pose.astype(np.float32),
        joints=stage.joints.astype(np.float32),
        garments=(*(w.pattern.garment.name for w in worn), *(e for e in extras if e is not None)),
        seed=seed,
        index=index,
        pose_index=pose_index,
    )


def dress(stage: Stage, outfit: Outfit, settings: SynthesisSettings) -> list[Worn]:
    """Cut the outfit's garments to the body and drape them, innermost first; a shirt under a jacket is draped one level
    coarser. Raises `GdnaError` where a garment is lost."""
    worn: list[Worn] = []
    for style in outfit.garments:
        pattern = _over(cut_pattern(stage.body, style), [w.pattern for w in worn])
        hidden = isinstance(style, TopStyle) and style is not outfit.garments[-1]
        fineness = replace(settings.drape, levels=max(settings.drape.levels - 1, 0)) if hidden else settings.drape
        draped = drape(pattern.garment, stage.path, fineness, [w.draped for w in worn])
        worn.append(Worn(pattern, draped))
    return worn


def _over(pattern: Pattern, inner: list[Pattern]) -> Pattern:
    """The pattern lifted over the garments worn under it."""
    garment = pattern.garment
    vertices = garment.vertices
    for other in inner:
        vertices = clear_layer(vertices, other.garment.vertices, other.garment.quads, LAYER_GAP)
    return replace(pattern, garment=replace(garment, vertices=vertices))
