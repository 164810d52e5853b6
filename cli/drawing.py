"""Drawing with progress, previews and an image per row: what ``generate`` and ``chat`` share."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.display import to_json
from liquid_mlx.files import atomic_write

from .outputs import check_free
from .preview import Preview
from .printer import print_json
from .terminal import Status, duration

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid
    from liquid_mlx.results import GeneratedImage, ImageStep

PREVIEW_SHARE = 5  # previews may take a fifth as long as drawing
CELL = 256  # pixels, the longer side of a picture on the sheet
_GAP, _LABEL = 8, 18


@dataclass(frozen=True)
class Draw:
    """Images to draw, each with its prompt, seed and files; as many at once as fit memory.

    There are as many files of each as images are kept, the best first.
    """

    prompts: Sequence[str]
    seeds: Sequence[int]
    paths: Sequence[Path]

    def by_prompt(self, start: int = 0) -> list[Draw]:
        """The images from file ``start`` on, prompt by prompt."""
        each = len(self.paths) // len(self.seeds)
        indices = range(start // each, len(self.seeds))
        found = []
        for prompt in dict.fromkeys(self.prompts[i] for i in indices):
            mine = [i for i in indices if self.prompts[i] == prompt]
            paths = [path for i in mine for path in self.paths[each * i : each * (i + 1)]]
            found.append(Draw([prompt] * len(mine), [self.seeds[i] for i in mine], paths))
        return found


@dataclass(frozen=True)
class OutputOptions:
    """What is written of every image, and what is shown while it is drawn."""

    settings: Mapping[str, Any]
    metadata: bool = True
    sidecar: bool = False
    preview: bool | None = False  # None: where the terminal shows pictures well
    keep_partial: bool = False
    steps_folder: Path | None = None
    overwrite: bool = False
    scale: int = 1
    write: bool = True  # another process with the same model draws the same, and writes it


@dataclass(frozen=True)
class SavedImage:
    """An image that was written, and how long its call took."""

    path: Path
    picture: GeneratedImage
    seconds: float
    tokens_per_second: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            **self.picture.settings.to_dict(),
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
        }


@dataclass
class Progress:
    """How many images are drawn of all that a command draws, those included that are not kept."""

    whole: int
    drawn: int = 0


def draw(
    liquid: Liquid,
    task: Draw,
    how: OutputOptions,
    status: Status,
    progress: Progress | None = None,
) -> Iterator[SavedImage]:
    """Draw and write the images of a task; see ``write``."""
    steps = liquid.stream_images(task.prompts, seeds=task.seeds, **how.settings)
    return write(steps, task.paths, how, status, progress or Progress(len(task.seeds)))


def write(
    steps: Iterator[ImageStep],
    paths: Sequence[Path],
    how: OutputOptions,
    status: Status,
    progress: Progress,
) -> Iterator[SavedImage]:
    """Write the images of steps, those of a batch as soon as it is drawn.

    Ctrl-C leaves at once; with ``keep_partial`` the finished rows are written first, under names
    that end in ``-partial``.
    """
    before = progress.drawn
    if not before:
        status.start()
    started = status.seconds
    last: ImageStep | None = None
    try:
        for last in _watched(steps, paths, how, status):
            prompt = last.settings[0].prompt
            title = prompt if len(paths) == 1 else f"{last.first + 1} of {len(paths)}  {prompt}"
            missing = len(last.settings) * (last.total - last.position)
            done = (before + last.drawn) * last.total - missing
            status.progress(title, done, last.total * progress.whole)
            if last.position == last.total:
                pictures = last.images()
                seconds = status.seconds - started
                speed = last.total * (before + last.drawn - progress.drawn) / seconds
                progress.drawn = before + last.drawn
                for path, picture in zip(paths[last.first :], pictures, strict=False):
                    save(picture, path, how)
                    yield SavedImage(path, picture, seconds, speed)
                started = status.seconds
    except KeyboardInterrupt:
        if how.keep_partial and last is not None and last.position < last.total:
            for path, picture in zip(paths[last.first :], last.images(), strict=False):
                partial = path.with_name(f"{path.stem}-partial.png")
                save(picture, partial, how)
                status.say(f"{partial}  {last.position} of {last.total} image tokens")
        raise


def _watched(
    steps: Iterator[ImageStep], paths: Sequence[Path], how: OutputOptions, status: Status
) -> Iterator[ImageStep]:
    """The steps; at the end of a row the picture so far is shown and stored, if asked."""
    preview: Preview | None = None
    again = 0.0
    for step in steps:
        if preview is None and how.preview is not False:
            preview = Preview(step.settings[0].width, step.settings[0].height)
        row, within = divmod(step.position, step.columns)
        now = time.perf_counter()
        active = preview is not None and (preview.active if how.preview else preview.good)
        showing = active and (now >= again or step.position == step.total)
        if not within and (showing or how.steps_folder):
            pictures = step.images()
            if preview is not None and showing:
                status.clear()
                preview.show(pictures[0].image)
                again = time.perf_counter() + PREVIEW_SHARE * (time.perf_counter() - now)
            if how.steps_folder and how.write:
                for path, picture in zip(paths[step.first :], pictures, strict=False):
                    picture.save(how.steps_folder / f"{path.stem}-{row:03}.png", how.metadata)
        yield step


def write_statistics(
    liquid: Liquid, picture: GeneratedImage, path: Path, how: OutputOptions
) -> None:
    """Write what the model thought at each code of an image: JSON, or a PNG with heat maps."""
    found = liquid.statistics(picture)
    if not how.write:
        return
    if path.suffix == ".json":
        atomic_write(path, to_json({**picture.settings.to_dict(), **found.to_dict()}) + "\n")
        return
    data = io.BytesIO()
    found.heat_map(picture.image).save(data, "PNG")
    atomic_write(path, data.getvalue())


def save(picture: GeneratedImage, path: Path, how: OutputOptions) -> None:
    """Write a picture, and its settings beside it if asked; raises FileError if it is there."""
    if not how.write:
        return
    check_free([path], how.overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, how.metadata, how.overwrite, scale=how.scale)
    if how.sidecar:
        text = to_json(picture.settings.to_dict(), indent=2)
        atomic_write(sidecar(path), text + "\n", how.overwrite)


def sidecar(path: Path) -> Path:
    """The file with the settings of a picture: ``out.png`` -> ``out.metadata.json``."""
    return path.with_suffix(".metadata.json")


def tell(saved: SavedImage, status: Status, as_json: bool) -> None:
    """Say what was written: a line on stderr, the name or a JSON object on stdout."""
    tell_row(summary(saved), saved.to_dict(), status, as_json)


def tell_row(line: str, values: Mapping[str, Any], status: Status, as_json: bool) -> None:
    """The same of what another process wrote: its summary, and its values."""
    status.say(line)
    if as_json:
        print_json(values)
    elif not (status.live and sys.stdout.isatty()):  # there the summary says it
        print(values["path"], flush=True)


def summary(drawn: SavedImage) -> str:
    """One line about an image."""
    return (
        f"{drawn.path}  seed {drawn.picture.settings.seed}  {drawn.picture.codes.size} image "
        f"tokens in {duration(drawn.seconds)} ({drawn.tokens_per_second:.1f} tokens/s)"
    )


def contact_sheet(path: Path, saved: Sequence[tuple[Path, int]], overwrite: bool) -> None:
    """Write a PNG with the pictures of files and their seeds, row by row; nothing else is in it."""
    from PIL import Image, ImageDraw

    columns = math.ceil(math.sqrt(len(saved)))
    rows = math.ceil(len(saved) / columns)
    width, height = columns * (CELL + _GAP) + _GAP, rows * (CELL + _LABEL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (file, seed) in enumerate(saved):
        with Image.open(file) as picture:
            picture.load()
            scale = CELL / max(picture.size)
            size = round(picture.width * scale), round(picture.height * scale)
            small = picture.resize(size, Image.Resampling.LANCZOS)
        row, column = divmod(i, columns)
        x, y = _GAP + column * (CELL + _GAP), _GAP + row * (CELL + _LABEL + _GAP)
        sheet.paste(small, (x + (CELL - size[0]) // 2, y + (CELL - size[1]) // 2))
        pen.text((x, y + CELL + 2), str(seed), fill="black")
    file_bytes = io.BytesIO()
    sheet.save(file_bytes, "PNG")
    atomic_write(path, file_bytes.getvalue(), overwrite)
