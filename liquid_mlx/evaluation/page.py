"""A report as one HTML page that needs no other file: figures, plots, answers and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from liquid_mlx.errors import ImageError
from liquid_mlx.evaluation.plots import bars, curves
from liquid_mlx.evaluation.report import RIGHT, facts, number, rows, title

SIDE = 160  # pixels of a picture on the page
MOST_BARS = 40
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a202c; background: #fff; margin: 2rem auto;
       max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #e2e8f0;
         vertical-align: top }
svg { max-width: 100%; height: auto; display: block; margin: .5rem 0 }
svg text { font: 12px system-ui, sans-serif; fill: #1a202c }
svg .w { stroke: #1a202c; stroke-width: 1.5 } svg .a { stroke: #a0aec0; fill: none }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
         gap: 0 2rem }
.plots h3 { font-size: .95rem; margin: .6rem 0 0 }
.label { background: #fefcbf; padding: .4rem .8rem }
.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem }
.shown div { border: 1px solid #e2e8f0; padding: .6rem; overflow-wrap: anywhere; font-size: 13px }
.shown img { max-width: 100%; display: block; margin-bottom: .4rem; image-rendering: auto }
.wrong { border-left: 4px solid #c53030 !important }
.right { border-left: 4px solid #2f855a !important }
"""


def page(reports: Sequence[Mapping[str, Any]], images: Path | None = None) -> str:
    """The page of one report, or of several side by side.

    Args:
        images: the folder that pictures of examples are in; without it they are left out.
    """
    heads = [title(found) for found in reports]
    parts = [f"<h1>{escape(' | '.join(heads))}</h1>"]
    labels = dict.fromkeys(found["label"] for found in reports if found.get("label"))
    parts += [f'<p class="label">{escape(str(label))}</p>' for label in labels]
    parts += ["<h2>Figures</h2>", *_plots(reports), _figures(reports)]
    for found in reports:
        parts += _curves(found)
        parts += _pictures(found, images) + _examples(found, images)
        parts += [f"<h2>How it was measured: {escape(title(found))}</h2>", _facts(found)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(' | '.join(heads))}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _plots(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A plot for every figure that is no count."""
    found: dict[str, list[tuple[str, list[Any], list[Any]]]] = {}
    for group, name, values, intervals in rows(reports):
        if any(isinstance(value, float) for value in values):
            found.setdefault(name, []).append((group, values, intervals))
    parts = []
    for name, listed in found.items():
        groups, values, intervals = zip(*listed[:MOST_BARS], strict=True)
        plot = bars(groups, values, intervals, [title(r) for r in reports])
        parts.append(f"<div><h3>{escape(name)}</h3>{plot}</div>")
    return ['<div class="plots">', *parts, "</div>"] if parts else []


def _curves(found: Mapping[str, Any]) -> list[str]:
    parts = []
    try:
        for name, plot in (found.get("curves") or {}).items():
            lines = {
                str(key): [(float(x), float(y)) for x, y in line]
                for key, line in plot["lines"].items()
            }
            parts += [f"<h2>{escape(name)}</h2>", curves(lines, str(plot["x"]), str(plot["y"]))]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []  # a report that somebody else wrote
    return parts


def _figures(reports: Sequence[Mapping[str, Any]]) -> str:
    heads = [title(found) for found in reports] if len(reports) > 1 else ["value"]
    table = [["group", "figure", *heads]]
    table += [
        [group, name, *map(number, values, intervals)]
        for group, name, values, intervals in rows(reports)
    ]
    return _table(table)


def _facts(found: Mapping[str, Any]) -> str:
    return _table([[name, text] for name, text in facts(found).items()], head=False)


def _table(table: Sequence[Sequence[str]], head: bool = True) -> str:
    lines = []
    for i, row in enumerate(table):
        tag = "th" if head and not i else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{escape(str(c))}</{tag}>" for c in row) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _examples(found: Mapping[str, Any], images: Path | None) -> list[str]:
    shown = []
    for item in found.get("examples") or ():
        kind = "right" if item.get("score", 0) >= RIGHT else "wrong"
        text = [f"<b>{escape(str(item.get('question', '')))}</b>"]
        text.append(escape(str(item.get("answer", ""))))
        text.append(f"<i>{escape(str(item.get('expected', '')))}</i>")
        text.append(f"score {number(item.get('score'))}")
        picture = _picture(images, str(item.get("image") or ""))
        shown.append(f'<div class="{kind}">{picture}{"<br>".join(text)}</div>')
    if not shown:
        return []
    head = (
        "<h2>Some answers</h2><p>Question, answer, <i>expected</i>. Those not right come first.</p>"
    )
    return [head, f'<div class="shown">{"".join(shown)}</div>']


def _pictures(found: Mapping[str, Any], images: Path | None) -> list[str]:
    shown = [
        f"<div>{_picture(images, str(item.get('file', '')))}"
        f"{escape(str(item.get('text', '')))}</div>"
        for item in found.get("pictures") or ()
    ]
    return ["<h2>Some pictures</h2>", f'<div class="shown">{"".join(shown)}</div>'] if shown else []


def _picture(folder: Path | None, name: str) -> str:
    """A small copy of a picture inside the page; nothing where there is none."""
    if name.startswith("data:image/png;base64,"):
        return f'<img src="{escape(name)}" alt="">'
    if folder is None or not name:
        return ""
    from liquid_mlx.images import load_image

    for path in (folder / name, folder / f"{name}.jpg"):
        try:
            if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
                return f'<img src="{inline(load_image(path))}" alt="">'
        except (ImageError, OSError, RuntimeError, ValueError):  # such as a loop, or no name at all
            return ""
    return ""


def inline(image: Any) -> str:
    """A small copy of a PIL image as an address that holds it."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    small.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
