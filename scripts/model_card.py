"""Write the shipped model's card from what was measured of it, as JSON beside the model and as docs/model_card.md.

python scripts/model_card.py outputs/open/evaluation/evaluation.json [more.json ...]

Several evaluations of the same file may be given, each with parts of its own; the file's own card, after them, for the
parts that were not measured again (what that card had taken over stays so). Where only the normal field and the detail
codes are new, the former file's card may stand there (--former FILE): what was not measured again is taken over, and
the new card names these numbers. Evaluations of another model stand beside its numbers for comparison (--baseline
JSON...; a card among the evaluations keeps its own). Facts that nothing measures (data, hardware, limits) are those of
scripts/model_card.toml. Of a checkpoint that was measured before it was rounded for shipping: --measured CHECKPOINT.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdna.data.people import people_of
from gdna.errors import GdnaError
from gdna.evaluate.report import read_column
from gdna.evaluate.table import ROWS
from gdna.geometry.files import atomic_path
from gdna.model.avatar_model import FINE_PARTS
from gdna.model.checkpoint import load_config, load_extra, load_model

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "src/gdna/model/released/gdna-open.safetensors"
FACTS = ROOT / "scripts/model_card.toml"
PAGE = ROOT / "docs/model_card.md"
FORMAT = "gdna-model-card-2"
SAME = 0.01  # a number measured twice, on two machines say, may differ by as much; the first counts
HEALTH_OF = 500  # people among whom a card counts the broken, however many were looked at
COUNTED = (
    "broken", "with_floaters", "with_missing_bones", "with_many_handles", "drawn_again",
    "field_broken", "field_with_floaters", "field_with_large_floaters", "field_with_missing_bones",
    "field_with_many_handles",
)  # fmt: skip
OF_SCANS = ("iou", "iou_near", "chamfer_mm", "normal_consistency", "f_score_1cm", "normal_error_deg", "silhouette_iou")
OF_PEOPLE = ("floor", "redrawn", "normals", "raw")
REQUIRED = (
    *(f"{name}_{of}" for name in ("frechet", "kernel", "precision", "recall") for of in OF_PEOPLE),
    *(f"{name}_{of}" for name in OF_SCANS for of in ("train", "unseen_pose", "held_out")),
    *(f"{name}_of_{HEALTH_OF}" for name in COUNTED),
    *(f"motion_{name}_deg" for name in ("pose", "change", "flicker", "turn")),
    "frechet_normals_by_floor", "frechet_raw_by_normals",
    "skin_vertex_error_mm_train", "skin_misplaced_weight_train", "samples",
)  # fmt: skip
FACT_KEYS = ("name", "summary", "licence", "data", "held_out", "hardware", "use", "limits", "seconds", "commands")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("evaluations", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--measured", type=Path, help="the checkpoint that was measured, where it is not --model")
    parser.add_argument("--former", type=Path, help="a model of the same shapes, whose card is among the evaluations")
    parser.add_argument("--baseline", type=Path, nargs="+", default=[], help="evaluations of the model to compare with")
    parser.add_argument("--facts", type=Path, default=FACTS)
    parser.add_argument("--out", type=Path, help="default: model_card.json beside the model")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    facts = tomllib.loads(args.facts.read_text())
    card = make_card(args.model, args.evaluations, facts, args.measured, args.former, args.baseline)
    check_card(card, args.model)
    out = args.out or args.model.with_name("model_card.json")
    for path, text in ((out, as_json(card)), (args.page, as_markdown(card))):
        with atomic_path(path) as temporary:
            temporary.write_text(text)
        print(path)


def make_card(
    model: Path,
    evaluations: Sequence[Path],
    facts: Mapping[str, Any],
    measured: Path | None = None,
    former: Path | None = None,
    baseline: Sequence[Path] = (),
) -> dict[str, Any]:
    """Raises `GdnaError` where an evaluation is of another model, or two disagree about a number."""
    names, config = tuple(load_extra(model).get("names", ())), load_config(model)
    digest = of_file(model)
    if measured is not None:
        check_same(measured, model)
    if former is not None:
        check_same_shapes(former, model)
    numbers: dict[str, float] = {}
    taken_over: list[str] = []
    of_former = taken_from = None if former is None else of_file(former)
    settings = []
    compared = compared_with(baseline) if baseline else None
    for path in evaluations:
        content = json.loads(path.read_text())
        is_card = content.get("format") == FORMAT
        content = of_json(content) if is_card else content
        of = content["model"]["sha256"] if is_card else content.get("model_sha256")
        is_former = is_card and of == of_former
        if not is_former and of != (digest if measured is None else of_file(measured)):
            raise GdnaError(f"{path}: measured another model than {measured or model}; evaluate that one")
        if is_card:
            if is_former:
                taken_over = sorted(content["numbers"].keys() - numbers.keys() - derived(content["numbers"]).keys())
            elif before := content.get("taken_over", {}).get("numbers"):  # and is still not measured
                taken_over, taken_from = sorted(set(before) - numbers.keys()), content["taken_over"]["sha256"]
            numbers = content["numbers"] | numbers
            compared = compared or content.get("baseline")
            told = {part for one in settings for part in one["parts"]}
            left = [one | {"parts": [p for p in one["parts"] if p not in told]} for one in content["measured_with"]]
            settings += [one for one in left if one["parts"]]
            continue
        settings.append(add_evaluation(path, content, numbers))
    return {
        "format": FORMAT,
        "model": {
            "file": model.name,
            "sha256": digest,
            "bytes": model.stat().st_size,
            "stage": config.stage,
            "people": len(people_of(names)),
            "scans": len(names),
        },
        "facts": dict(facts),
        "numbers": {**numbers, **derived(numbers)},
        "taken_over": {"sha256": taken_from, "numbers": taken_over},
        "measured_with": settings,
        "baseline": compared,
    }


def add_evaluation(path: Path, content: Mapping[str, Any], numbers: dict[str, float]) -> dict[str, Any]:
    """Add what was measured to `numbers`; answers how. Raises `GdnaError` where they say otherwise."""
    for key, value in read_column(path).summary.items():
        if not math.isclose(numbers.setdefault(key, value), value, rel_tol=SAME):
            raise GdnaError(f"{path}: {key} is {value}, {numbers[key]} in an earlier file; give each part once")
    return {**content["settings"], "features": content["features"]}


def as_json(card: Mapping[str, Any]) -> str:
    """The file's text: the numbers stand at the top, by their names."""
    apart = {key: value for key, value in card.items() if key != "numbers"}
    return json.dumps({"format": FORMAT, **card["numbers"], **apart}, indent=1) + "\n"


