"""What ``generate`` is to draw: prompts and seeds of the command line, or the lines of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liquid_mlx.config import Size
from liquid_mlx.display import well_formed
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import FileError, LiquidError, UsageError
from liquid_mlx.files import read_json, user_path
from liquid_mlx.params import MAX_COUNT, SEEDS, ImageParams, integer, seeds_for

from .drawing import Draw, OutputOptions, sidecar
from .outputs import check_free, pattern_of, picture_paths, read_lines
from .terminal import Status

# What a picture's settings may hold, by type; a sidecar may come from anywhere.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "model", "dtype"), str),
    "adapters": list,
    **dict.fromkeys(("seed", "top_k", "width", "height", "instruction"), int),
    **dict.fromkeys(("guidance", "temperature", "top_p"), (int, float)),
}
_SAMPLING = ("guidance", "temperature", "top_k", "top_p")


@dataclass(frozen=True)
class Line:
    """One image to draw, or the best of some: its prompt, its seed, and settings of its own."""

    prompt: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """All that a command draws, the files of each, and the statistics' file of each file."""

    lines: Sequence[Line]
    paths: Sequence[Sequence[Path]]
    statistics: Mapping[Path, Path]

    def missing(self, output: str, random_seeds: bool, status: Status, team: Team) -> Wanted:
        """Those of which no file is there yet, on any of the processes' disks.

        Raises:
            UsageError: files are named after random seeds: none would ever be there.
        """
        if random_seeds and "{seed}" in pattern_of(output):
            raise UsageError("--skip-existing needs --seed, or a name (-o) without {seed}.")
        there = team.anywhere([any(p.exists() for p in paths) for paths in self.paths])
        left = [i for i, known in enumerate(there) if not known]
        if len(left) < len(self.lines):
            status.say(f"{len(self.lines) - len(left)} of {len(self.lines)} images exist already")
        lines, paths = [self.lines[i] for i in left], [self.paths[i] for i in left]
        return replace(self, lines=lines, paths=paths)

    def check_free(self, how: OutputOptions, sheet: Path | None) -> None:
        """Raise FileError for the first file that exists and may not be replaced."""
        every = [path for paths in self.paths for path in paths]
        sidecars = map(sidecar, every) if how.sidecar else ()
        statistics = [self.statistics[path] for path in every if path in self.statistics]
        check_free([*every, *sidecars, *statistics, *([sheet] if sheet else [])], how.overwrite)
        if how.steps_folder:
            how.steps_folder.mkdir(parents=True, exist_ok=True)


def paths_of(lines: Sequence[Line], output: str, each: int) -> list[list[Path]]:
    """The files of every line: one, or ``each`` of which all but the first are numbered."""
    paths = picture_paths(output, [(line.prompt, line.seed) for line in lines])
    return [
        [path, *(path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(2, each + 1))]
        for path in paths
    ]


def statistics_of(stats: Path | None, paths: Sequence[Sequence[Path]]) -> dict[Path, Path]:
    """The file of the statistics of each image file, with -1, -2 ... if there are several."""
    if stats is None:
        return {}
    if stats.suffix not in (".json", ".png"):
        raise UsageError(f"--stats {stats}: give a name that ends in .json or .png.")
    every = [path for one in paths for path in one]
    stats = user_path(stats)
    if len(every) == 1:
        return {every[0]: stats}
    return {
        path: stats.with_name(f"{stats.stem}-{i}{stats.suffix}") for i, path in enumerate(every, 1)
    }


def prompts_of(
    arguments: Sequence[str] | None,
    options: Sequence[str] | None,
    file: Path | None,
    stored: str | None,
) -> list[str]:
    """The prompts of the command line and of the file, else the stored one."""
    found: list[str] = []
    for text in [*(arguments or []), *(options or [])]:
        found += read_lines(Path("-")) if text == "-" else [text]
    if file:
        found += read_lines(file)
    if not found and stored is not None:
        found = [stored]
    if not found:
        raise UsageError("Give a prompt, a --prompt-file or --prompts-jsonl.")
    return [well_formed(text) for text in found]


def lines_of(
    prompts: Sequence[str], seeds: Sequence[int], count: int, candidates: int
) -> list[Line]:
    """Every prompt with every seed; ``count`` goes on from a seed, past those of candidates."""
    limit = f"use 1 to {MAX_COUNT}"
    count = integer("--count", count, 1, MAX_COUNT, limit)
    candidates = integer("--best-of", candidates, 1, MAX_COUNT, limit)
    if len(seeds) > 1 and count > 1:
        raise UsageError("--count cannot be combined with several seeds.")
    total = len(prompts) * len(seeds) * count * candidates
    if total > MAX_COUNT:
        raise UsageError(f"These are {total} images: a command makes at most {MAX_COUNT}.")
    return [
        Line(prompt, (seed + i * candidates) % SEEDS)
        for prompt in prompts
        for seed in seeds
        for i in range(count)
    ]


