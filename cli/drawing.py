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
    """One call of the model: a batch of ``len(paths)`` images of a prompt."""

    prompt: str
    seed: int
    paths: Sequence[Path]


@dataclass(frozen=True)
class OutputOptions:
    """What is written of every image, and what is shown while it is drawn."""

    settings: dict[str, Any]
    metadata: bool = True
    sidecar: bool = False
    preview: bool = False
    keep_partial: bool = False
    steps_folder: Path | None = None
    overwrite: bool = False


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


def draw(
    liquid: Liquid, task: Draw, how: OutputOptions, status: Status, title: str
) -> list[SavedImage]:
    """Draw and write the pictures of one task.

    Ctrl-C leaves at once; with ``keep_partial`` the finished rows are written first, under names
    that end in ``-partial``.
    """
    status.start()
    count = len(task.paths)
    last: ImageStep | None = None
    try:
        for last in _watched(liquid, task, how, status):
            status.progress(title, last.position * count, last.total * count)
    except KeyboardInterrupt:
        if how.keep_partial and last is not None:
            for path, picture in zip(task.paths, last.images(), strict=False):
                partial = path.with_name(f"{path.stem}-partial.png")
                check_free([partial], how.overwrite)
                save(picture, partial, how)
                status.say(f"{partial}  {last.position} of {last.total} image tokens")
        raise
    assert last is not None
    speed = last.total * count / status.seconds
    pictures = last.images()
    seconds = status.seconds
    for path, picture in zip(task.paths, pictures, strict=True):
        check_free([path], how.overwrite)
        save(picture, path, how)
    return [SavedImage(p, i, seconds, speed) for p, i in zip(task.paths, pictures, strict=True)]


def _watched(liquid: Liquid, task: Draw, how: OutputOptions, status: Status) -> Iterator[ImageStep]:
    """The model's steps; at the end of a row the picture so far is shown and stored, if asked."""
    size = liquid.config.size(how.settings.get("width"), how.settings.get("height"))
    columns = liquid.config.grid(size)[1]
    preview = Preview(size.width, size.height) if how.preview else None
    if preview is not None and not preview.active:
        preview = None
    again = 0.0
    settings = {**how.settings, "count": len(task.paths), "seed": task.seed}
    for step in liquid.stream_image(task.prompt, **settings):
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
                for path, picture in zip(task.paths, pictures, strict=True):
                    picture.save(how.steps_folder / f"{path.stem}-{row:03}.png", how.metadata)
        yield step


def save(picture: GeneratedImage, path: Path, how: OutputOptions) -> None:
    """Write a picture, and its settings beside it if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, metadata=how.metadata)
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
