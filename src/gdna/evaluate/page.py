"""The page of an evaluation: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from gdna.evaluate.health import LARGE_CM3
from gdna.evaluate.maps import Image
from gdna.evaluate.plots import bars, strips
from gdna.evaluate.report import Column, Evaluation
from gdna.evaluate.table import ROWS, Row
from gdna.geometry.files import atomic_path
from gdna.render.video import contact_sheet

KIND_TITLES = {"trained": "trained", "poses": "new poses", "held_out": "new people"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1060px; margin: 32px auto; padding: 0 16px }
h1 { font-size: 26px; margin-bottom: 0 } h2 { font-size: 19px; margin: 36px 0 8px } p { max-width: 75ch }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } caption { text-align: left; font-weight: 600; padding: 12px 0 4px }
td, th { padding: 3px 14px 3px 0; border-bottom: 1px solid #e4e4e4; text-align: right; font-weight: 400 }
th:first-child, td:first-child { text-align: left } thead th { font-weight: 600; border-bottom: 2px solid #999 }
td.best { font-weight: 700 } .plots { display: flex; flex-wrap: wrap; gap: 16px } svg, img { max-width: 100% }
.note { color: #8a4a00 } .small { color: #666; font-size: 13px }
"""  # noqa: E501


def write_page(path: Path | str, evaluation: Evaluation, against: Sequence[Column] = ()) -> None:
    """One self-contained HTML file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(render_page(evaluation, against), encoding="utf-8")


def render_page(evaluation: Evaluation, against: Sequence[Column] = ()) -> str:
    """Table of numbers (other models beside it), then a section a part with plots and pictures."""
    title = escape(f"Evaluation of {evaluation.name}")
    body = [f"<h1>{title}</h1>", *_notes(evaluation), *_table(evaluation, against), *_people(evaluation)]
    body += [*_scans(evaluation), *_variety(evaluation), *_health(evaluation), _settings(evaluation)]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def _notes(evaluation: Evaluation) -> Iterable[str]:
    return (f'<p class="note">{escape(note)}</p>' for note in evaluation.notes)


def _table(evaluation: Evaluation, against: Sequence[Column]) -> Iterable[str]:
    features = None if evaluation.people is None else evaluation.people.network
    columns = [Column(evaluation.name, features, evaluation.summary()), *against]
    kinds = {c.features for c in columns if c.features}
    yield "<h2>Numbers</h2>"
    if len(kinds) > 1:
        found = escape(", ".join(sorted(kinds)))
        yield f'<p class="note">Feature networks differ ({found}): their distances do not compare.</p>'
    names = "".join(f"<th>{escape(c.name)}</th>" for c in columns)
    section, opened = "", False
    for row in ROWS:
        if not any(row.key in c.summary for c in columns):
            continue
        if row.section != section:
            section = row.section
            yield "</tbody></table>" if opened else ""
            yield f"<table><caption>{escape(section)}</caption><thead><tr><th></th>{names}</tr></thead><tbody>"
            opened = True
        yield _row(row, columns)
    yield "</tbody></table>" if opened else ""


def _row(row: Row, columns: Sequence[Column]) -> str:
    values = [c.summary.get(row.key) for c in columns]
    known = [v for v in values if v is not None]
    best = (max if row.larger else min)(known) if len(known) > 1 and row.larger is not None else None
    cells = []
    for value in values:
        mark = ' class="best"' if value is not None and value == best else ""
        cells.append(f"<td{mark}>{'' if value is None else f'{value:.{row.digits}f}'}</td>")
    arrow = {True: " ↑", False: " ↓", None: ""}[row.larger]
    return f"<tr><td>{escape(row.title)}{arrow}</td>{''.join(cells)}</tr>"


def _people(evaluation: Evaluation) -> Iterable[str]:
    report, pictures = evaluation.people, evaluation.pictures
    if report is None:
        return
    yield "<h2>Generated people against people never seen</h2>"
    yield (
        f"<p>Normal maps from {evaluation.settings.views} sides: {report.raw.images} images of generated people, "
        f"{report.raw.real_images} of held-out scans. “Floor” is what training scans score against the same scans. "
        "Distances of so few images are larger than of many: compare with the floor, not with other papers.</p>"
    )
    sets = {"raw geometry": report.raw, "predicted normals": report.predicted}
    sets |= {"in near poses": report.near, "trained people redrawn": report.redrawn, "floor": report.floor}
    known = {name: distance for name, distance in sets.items() if distance is not None}
    yield _plots(
        bars(report.frechet_name, {n: d.frechet for n, d in known.items()}),
        bars(f"1000 x {report.kernel_name}", {n: 1000 * d.kernel for n, d in known.items()}),
        bars("precision", {n: d.precision for n, d in known.items()}),
        bars("recall", {n: d.recall for n, d in known.items()}),
    )
    if pictures.generated:
        yield _picture("Generated people: raw geometry, predicted normals.", pictures.generated, 8)
    if pictures.held_out:
        yield _picture("Held-out scans.", pictures.held_out, 8)
    if pictures.neighbours is not None:
        near = pictures.neighbours
        across = max(len(row) for row in near.images)
        flat = [image for row in near.images for image in row]
        yield _picture(
            "Copies? Generated (first), then the training people with the nearest normal maps.", flat, 2 * across
        )
        groups = {"generated": near.distance, "trained": near.real_distance}
        yield _plots(strips("feature distance to the nearest training person", groups))


def _scans(evaluation: Evaluation) -> Iterable[str]:
    if not evaluation.scans:
        return
    yield "<h2>Reconstruction</h2>"
    yield (
        "<p>Trained scans with their learned codes; the same people in poses never trained; people never seen, whose "
        f"shape code was looked for in {evaluation.settings.fit_steps} steps with everything else frozen (their "
        "detail code is the mean).</p>"
    )
    titles = {"iou": "IoU", "normal_error_deg": "normal error, predicted", "chamfer_mm": "Chamfer"}
    units = {"normal_error_deg": "degrees", "chamfer_mm": "mm"}
    plots = []
    for name, title in titles.items():
        rows = {KIND_TITLES[k]: [s.numbers() for s in scores] for k, scores in evaluation.scans.items()}
        groups = {k: [n[name] for n in numbers if name in n] for k, numbers in rows.items()}
        if any(groups.values()):
            plots.append(strips(title, groups, units.get(name, "")))
    yield _plots(*plots)
    for kind, shown in evaluation.pictures.scans.items():
        flat = [image for picture in shown for image in picture.images]
        yield _picture(f"{KIND_TITLES[kind].capitalize()}: scan, geometry, predicted normals.", flat, 9)


def _variety(evaluation: Evaluation) -> Iterable[str]:
    if evaluation.variety is None:
        return
    yield "<h2>What the codes change</h2>"
    yield "<p>New details should leave the outline, a new body should leave the folds (0 keeps them, 1.41 none).</p>"
    if evaluation.pictures.codes:
        title = "Two by two: a person and the same with other details, with another shape code, in another body."
        yield _picture(title, evaluation.pictures.codes, 6)


def _health(evaluation: Evaluation) -> Iterable[str]:
    if evaluation.health is None:
        return
    people = evaluation.health.people
    fields = [p.field for p in people]
    yield (
        f"<h2>Health</h2><p>{sum(p.generated.broken for p in people)} of {len(people)} generated people are torn, miss "
        f"a limb or have a part that floats, after {sum(p.drawn_again for p in people)} were drawn again. In the raw "
        f"field {sum(f.torn or bool(f.missing_bones) for f in fields)} are torn or miss a limb, and parts above "
        f"{LARGE_CM3:g} cm³ float of {sum(f.large_floaters > 0 for f in fields)}; these are not generated.</p>"
    )
    if notable := [(n, p) for n, p in enumerate(people) if p.notable]:
        heads = ("sample", "floaters", "cm³", "handles", "missing", "drawn again", "then handles", "missing")
        yield f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        for number, person in notable[:20]:
            field, mesh = person.field, person.generated
            of_field = (field.floaters, f"{field.floater_cm3:.1f}", field.handles, ", ".join(field.missing_bones))
            cells = (number, *of_field, person.drawn_again, mesh.handles, ", ".join(mesh.missing_bones))
            yield f"<tr>{''.join(f'<td>{escape(str(c))}</td>' for c in cells)}</tr>"
        yield "</table>"


def _settings(evaluation: Evaluation) -> str:
    given = ", ".join(f"{name} {value}" for name, value in vars(evaluation.settings).items() if value is not None)
    return f'<h2>Settings</h2><p class="small">{escape(given)}</p>'


def _plots(*plots: str) -> str:
    return f'<div class="plots">{"".join(plots)}</div>'


def _picture(caption: str, images: Sequence[Image], columns: int) -> str:
    from PIL import Image as Picture

    content = io.BytesIO()
    sheet = contact_sheet(cropped(images), columns, pad=4)
    Picture.fromarray(sheet).save(content, "PNG", optimize=True)
    text = base64.b64encode(content.getvalue()).decode()
    return f'<p>{escape(caption)}</p><img alt="{escape(caption)}" src="data:image/png;base64,{text}">'


def cropped(images: Sequence[Image], margin: int = 4) -> list[Image]:
    """All cut to the box in which any of them is not white."""
    drawn = np.any([(image < 255).any(-1) for image in images], axis=0)
    if not drawn.any():
        return list(images)
    (top, bottom), (left, right) = (
        (max(0, int(line[0]) - margin), int(line[-1]) + margin + 1)
        for line in (np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0)))
    )
    return [image[top:bottom, left:right] for image in images]
