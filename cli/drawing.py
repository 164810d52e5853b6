"""Drawing with progress, previews and an image per row: what ``generate`` and ``chat`` share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.files import atomic_write

from .outputs import check_free
from .preview import Preview
from .terminal import Status, duration

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid
    from liquid_mlx.results import GeneratedImage, ImageStep

PREVIEW_SHARE = 5  # previews may take a fifth as long as drawing


@dataclass(frozen=True)
class Draw:
    """Images to draw, each with its prompt, seed and file; as many at once as fit memory."""

    prompts: Sequence[str]
    seeds: Sequence[int]
    paths: Sequence[Path]

    def by_prompt(self, start: int = 0) -> list[Draw]:
        """The images from ``start`` on, prompt by prompt."""
        indices = range(start, len(self.paths))
        found = []
        for prompt in dict.fromkeys(self.prompts[start:]):
            mine = [i for i in indices if self.prompts[i] == prompt]
            seeds, paths = [self.seeds[i] for i in mine], [self.paths[i] for i in mine]
            found.append(Draw([prompt] * len(mine), seeds, paths))
        return found


@dataclass(frozen=True)
class OutputOptions:
    """What is written of every image, and what is shown while it is drawn."""

    settings: dict[str, Any]
    metadata: bool = True
    sidecar: bool = False
    preview: bool | None = False  # None: where the terminal shows pictures well
    keep_partial: bool = False
    steps_folder: Path | None = None
    overwrite: bool = False
    scale: int = 1


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


def draw(liquid: Liquid, task: Draw, how: OutputOptions, status: Status) -> Iterator[SavedImage]:
    """Draw and write the images of a task, those of a batch as soon as it is drawn.

    Ctrl-C leaves at once; with ``keep_partial`` the finished rows are written first, under names
    that end in ``-partial``.
    """
    status.start()
    total, started = len(task.paths), 0.0
    last: ImageStep | None = None
    try:
        for last in _watched(liquid, task, how, status):
            size, prompt = len(last.settings), last.settings[0].prompt
            title = (
                prompt if len(set(task.prompts)) == 1 else f"{last.first + 1} of {total}  {prompt}"
            )
            done = last.first * last.total + last.position * size
            status.progress(title, done, last.total * total)
            if last.position == last.total:
                pictures = last.images()
                seconds = status.seconds - started
                speed = last.total * size / seconds
                for path, picture in zip(task.paths[last.first :], pictures, strict=False):
                    check_free([path], how.overwrite)
                    save(picture, path, how)
                    yield SavedImage(path, picture, seconds, speed)
                started = status.seconds
    except KeyboardInterrupt:
        if how.keep_partial and last is not None and last.position < last.total:
            for path, picture in zip(task.paths[last.first :], last.images(), strict=False):
                partial = path.with_name(f"{path.stem}-partial.png")
                check_free([partial], how.overwrite)
                save(picture, partial, how)
                status.say(f"{partial}  {last.position} of {last.total} image tokens")
        raise


def _watched(liquid: Liquid, task: Draw, how: OutputOptions, status: Status) -> Iterator[ImageStep]:
    """The model's steps; at the end of a row the picture so far is shown and stored, if asked."""
    size = liquid.config.size(how.settings.get("width"), how.settings.get("height"))
    columns = liquid.config.grid(size)[1]
    preview = None if how.preview is False else Preview(size.width, size.height)
    if preview is not None and not (preview.active if how.preview else preview.good):
        preview = None
    again = 0.0
    for step in liquid.stream_images(task.prompts, seeds=task.seeds, **how.settings):
        row, within = divmod(step.position, columns)
        now = time.perf_counter()
        showing = preview is not None and (now >= again or step.position == step.total)
        if not within and (showing or how.steps_folder):
            pictures = step.images()
            if preview is not None and showing:
                status.clear()
                preview.show(pictures[0].image)
                again = time.perf_counter() + PREVIEW_SHARE * (time.perf_counter() - now)
            if how.steps_folder:
                for path, picture in zip(task.paths[step.first :], pictures, strict=False):
                    picture.save(how.steps_folder / f"{path.stem}-{row:03}.png", how.metadata)
        yield step


def save(picture: GeneratedImage, path: Path, how: OutputOptions) -> None:
    """Write a picture, and its settings beside it if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, metadata=how.metadata, scale=how.scale)
    if how.sidecar:
        text = json.dumps(picture.settings.to_dict(), indent=2, ensure_ascii=False)
        atomic_write(sidecar(path), text + "\n")


def sidecar(path: Path) -> Path:
    """The file with the settings of a picture: ``out.png`` -> ``out.metadata.json``."""
    return path.with_suffix(".metadata.json")


def summary(drawn: SavedImage) -> str:
    """One line about an image."""
    return (
        f"{drawn.path}  seed {drawn.picture.settings.seed}  {drawn.picture.codes.size} image "
        f"tokens in {duration(drawn.seconds)} ({drawn.tokens_per_second:.1f} tokens/s)"
    )
