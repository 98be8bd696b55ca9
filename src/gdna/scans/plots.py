"""The plots of the datasheet, by matplotlib (an optional dependency)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path
from gdna.scans.statistics import Statistics

BINS = 24
COLOUR = "#5b7a99"
COLUMNS = 3
CELL = (4.2, 3.0)  # inches
MOST_BARS = 45


def write_plots(statistics: Statistics, folder: Path | str) -> list[Path]:
    """scans_shape.png, scans_garments.png and scans_poses.png in `folder`. Raises `GdnaError` without matplotlib."""
    shape: dict[str, Any] = {"height (m)": statistics.height, "weight (kg)": statistics.weight}
    shape["height (m) against weight (kg)"] = (statistics.weight, statistics.height)
    shape |= {f"{key} (trait)": values for key, values in statistics.numbers.items()}
    garments: dict[str, Any] = {"garments, hair, shoes, hats (people)": statistics.garments}
    garments |= {f"{key} (people)": counts for key, counts in statistics.words.items()}
    poses: dict[str, Any] = {"kinds of poses (scans)": statistics.poses} if statistics.poses else {}
    poses |= {f"{joint} (degrees from the zero pose)": angles for joint, angles in statistics.joint_angles.items()}
    places = {"shape": shape, "garments": garments, "poses": poses}
    return [_write(Path(folder) / f"scans_{name}.png", panels) for name, panels in places.items()]


def _write(path: Path, panels: dict[str, Any]) -> Path:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GdnaError("plots need matplotlib; install it with: pip install 'gdna[plots]'") from error
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    tallest = max((min(len(v), MOST_BARS) for v in panels.values() if isinstance(v, Counter)), default=0)
    figure = Figure((CELL[0] * columns, max(CELL[1], 0.22 * tallest + 0.8) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for k, (title, values) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        _draw(axes, values)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None})
    return path


def _draw(axes: Any, values: Any) -> None:
    match values:
        case Counter():
            common = values.most_common(MOST_BARS)[::-1]
            axes.barh([word for word, _ in common], [count for _, count in common], color=COLOUR)
            axes.xaxis.get_major_locator().set_params(integer=True)
        case (across, up):
            axes.scatter(across, up, s=8, color=COLOUR, linewidths=0)
        case _:
            axes.hist(np.asarray(values), BINS, color=COLOUR)
            axes.yaxis.get_major_locator().set_params(integer=True)
