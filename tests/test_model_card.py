"""The shipped model's card belongs to the shipped file, and is whole."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from gdna.errors import GdnaError
from gdna.generate.loading import shipped_model
from gdna.model.checkpoint import load_extra, load_model, save_checkpoint

ROOT = Path(__file__).parents[1]
SCRIPT = importlib.util.spec_from_file_location("model_card", ROOT / "scripts/model_card.py")
model_card = importlib.util.module_from_spec(SCRIPT)
SCRIPT.loader.exec_module(model_card)


@pytest.fixture
def card() -> dict:
    return model_card.of_json(
        json.loads(resources.files("gdna.model").joinpath("released", "model_card.json").read_text())
    )


def written(folder: Path, name: str, summary: dict, sha256: str, **settings) -> Path:
    """An evaluation's JSON."""
    content = {"format": "gdna-evaluation-1", "name": "open", "features": "EfficientNet-Lite0", "summary": summary}
    content |= {"model_sha256": sha256, "settings": {"parts": ["skinning"], "scans": 4, **settings}}
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_the_shipped_card_is_of_the_shipped_model(card):
    model_card.check_card(card, shipped_model())
    assert card["model"]["scans"] == len(load_extra(shipped_model())["names"])
    top = json.loads((ROOT / "src/gdna/model/released/model_card.json").read_text())
    assert (top["frechet_raw"], top["broken_of_500"]) == (
        card["numbers"]["frechet_raw"],
        card["numbers"]["broken_of_500"],
    )
    page = (ROOT / "docs/model_card.md").read_text()
    assert page == model_card.as_markdown(card)
    assert card["model"]["sha256"] in page


@pytest.mark.parametrize("key", ["frechet_floor", "iou_unseen_pose", "broken_of_500", "motion_flicker_deg"])
def test_a_card_that_lacks_a_number_is_refused(card, key):
    for value in (None, float("nan")):
        spoiled = {**card, "numbers": {k: v for k, v in card["numbers"].items() if k != key}}
        if value is not None:
            spoiled["numbers"][key] = value
        with pytest.raises(GdnaError, match=f"not finite: {key}"):
            model_card.check_card(spoiled, shipped_model())


def test_a_card_of_another_file_is_refused(card, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, load_model(shipped_model()), {"names": []})
    with pytest.raises(GdnaError, match="not of"):
        model_card.check_card(card, other)


def test_numbers_come_of_several_evaluations_of_one_file(tmp_path):
    model, facts = shipped_model(), tomllib.loads((ROOT / "scripts/model_card.toml").read_text())
    digest = model_card.of_file(model)
    counts = dict.fromkeys(model_card.COUNTED, 2.0)
    one = written(tmp_path, "one.json", {"samples": 50.0, **counts}, digest)
    two = written(tmp_path, "two.json", {"frechet_floor": 2.0, "frechet_normals": 3.0, "frechet_raw": 6.0}, digest)
    numbers = model_card.make_card(model, [one, two], facts)["numbers"]
    assert (numbers["broken_of_500"], numbers["samples"]) == (20.0, 50.0)
    assert (numbers["frechet_normals_by_floor"], numbers["frechet_raw_by_normals"]) == (1.5, 2.0)
    twice = written(tmp_path, "twice.json", {"frechet_floor": 2.5}, digest)
    with pytest.raises(GdnaError, match=r"frechet_floor is 2\.5"):
        model_card.make_card(model, [two, twice], facts)
    with pytest.raises(GdnaError, match="measured another model"):
        model_card.make_card(model, [written(tmp_path, "other.json", {}, "0" * 64)], facts)


def test_the_files_card_tells_what_was_not_measured_again(tmp_path):
    model, facts = shipped_model(), {}
    digest = model_card.of_file(model)
    people = written(tmp_path, "p.json", {"frechet_floor": 2.0, "frechet_normals": 3.0}, digest, parts=["people"])
    rest = written(tmp_path, "r.json", {"iou_train": 0.5}, digest, parts=["scans"])
    former = tmp_path / "card.json"
    former.write_text(model_card.as_json(model_card.make_card(model, [people, rest], facts)))
    again = written(tmp_path, "a.json", {"frechet_floor": 2.0, "frechet_normals": 4.0}, digest, parts=["people"])
    card = model_card.make_card(model, [again, former], facts)
    assert (card["numbers"]["frechet_normals_by_floor"], card["numbers"]["iou_train"]) == (2.0, 0.5)
    assert [one["parts"] for one in card["measured_with"]] == [["people"], ["scans"]]