def of_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `as_json`."""
    apart = {key: value for key, value in content.items() if not isinstance(value, float)}
    return apart | {"numbers": {key: value for key, value in content.items() if isinstance(value, float)}}


def compared_with(evaluations: Sequence[Path]) -> dict[str, Any]:
    """What was measured of one other model. Raises `GdnaError` where the evaluations are of several, or disagree."""
    contents = [json.loads(path.read_text()) for path in evaluations]
    if len({content["model_sha256"] for content in contents}) > 1:
        raise GdnaError(f"{', '.join(map(str, evaluations))}: measured several models; a baseline is one")
    numbers: dict[str, float] = {}
    settings = [add_evaluation(path, content, numbers) for path, content in zip(evaluations, contents, strict=True)]
    return {
        "sha256": contents[0]["model_sha256"],
        "numbers": {**numbers, **derived(numbers)},
        "measured_with": settings,
    }


def derived(numbers: Mapping[str, float]) -> dict[str, float]:
    """Ratios, and the broken among as many people on every card."""
    ratios = (("frechet_normals_by_floor", "normals", "floor"), ("frechet_raw_by_normals", "raw", "normals"))
    values = {
        key: numbers[f"frechet_{over}"] / numbers[f"frechet_{under}"]
        for key, over, under in ratios
        if {f"frechet_{over}", f"frechet_{under}"} <= numbers.keys()
    }
    if "samples" in numbers:
        values |= {f"{key}_of_{HEALTH_OF}": HEALTH_OF * numbers[key] / numbers["samples"] for key in COUNTED}
    return values


def check_card(card: Mapping[str, Any], model: Path) -> None:
    """Raise `GdnaError` unless the card is of this file, whole, and of numbers."""
    if card.get("format") != FORMAT or card["model"]["sha256"] != of_file(model):
        raise GdnaError(f"model card: not of {model}; write it again (scripts/model_card.py)")
    wrong = [key for key in REQUIRED if not math.isfinite(card["numbers"].get(key, math.nan))]
    if wrong:
        raise GdnaError(f"model card: {len(wrong)} numbers are missing or not finite: {', '.join(wrong)}")
    needed = (*FACT_KEYS, "baseline") if card.get("baseline") else FACT_KEYS
    missing = [key for key in needed if not card["facts"].get(key)]
    if missing:
        raise GdnaError(f"model card: the facts lack {', '.join(missing)}")


def check_same(measured: Path, model: Path) -> None:
    """Raise `GdnaError` unless `model` is `measured`, rounded."""
    one, other = load_model(measured).state_dict(), load_model(model).state_dict()
    same = one.keys() == other.keys() and all(
        (one[k] == other[k]).all() or (one[k].half() == other[k].half()).all() for k in one
    )
    if not same:
        raise GdnaError(f"{model}: not {measured} in half precision; release that one (scripts/release_model.py)")


def check_same_shapes(former: Path, model: Path) -> None:
    """Raise `GdnaError` unless the two differ in the normal field and the detail codes alone."""
    one, other = (load_model(path).state_dict() for path in (former, model))
    shapes = [{k: v for k, v in state.items() if not k.startswith(FINE_PARTS)} for state in (one, other)]
    if shapes[0].keys() != shapes[1].keys() or not all((shapes[0][k] == shapes[1][k]).all() for k in shapes[0]):
        raise GdnaError(f"{former}: its shapes are not those of {model}; nothing can be taken over, evaluate anew")


def of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_markdown(card: Mapping[str, Any]) -> str:
    """The same for readers."""
    model, facts, numbers = card["model"], card["facts"], card["numbers"]
    seconds = ", ".join(f"{name} {value} s" for name, value in facts["seconds"].items())
    lines = [
        f"# Model card: {facts['name']}", "",
        "Written by `scripts/model_card.py` from evaluations of the shipped file; nothing here is edited by hand.", "",
        facts["summary"], "", "| | |", "|---|---|",
        f"| file | `{model['file']}`, {model['bytes'] / 1e6:.1f} MB, SHA-256 `{model['sha256']}` |",
        f"| trained on | {model['scans']} scans of {model['people']} people. {facts['data']} |",
        f"| held out | {facts['held_out']} |", f"| hardware, time | {facts['hardware']}; {seconds} |",
        f"| use | {facts['use']} |", f"| licence | {facts['licence']} |", "",
        "```bash", *(command["run"] for command in facts["commands"]), "```", "",
    ]  # fmt: skip
    compared = card["baseline"]
    lines += _tables(numbers, {} if compared is None else compared["numbers"])
    far = f"{numbers['frechet_normals_by_floor']:.2f} times as far from held-out people as trained scans are"
    raw = f"raw geometry {numbers['frechet_raw_by_normals']:.2f} times as far as these"
    lines += ["", f"Predicted normals are {far}, {raw}.", "", "How much was measured:", ""]
    lines += [*(f"- {_told(settings)}" for settings in card["measured_with"]), ""]
    if compared is not None:
        lines += [f"{facts['baseline']} Of it:", "", *(f"- {_told(one)}" for one in compared["measured_with"]), ""]
    if card["taken_over"]["numbers"]:
        lines += [_taken_over(card["taken_over"]), ""]
    lines += ["What it cannot do:", ""]
    return "\n".join([*lines, *(f"- {limit}" for limit in facts["limits"])]) + "\n"


def _tables(numbers: Mapping[str, float], compared: Mapping[str, float]) -> list[str]:
    head = ["| | this model | the original's method |", "|---|---|---|"] if compared else ["| | |", "|---|---|"]
    lines, section = [], ""
    for row in ROWS:
        counted = row.key in COUNTED
        key = f"{row.key}_of_{HEALTH_OF}" if counted else row.key
        if key not in numbers:
            continue
        if row.section != section:
            section = row.section
            lines += ["", f"**{section}**", "", *head]
        title = f"{row.title}, of {HEALTH_OF}" if counted else row.title
        better = {True: " ↑", False: " ↓", None: ""}[row.larger]
        values = [numbers[key], *([compared.get(key)] if compared else [])]
        told = (" " if value is None else f"{value:.{row.digits}f}" for value in values)
        lines.append(f"| {title}{better} | {' | '.join(told)} |")
    return lines


def _taken_over(former: Mapping[str, Any]) -> str:
    keys = {key.removesuffix(f"_of_{HEALTH_OF}") for key in former["numbers"]}
    titles: dict[str, list[str]] = {}
    for row in ROWS:
        titles.setdefault(row.section, [])
        if row.key in keys:
            titles[row.section].append(row.title)
    every = {section: sum(row.section == section for row in ROWS) for section in titles}
    told = (
        section if len(rows) == every[section] else f"{section} ({', '.join(rows)})"
        for section, rows in titles.items()
        if rows
    )
    of = f"the file of SHA-256 `{former['sha256'][:12]}...`, whose shapes are the same to the bit"
    but = "normal field and detail codes are others, and show where folds or normals have a part"
    return f"Taken over from {of} ({but}): {'; '.join(told)}."


def _told(settings: Mapping[str, Any]) -> str:
    of_part = {
        "people": ("people", "views", "mesh_resolution", "geometry", "features"),
        "scans": ("scans", "views", "points", "fit_steps", "mesh_resolution", "geometry"),
        "variety": ("people", "mesh_resolution"),
        "health": ("samples", "health_resolution", "mesh_resolution"),
        "skinning": ("scans",),
        "motion": ("motion", "mesh_resolution"),
    }
    told = []
    for part in settings["parts"]:
        kept = (f"{key} {settings[key]}" for key in of_part[part] if settings.get(key) is not None)
        told.append(f"{part}: {', '.join(kept)}")
    return "; ".join(told)


if __name__ == "__main__":
    main()
