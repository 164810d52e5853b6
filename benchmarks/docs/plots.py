"""Plots for the pages where people would rather look than read: SVG, from the numbers.

Speed and memory come from the prediction of ``liquid bench --plan``, quality and KL from the table
of ``docs/reference/quantization.md``, which ``python -m benchmarks.quantization`` measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from liquid_mlx.cli.bench.predict import official, predict, read_data
from liquid_mlx.evaluation.plots import curves

ROOT = Path(__file__).parents[2]
CHIPS = ("M1", "M2 Pro", "M3 Max (40-core GPU)", "M4 Pro", "M4 Max (40-core GPU)", "M5 Max")
WIDTH, ROW, LEFT, RIGHT, TOP = 640, 26, 190, 90, 44  # pixels
INK, BAR = "#24292f", "#3f51b5"


def bars(title: str, rows: Sequence[tuple[str, float, float, str]]) -> str:
    """An SVG of horizontal bars: name, start, end, and what stands behind the bar."""
    scale = (WIDTH - LEFT - RIGHT) / max(end for _, _, end, _ in rows)
    height = TOP + ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (name, start, end, text) in enumerate(rows):
        y, x = TOP + ROW * i, LEFT + start * scale
        width = max((end - start) * scale, 2)
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="18" fill="{BAR}"/>',
            f'<text x="{x + width + 6:.1f}" y="{y + 15}">{escape(text)}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def plots() -> dict[str, str]:
    """Every plot by its file in ``docs/``."""
    plan = predict(official(read_data()), read_data())
    speed = []
    for chip in plan["chips"]:
        if chip["chip"] in CHIPS:
            low, high = chip["seconds"]["4 bits"]
            speed.append((chip["chip"], low, high, f"{low:.0f} to {high:.0f} s"))
    memory = [(name, 0.0, size, f"{size:.1f} GB") for name, size in plan["weights_gb"].items()]
    rows = quality()
    images = [(name, 0.0, 100 * right, f"{right:.1%}") for name, right, _, _ in rows]
    return {
        "plots/speed.svg": bars("Seconds per image of Liquid 7B at 4 bits (predicted)", speed),
        "plots/memory.svg": bars("Weights of Liquid 7B in memory", memory),
        "plots/quality.svg": bars("Everyday prompts drawn right, demo model", images),
        "plots/kl.svg": over_kl(rows),
    }


def quality() -> list[tuple[str, float, float, float]]:
    """The page's table: quantization, shares of images and of answers that are right, and KL."""
    found = []
    for line in (ROOT / "docs/reference/quantization.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"[\d.]+%", cells[4]):
            images, answers = (float(cell.rstrip("%")) / 100 for cell in cells[4:6])
            found.append((cells[0], images, answers, float(cells[6])))
    return found


def over_kl(rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Shares that are right over the logarithm of KL; the unquantized model has none."""
    points = {
        kind: [(math.log10(row[3]), row[column]) for row in rows if row[3] > 0]
        for column, kind in ((1, "images"), (2, "answers"))
    }
    plot = curves(points, "log10 of KL (nats a code, guided)", "share that is right", dots=True)
    style = f'font-family="sans-serif" font-size="13" fill="{INK}"'
    head, rest = plot.split(">", 1)
    return (
        head.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {style} ')
        + f"><style>.a{{fill:none;stroke:{INK}}}</style>"
        + f'<rect width="100%" height="100%" fill="white"/>{rest}\n'
    )
