"""The tables of docs/scans.md, filled in between their markers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.scans.pack import ScanPack
from gdna.scans.statistics import Statistics

MARKER = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def fill(path: Path | str, tables: dict[str, str]) -> None:
    """Replace what stands between `<!-- begin NAME -->` and `<!-- end NAME -->` by table NAME.

    Raises `GdnaError` where the text is missing or lacks a marker.
    """
    path = Path(path)
    if not path.is_file():
        raise GdnaError(f"{path}: no such file; expected the datasheet's text with its markers")
    text = path.read_text(encoding="utf-8")
    found = {match[1] for match in MARKER.findall(text)}
    if missing := sorted(tables.keys() - found):
        raise GdnaError(f"{path}: no <!-- begin {missing[0]} --> ... <!-- end {missing[0]} -->; add the two lines")
    text = MARKER.sub(lambda m: f"{m[1]}{tables.get(m[2], m[3].strip())}\n{m[4]}", text)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def tables(pack: ScanPack, statistics: Statistics) -> dict[str, str]:
    """Markdown by marker: `contents`, `quality`, `shape`, `garments`, `poses`."""
    numbers = {f"{key} (trait)": values for key, values in statistics.numbers.items()}
    shape = {"height, m": statistics.height, "weight, kg": statistics.weight, **numbers}
    angles = {f"{joint}, degrees": values for joint, values in statistics.joint_angles.items()}
    words = [_counts(key, counts, "people") for key, counts in statistics.words.items()]
    kinds = [_counts("pose", statistics.poses, "scans")] if statistics.poses else []
    return {
        "contents": _table(("", ""), _contents(pack, statistics)),
        "quality": _quantiles("of each scan", {"faces": statistics.faces, **statistics.quality}),
        "shape": _quantiles("of people", shape) + _plot("shape"),
        "garments": "\n\n".join([_counts("worn", statistics.garments, "people"), *words]) + _plot("garments"),
        "poses": "\n\n".join([*kinds, _quantiles("turned from the zero pose", angles)]) + _plot("poses"),
    }


def _plot(name: str) -> str:
    """As `plots.write_plots` names it."""
    return f"\n\n![{name}](images/scans_{name}.png)"


def _contents(pack: ScanPack, statistics: Statistics) -> list[tuple[str, object]]:
    people, size = pack.people(), pack.path.stat().st_size
    posed = {e.about.person for e in pack.entries if e.about.pose_index}
    versions = sorted({e.about.generator_version for e in pack.entries})
    return [
        ("people", len(people)),
        ("of them held out", len(pack.people(held_out=True))),
        ("extra poses", f"{len(pack) - len(people)} of {len(posed)} people"),
        ("different garments, hair styles, shoes, hats", len(statistics.garments)),
        ("different outfits", len({e.about.garments for e in people})),
        ("size", f"{size / 2**20:.1f} MB, {statistics.sizes.mean() / 1000:.1f} kB a scan"),
        ("vertices rounded to", f"{1000 * max(e.quantum for e in pack.entries):g} mm"),
        ("generator version", ", ".join(map(str, versions))),
    ]


def _quantiles(head: str, rows: dict[str, np.ndarray]) -> str:
    quantiles = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
    body = [(name, *(_number(v) for v in np.quantile(values, quantiles))) for name, values in rows.items()]
    return _table((head, "least", "5 %", "25 %", "median", "75 %", "95 %", "most"), body)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _counts(head: str, counts: Counter[str], unit: str) -> str:
    return _table((head, unit), [(word, counts[word]) for word in sorted(counts, key=lambda w: (-counts[w], w))])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
