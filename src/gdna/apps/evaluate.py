"""`gdna evaluate`: intersection over union of occupancy at points that training never saw."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from gdna.apps.config import OUTPUTS, Evaluate
from gdna.apps.import_checkpoint import import_where_needed
from gdna.evaluate.metrics import evaluate_iou
from gdna.generate.loading import checkpoint_path, pick_device
from gdna.geometry.files import atomic_path


def run(keys: Evaluate) -> None:
    import_where_needed(Path(OUTPUTS, keys.expname), keys.datamodule)
    model = checkpoint_path(Path(OUTPUTS, keys.expname))
    report = evaluate_iou(model, keys.datamodule.dataset_path, keys.held_out, device=pick_device(keys.device))
    out = Path(OUTPUTS, keys.expname, "evaluation.json")
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps({"summary": report.summary(), **asdict(report)}, indent=1))
    print(json.dumps(report.summary(), indent=1))
    print(f"by scan: {out}")
