"""Small plots as SVG text, so that a page needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420.0, 200.0, 84.0, 34.0, 22.0
COLOURS = ("#3b6ea8", "#c8743a", "#5a9367", "#8a5a9e")


def bars(title: str, values: Mapping[str, float]) -> str:
    """One bar a name, its value above."""
    most = max([v for v in values.values() if v > 0], default=1.0)
    step = (WIDTH - LEFT) / max(len(values), 1)
    parts = []
    for number, (name, value) in enumerate(values.items()):
        tall = (HEIGHT - TOP - BOTTOM) * max(value, 0) / most
        x, y = LEFT + (number + 0.2) * step, HEIGHT - BOTTOM - tall
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.6 * step:.1f}" height="{tall:.1f}" fill="{colour}"/>')
        parts.append(_text(x + 0.3 * step, y - 5, f"{value:.3g}", "middle"))
        parts.append(_text(x + 0.3 * step, HEIGHT - BOTTOM + 16, name, "middle"))
    return _frame(title, parts)


def strips(title: str, groups: Mapping[str, Sequence[float]], unit: str = "") -> str:
    """One row a group: every value a dot on a common axis, the mean a line."""
    every = [v for values in groups.values() for v in values]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    pad = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * (value - low) / (high - low)

    parts, step = [], (HEIGHT - TOP - BOTTOM) / max(len(groups), 1)
    for row, (name, values) in enumerate(groups.items()):
        middle, colour = TOP + (row + 0.5) * step, COLOURS[row % len(COLOURS)]
        parts.append(_text(LEFT - 6, middle + 4, name, "end"))
        for number, value in enumerate(values):
            y = middle + 0.3 * step * np.sin(2.4 * number)  # spread, so that equal values stay visible
            parts.append(f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.55"/>')
        if len(values):
            mean = x(float(np.mean(values)))
            ends = f'x1="{mean:.1f}" x2="{mean:.1f}" y1="{middle - 0.42 * step:.1f}" y2="{middle + 0.42 * step:.1f}"'
            parts.append(f'<line {ends} stroke="#222" stroke-width="2"/>')
    for value in np.linspace(low, high, 5):
        parts.append(_text(x(float(value)), HEIGHT - BOTTOM + 16, f"{value:.3g}", "middle"))
    return _frame(f"{title} [{unit}]" if unit else title, parts)


def _frame(title: str, parts: Sequence[str]) -> str:
    axis = f'<line x1="{LEFT}" x2="{WIDTH}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#999"/>'
    head = f'<text x="{LEFT}" y="14" font-size="13" font-weight="600" fill="#222">{escape(title)}</text>'
    size = f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "".join([opening, head, axis, *parts, "</svg>"])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="#444" text-anchor="{anchor}">{escape(text)}</text>'
