"""A synthetic scan and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gdna.data.people import REST_MARK
from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.types import Scan

GENERATOR_VERSION = 3  # grows whenever the same seed would give another person
FILE_NAME = "scan.npz"
QUANTUM = 5e-5  # metres
AT_REST = -1  # pose index of the scan at rest: in the pose from which cloth is draped


def scan_name(index: int, pose_index: int) -> str:
    """ "0007", "0007_pose1" or "0007_rest"; of one person all three."""
    mark = REST_MARK if pose_index == AT_REST else f"_pose{pose_index}" if pose_index else ""
    return f"{index:04d}{mark}"


@dataclass(frozen=True)
class ScanTraits:
    """Who the person is, what they do, and how exact the scan is."""

    age: float  # years
    gender: float  # 0: male, 1: female
    height: float  # metres, standing, without shoes
    weight: float  # 0..1, thin to heavy, on the body's own scale
    muscle: float  # 0..1
    proportions: float  # 0..1, uncommon to ideal
    pose: str  # its kind
    fabrics: tuple[str, ...]  # a garment each, as in `SyntheticScan.garments`
    redraws: int  # poses given up before this one, because cloth or exactness failed
    stretch: float  # 99th percentile of the cloth's threads, in rest lengths, of the worst garment
    outside: float  # share of the body's surface outside its clothes' surface
    deepest: float  # metres that it comes out at most
    generator_version: int = GENERATOR_VERSION


@dataclass(frozen=True)
class SyntheticScan:
    """A generated person: closed solids (body, garments, hair, shoes) whose union is the person, with the exact body
    underneath. Posed space, translation zero, scale one."""

    name: str
    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    face_labels: UInt8[np.ndarray, " F"]  # index into `label_names`
    label_names: tuple[str, ...]
    visible: Bool[np.ndarray, " F"]  # faces that no other part hides
    betas: Float[np.ndarray, " S"]
    joint_rotations: Float[np.ndarray, "24 3"]
    joints: Float[np.ndarray, "24 3"]  # posed
    garments: tuple[str, ...]  # innermost first, then hair, shoes, hat
    seed: int
    index: int
    pose_index: int
    traits: ScanTraits

    def save(self, folder: Path | str) -> Path:
        """Write `folder`/scan.npz, whole or not at all; returns its path. Vertices are rounded to 0.05 mm."""
        path = Path(folder) / FILE_NAME
        steps = np.round(self.vertices / QUANTUM)
        if np.abs(steps).max() > np.iinfo(np.int16).max:
            raise GdnaError(f"{path}: a vertex lies over {QUANTUM * np.iinfo(np.int16).max:.2f} m from the origin")
        words = {k: getattr(self, k) for k in ("name", "label_names", "garments", "seed", "index", "pose_index")}
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                vertices_quantised=steps.astype(np.int16),
                quantum=np.float64(QUANTUM),
                faces=self.faces.astype(np.int32),
                face_labels=self.face_labels.astype(np.uint8),
                visible=np.packbits(self.visible),
                betas=self.betas.astype(np.float32),
                joint_rotations=self.joint_rotations.astype(np.float32),
                joints=self.joints.astype(np.float32),
                translation=np.zeros(3, np.float32),
                scale=np.float32(1),
                description=np.array(json.dumps({**words, "traits": asdict(self.traits)})),
            )
        return path


def load_scan(folder: Path | str) -> SyntheticScan:
    """Read what `SyntheticScan.save` wrote. Raises `GdnaError` where the file is missing or of another kind."""
    path = Path(folder) / FILE_NAME
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
        words = json.loads(str(arrays["description"]))
        faces = arrays["faces"]
        return SyntheticScan(
            name=words["name"],
            vertices=(arrays["vertices_quantised"] * arrays["quantum"]).astype(np.float32),
            faces=faces,
            face_labels=arrays["face_labels"],
            label_names=tuple(words["label_names"]),
            visible=np.unpackbits(arrays["visible"], count=len(faces)).astype(bool),
            betas=arrays["betas"],
            joint_rotations=arrays["joint_rotations"],
            joints=arrays["joints"],
            garments=tuple(words["garments"]),
            seed=words["seed"],
            index=words["index"],
            pose_index=words["pose_index"],
            traits=read_traits(words["traits"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise GdnaError(f"{path}: no synthetic scan ({error}); expected what gdna's synthesize wrote") from error


def read_traits(words: dict[str, Any]) -> ScanTraits:
    """Traits from JSON."""
    return ScanTraits(**{**words, "fabrics": tuple(words["fabrics"])})


def to_scan(scan: SyntheticScan) -> Scan:
    """The scan as every other scan: all its closed parts in one mesh, so that inside and outside are asked of the
    union."""
    return Scan(scan.name, scan.vertices, scan.faces, scan.betas, scan.joint_rotations)
