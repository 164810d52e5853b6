"""Reports: one JSON object per measurement, and the same as Markdown, alone or side by side."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import RESAMPLES, Item, Scored
from liquid_mlx.evaluation.records import read_any

MOST_FIGURE, MOST_FIGURES = 1e300, 2000
EXAMPLES = 24  # answers that a report shows
RIGHT = 0.5  # the least score of an answer, or P(yes), that is shown as right
INTERVAL = f"95%, bootstrap of {RESAMPLES} resamples"
PACKAGES = ("mlx", "numpy", "pillow", "tokenizers")
JUDGED = "judged by itself, not comparable with other models' figures"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # there is none on macOS
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of this package, Python, and what computes the figures."""
    from liquid_mlx._version import __version__

    found = {"liquid-mlx": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def report(task: str, **values: Any) -> dict[str, Any]:
    """A report: what was measured (``scores``, ``intervals`` ...), when, where and with what."""
    return {
        "task": task,
        **values,
        "machine": machine(),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def scored_report(scored: Scored, seed: int = 0, **values: Any) -> dict[str, Any]:
    """The report of scored answers, with intervals and some of the answers."""
    return report(
        scored.task,
        scores=scored.exact(),
        intervals=scored.intervals(seed),
        interval=f"{INTERVAL}, seed {seed}",
        **values,
        examples=[asdict(item) for item in examples(scored.items)],
    )


def examples(items: Sequence[Item], count: int = EXAMPLES) -> list[Item]:
    """Some answers spread over the data, those that are not right first: at most half of each."""
    wrong = [item for item in items if item.score < RIGHT]
    right = [item for item in items if item.score >= RIGHT]
    half = count // 2
    most = [max(half, count - len(right)), max(half, count - len(wrong))]
    return [
        some[i * len(some) // min(most, len(some))]
        for some, most in ((wrong, most[0]), (right, most[1]))
        for i in range(min(most, len(some)))
    ][:count]


def read_report(path: Path) -> dict[str, Any]:
    """A report that was written as JSON; raises FileError if it is none."""
    found: dict[str, Any] = read_any(path)
    names = (found.get("task"), found.get("label", "")) if isinstance(found, dict) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise FileError(f"{path} is not a report of `liquid evaluate` or `liquid compare`.")
    found.setdefault("intervals", {})
    for name, fits in (("scores", _is_figure), ("intervals", _is_interval)):
        groups = found.get(name)
        if not isinstance(groups, dict) or not all(
            isinstance(group, dict) and all(map(fits, group.values())) for group in groups.values()
        ):
            raise FileError(f"{path} is a report without {name}.")
    if sum(map(len, found["scores"].values())) > MOST_FIGURES:
        raise FileError(f"{path} has more than {MOST_FIGURES} figures: no report has so many.")
    for name in ("examples", "pictures"):
        shown = found.get(name)
        kept = [item for item in shown if _is_shown(item)] if isinstance(shown, list) else []
        found |= {name: kept} if name in found else {}
    return found


def _is_figure(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and -MOST_FIGURE < value < MOST_FIGURE)  # type: ignore[operator]


def _is_interval(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and None not in value
        and all(map(_is_figure, value))
    )


def _is_shown(item: object) -> bool:
    """Whether it is an answer with its score, or a picture."""
    score = item.get("score", 0.0) if isinstance(item, dict) else None
    return score is not None and _is_figure(score)


def title(found: Mapping[str, Any]) -> str:
    """The name of a report: its task and model."""
    model = found.get("model")
    return f"{found['task']}: {model}" if model else str(found["task"])


def rows(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[Any], list[Any]]]:
    """(group, figure, values, intervals) of all reports' figures, None where one has no such."""
    keys = dict.fromkeys(
        (group, name)
        for found in reports
        for group, figures in found["scores"].items()
        for name in figures
    )
    return [
        (
            group,
            name,
            [found["scores"].get(group, {}).get(name) for found in reports],
            [found["intervals"].get(group, {}).get(name) for found in reports],
        )
        for group, name in keys
    ]


def number(value: Any, interval: Any = None) -> str:
    """A figure for people: four digits, with its interval."""
    if value is None:
        return "-"
    text = str(value) if isinstance(value, int) else f"{value:.4g}"
    return f"{text} ({interval[0]:.4g} to {interval[1]:.4g})" if interval else text


def markdown(reports: Sequence[Mapping[str, Any]]) -> str:
    """One report or several side by side, as Markdown."""
    heads = [title(found) for found in reports]
    parts = [f"# {' | '.join(heads)}"]
    parts += [f"**{label}**" for label in _labels(reports)]
    table = [["", "", *heads]] if len(reports) > 1 else [["group", "figure", "value"]]
    table += [
        [group, name, *map(number, values, intervals)]
        for group, name, values, intervals in rows(reports)
    ]
    parts.append(_table(table))
    for found in reports:
        parts.append(_table([["", title(found)], *[[k, v] for k, v in facts(found).items()]]))
    return "\n\n".join(parts) + "\n"


def _labels(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(found["label"] for found in reports if found.get("label")))


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """All of a report that is no figure: model, settings, machine, versions, as name -> text."""
    left = {"task", "scores", "intervals", "examples", "pictures", "curves", "label"}
    flat: dict[str, str] = {}
    for name, value in found.items():
        if name in left or value is None:
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name} {key}": _text(inner) for key, inner in value.items()}
        else:
            flat[name] = _text(value)
    return flat


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(table: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(str(c).split()).replace("|", "\\|") for c in row] for row in table]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def peak_memory() -> float | None:
    """The most memory that MLX has held, in bytes; None where no model ran."""
    mx = sys.modules.get("mlx.core")
    return float(mx.get_peak_memory()) if mx else None
