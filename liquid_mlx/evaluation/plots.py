"""Plots as SVG, plain text that a page holds inside: bars with intervals, and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b7791f", "#97266d")
WIDTH, BAR, LEFT, RIGHT = 640, 20, 230, 90
HEIGHT, MARGIN = 260, 48
Point = tuple[float, float]


def bars(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    intervals: Sequence[Sequence[Sequence[float] | None]],
    series: Sequence[str] = (),
) -> str:
    """Horizontal bars with whiskers: of every name one for each series."""
    known = [v for row in values for v in row if v is not None]
    known += [edge[1] for row in intervals for edge in row if edge]
    most = max([v for v in known if math.isfinite(v)], default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    parts, y = [], 6.0
    for name, row, edges in zip(names, values, intervals, strict=True):
        parts.append(_words(LEFT - 8, y + BAR * len(row) / 2 + 4, name, "end"))
        for i, (value, edge) in enumerate(zip(row, edges, strict=True)):
            if value is not None and math.isfinite(value):
                width = max(value, 0) * scale
                parts.append(
                    f'<rect x="{LEFT}" y="{y + 2:.1f}" width="{width:.1f}" height="{BAR - 5}" '
                    f'fill="{COLOURS[i % len(COLOURS)]}"/>'
                )
                end = width
                if edge:
                    low, high = max(edge[0], 0) * scale, max(edge[1], 0) * scale
                    middle, end = y + BAR / 2 - 0.5, max(width, high)
                    parts.append(
                        f'<path d="M{LEFT + low:.1f} {middle}H{LEFT + high:.1f}" class="w"/>'
                    )
                parts.append(_words(LEFT + end + 6, y + BAR / 2 + 4, f"{value:.4g}"))
            y += BAR
        y += 6
    for i, name in enumerate(series if len(series) > 1 else ()):
        parts.append(
            f'<rect x="{LEFT}" y="{y + 4:.0f}" width="12" height="12" '
            f'fill="{COLOURS[i % len(COLOURS)]}"/>' + _words(LEFT + 18, y + 14, name)
        )
        y += 20
    return _svg(y + 4, parts)


def curves(lines: Mapping[str, Sequence[Point]], x: str, y: str, dots: bool = False) -> str:
    """Curves of (x, y) with a legend; ``dots`` marks points instead of joining them."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(0.0, *(p[1] for p in points)), max(p[1] for p in points)
    across = (WIDTH - 2 * MARGIN) / ((right - left) or 1)
    up = (HEIGHT - 2 * MARGIN) / ((high - low) or 1)

    def place(point: Point) -> Point:
        return MARGIN + (point[0] - left) * across, HEIGHT - MARGIN - (point[1] - low) * up

    bottom = HEIGHT - MARGIN
    parts = [f'<path d="M{MARGIN} {MARGIN - 10}V{bottom}H{WIDTH - MARGIN}" class="a"/>']
    for share in (0, 0.5, 1):
        value = low + (high - low) * share
        parts.append(_words(MARGIN - 6, bottom - (HEIGHT - 2 * MARGIN) * share + 4,
                            f"{value:.3g}", "end"))  # fmt: skip
        parts.append(_words(MARGIN + (WIDTH - 2 * MARGIN) * share, bottom + 16,
                            f"{left + (right - left) * share:.3g}", "middle"))  # fmt: skip
    parts.append(_words(WIDTH / 2, HEIGHT - 12, x, "middle"))
    parts.append(_words(MARGIN, MARGIN - 20, y))
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        places = [place(point) for point in line]
        if dots:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>' for a, b in places
            ]
        else:
            joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}"/>')
        if len(lines) > 1:
            parts.append(f'<rect x="{WIDTH - 150}" y="{12 + 18 * i}" width="12" height="12" '
                         f'fill="{colour}"/>')  # fmt: skip
            parts.append(_words(WIDTH - 132, 22 + 18 * i, name))
    return _svg(HEIGHT, parts)


def _words(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">'
    )
    return "\n".join([head, *parts, "</svg>"])