def read_jsonl(path: Path, first: int) -> list[Line]:
    """The lines of a JSONL file: an object each with "prompt" and, if wanted, "seed", "size" or
    "width" and "height", "guidance", "temperature", "top_k", "top_p", "instruction".

    A line without a seed has ``first`` plus its number, from 0.

    Raises:
        FileError: a line is not such an object, or one of its values is out of range.
    """
    found = []
    for number, text in enumerate(read_lines(path)):
        try:
            found.append(_line(text, (first + number) % SEEDS))
        except (LiquidError, ValueError, RecursionError) as error:
            raise FileError(f"{path}, line {number + 1}: {str(error).rstrip('.')}.") from None
    if len(found) > MAX_COUNT:
        raise UsageError(f"These are {len(found)} images: a command makes at most {MAX_COUNT}.")
    return found


def _line(text: str, seed: int) -> Line:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("it is not an object in braces")
    if unknown := set(values) - {*_KINDS, "size"} | {"model", "dtype", "adapters"} & set(values):
        raise ValueError(f"{sorted(unknown)[0]!r} is unknown")
    prompt = values.pop("prompt", None)
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("it has no prompt")
    (seed,) = seeds_for(values.pop("seed", seed), 1)
    ImageParams(**{name: values[name] for name in _SAMPLING if name in values})
    if "size" in values:
        values |= size_of(str(values.pop("size")), values.get("width"), values.get("height"))
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, _KINDS[name]):
            raise ValueError(f"{name} is {value!r:.100}")
    return Line(prompt, seed, values)


def groups(
    lines: Sequence[Line], paths: Sequence[Sequence[Path]]
) -> Iterator[tuple[Mapping[str, Any], Draw]]:
    """What can be drawn together: lines of the same settings, each with its files."""
    alike: dict[str, list[int]] = {}
    for i, line in enumerate(lines):
        alike.setdefault(json.dumps(dict(line.settings), sort_keys=True), []).append(i)
    for mine in alike.values():
        yield (
            lines[mine[0]].settings,
            Draw(
                [lines[i].prompt for i in mine],
                [lines[i].seed for i in mine],
                [path for i in mine for path in paths[i]],
            ),
        )


def window_of(text: str) -> int | str:
    """The Jacobi window that a text asks for."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--window is 1 to 8 or auto, not {text!r}.") from None


def size_of(size: str | None, width: int | None, height: int | None) -> dict[str, int | None]:
    """Width and height, each or both in one text."""
    if size is None:
        return {"width": width, "height": height}
    if width or height:
        raise UsageError("--size cannot be combined with --width and --height.")
    parsed = Size.parse(size)
    return {"width": parsed.width, "height": parsed.height}


def seeds_of(text: str | None, auto: int | None, stored: int | None) -> list[int]:
    """The seeds asked for, else the stored one, else a random one."""
    if text is not None and auto is not None:
        raise UsageError("--seed and --auto-seeds cannot be combined.")
    if auto is not None:
        limit = f"use 1 to {MAX_COUNT}"
        auto = integer("--auto-seeds", auto, 1, MAX_COUNT, limit)
        seeds = random.SystemRandom().sample(range(SEEDS - MAX_COUNT), auto)
    elif text is not None:
        try:
            seeds = [int(part) for part in text.split(",")]
        except ValueError:
            raise UsageError(f"--seed is an integer, or several: 1,2,3; not {text!r}.") from None
    else:
        seeds = [random.SystemRandom().randrange(SEEDS - MAX_COUNT)] if stored is None else [stored]
    return seeds_for(seeds, len(seeds))  # every one in range


def stored_settings(path: Path) -> dict[str, Any]:
    """The settings of a PNG or of a sidecar; raises LiquidError if there are none."""
    from liquid_mlx.images import read_settings  # numpy and Pillow, which help does without

    values = read_json(path, FileError) if path.suffix == ".json" else read_settings(path)
    for name, value in values.items():
        if name in _KINDS and not isinstance(value, _KINDS[name]):
            raise FileError(
                f"{path} says {name} is {value!r:.100}: it was not written by liquid-mlx."
            )
    if not all(isinstance(name, str) for name in values.get("adapters", [])):
        raise FileError(f"{path} has adapters without names: it was not written by liquid-mlx.")
    if "edit" in values or "variation" in values:
        raise UsageError(
            f"{path} was made from another picture, which its settings do not have: "
            "use liquid edit or liquid vary."
        )
    return values