def test_what_another_normal_field_leaves_as_it_was(tmp_path):
    """Numbers of a former file are taken over by name, if its shapes are the same."""
    model, former = shipped_model(), tmp_path / "former.safetensors"
    network, extra = load_model(model), load_extra(model)
    network.z_details.weight.data += 1.0
    save_checkpoint(former, network, extra)
    old = written(tmp_path, "old.json", {"iou_held_out": 0.5, "frechet_floor": 9.0}, model_card.of_file(former))
    card = tmp_path / "card.json"
    card.write_text(model_card.as_json(model_card.make_card(former, [old], {})))
    new = written(tmp_path, "new.json", {"frechet_floor": 2.0}, model_card.of_file(model), parts=["people"])
    made = model_card.make_card(model, [new, card], {}, former=former)
    assert (made["numbers"]["frechet_floor"], made["numbers"]["iou_held_out"]) == (2.0, 0.5)
    assert made["taken_over"] == {"sha256": model_card.of_file(former), "numbers": ["iou_held_out"]}
    own = tmp_path / "own.json"
    own.write_text(model_card.as_json(made))  # what the model's own card took over is still not measured
    assert model_card.make_card(model, [new, own], {})["taken_over"] == made["taken_over"]
    measured = written(tmp_path, "measured.json", {"iou_held_out": 0.6}, model_card.of_file(model))
    assert model_card.make_card(model, [measured, own], {})["taken_over"]["numbers"] == []
    with pytest.raises(GdnaError, match="measured another model"):
        model_card.make_card(model, [new, card], {})
    network.z_shapes.weight.data += 1.0
    save_checkpoint(former, network, extra)
    with pytest.raises(GdnaError, match="its shapes are not those"):
        model_card.make_card(model, [new], {}, former=former)


def test_a_baseline_stands_beside_the_numbers(card, tmp_path):
    model, facts = shipped_model(), card["facts"]
    digest, other = model_card.of_file(model), "1" * 64
    own = written(tmp_path, "own.json", {"iou_train": 0.75}, digest)
    two = [
        written(tmp_path, "people.json", {"frechet_normals": 2.0, "frechet_raw": 3.0}, other, parts=["people"]),
        written(tmp_path, "scans.json", {"iou_train": 0.25}, other, parts=["scans"]),
    ]
    made = model_card.make_card(model, [own], facts, baseline=two)
    assert (made["baseline"]["sha256"], made["baseline"]["numbers"]["frechet_raw_by_normals"]) == (other, 1.5)
    page = model_card.as_markdown({**card, "numbers": card["numbers"] | made["numbers"], "baseline": made["baseline"]})
    assert "| IoU, uniform points ↑ | 0.750 | 0.250 |" in page
    before = tmp_path / "card.json"
    before.write_text(model_card.as_json(made))
    assert model_card.make_card(model, [before], facts)["baseline"] == made["baseline"]  # the card keeps it
    assert model_card.make_card(model, [own], facts)["baseline"] is None
    with pytest.raises(GdnaError, match="facts lack baseline"):
        model_card.check_card({**card, "facts": {k: v for k, v in facts.items() if k != "baseline"}}, model)
    with pytest.raises(GdnaError, match="measured several models"):
        model_card.make_card(model, [own], facts, baseline=[two[0], written(tmp_path, "third.json", {}, "2" * 64)])


def test_what_was_measured_before_rounding(tmp_path):
    model = shipped_model()
    network, extra = load_model(model), load_extra(model)
    measured, rounded = tmp_path / "last.safetensors", tmp_path / "released.safetensors"
    network.z_shapes.weight.data += 1e-6
    save_checkpoint(measured, network, extra)
    save_checkpoint(rounded, network, extra, half=True)
    json_of_measured = written(tmp_path, "e.json", {"iou_train": 0.5}, model_card.of_file(measured))
    card = model_card.make_card(rounded, [json_of_measured], {}, measured)
    assert card["model"]["sha256"] == model_card.of_file(rounded)
    network.z_shapes.weight.data += 1.0
    save_checkpoint(measured, network, extra)
    with pytest.raises(GdnaError, match="in half precision"):
        model_card.make_card(rounded, [json_of_measured], {}, measured)
