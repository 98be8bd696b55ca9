"""Is a pack whole, and does each scan keep its promises?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int

from gdna.body.open_body import open_body
from gdna.errors import GdnaError
from gdna.scans.pack import Entry, ScanPack
from gdna.scans.types import BodyParameters, PackedScan
from gdna.types import BodyParams

JOINT_TOLERANCE = 1e-4  # metres between stored joints and those that the body model gives


@dataclass
class Report:
    """What `gdna scans verify` prints. `bad` counts scans, `faults` says what is wrong with them."""

    people: int = 0
    held_out: int = 0
    extra_poses: int = 0
    garments: int = 0  # different ones
    bytes: int = 0
    bad: int = 0
    faults: list[str] = field(default_factory=list)
    wearers: dict[str, int] = field(default_factory=dict)  # people who wear each garment


def verify(pack: ScanPack, entries: Iterator[Entry] | tuple[Entry, ...] | None = None) -> Report:
    """Read every scan and check it; `entries` may report progress."""
    people = pack.people()
    report = Report(
        people=len(people),
        held_out=len(pack.people(held_out=True)),
        extra_poses=len(pack) - len(people),
        bytes=pack.path.stat().st_size,
        faults=identity_faults(pack),
    )
    worn = Counter(garment for entry in people for garment in set(entry.about.garments))
    report.wearers = dict(sorted(worn.items()))
    report.garments = len(worn)
    for entry in pack.entries if entries is None else entries:
        try:
            found = [f"{entry.name}: {fault}" for fault in scan_faults(pack.read(entry))]
        except GdnaError as error:
            found = [str(error)]
        report.bad += bool(found)
        report.faults += found
    return report


def identity_faults(pack: ScanPack) -> list[str]:
    """A person is held out in all poses or in none, and has a first pose."""
    held_out = {e.about.person: e.held_out for e in pack.people()}
    return [
        f"{e.name}: held_out={e.held_out}, its person's first pose: {held_out.get(e.about.person, 'missing')}"
        for e in pack.entries
        if held_out.get(e.about.person) != e.held_out
    ]


def scan_faults(scan: PackedScan) -> list[str]:
    """What is wrong with a scan that could be read."""
    surface, names = scan.surface, scan.about.label_names
    faults = []
    unused = set(names) - {names[k] for k in np.unique(surface.face_labels)} - {"lining"}
    if unused:
        faults.append(f"no face is labelled {', '.join(sorted(unused))}")
    if not np.isfinite(surface.vertices).all():
        faults.append("vertices that are not finite")
    open_edges = num_open_edges(surface.faces.astype(np.int64))
    if open_edges:
        faults.append(f"{open_edges} open edges; its parts must be closed")
    distance = _joint_distance(scan.body)
    if not distance < JOINT_TOLERANCE:
        faults.append(f"joints lie {1e3 * distance:.2g} mm from those of its body parameters")
    return faults


def num_open_edges(faces: Int[np.ndarray, "F 3"]) -> int:
    """Directed edges without as many opposite ones."""
    size, following = int(faces.max()) + 1, np.roll(faces, -1, axis=1)
    edges = np.stack([faces * size + following, following * size + faces])
    _, edge = np.unique(edges, return_inverse=True)
    balance = np.bincount(edge.ravel(), np.repeat([1.0, -1.0], faces.size))
    return int(balance[balance > 0].sum())


def _joint_distance(body: BodyParameters) -> float:
    posed = open_body()(
        BodyParams(
            torch.from_numpy(body.betas)[None],
            torch.from_numpy(body.joint_rotations)[None],
            torch.from_numpy(body.translation)[None],
        )
    )
    return float(np.linalg.norm(posed.joints[0].numpy() - body.joints, axis=1).max())
