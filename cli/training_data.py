"""Pictures and texts as the JSONL of codes that Liquid's data preparation writes.

Each line has the fields of ``convert_imagepair_cc512.py`` in FoundationVision/Liquid, so that
its packing and training scripts read the file as their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.errors import FileError, ImageError, LiquidError
from liquid_mlx.files import atomic_file

from .inputs import expand
from .outputs import read_lines
from .terminal import Status, about

if TYPE_CHECKING:
    from PIL import Image

    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.model import Liquid

LONGEST = 2  # times as long as wide: longer pictures are left out


@dataclass(frozen=True)
class Pair:
    """A picture and the text that describes it."""

    path: Path
    text: str


def pairs(file: Path) -> list[Pair]:
    """Read a JSONL of ``image_path`` and ``text`` (or ``text_prompt``)."""
    found = []
    for number, line in enumerate(read_lines(file), 1):
        try:
            values = json.loads(line)
            text = values["text"] if "text" in values else values["text_prompt"]
            found.append(Pair(Path(values["image_path"]), text))
        except (ValueError, KeyError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise FileError(f"{file}, line {number} has no image_path and text.")
    return found


def captioned(names: Sequence[str]) -> list[Pair]:
    """Pictures with the text of the .txt beside each; raises FileError where one is missing."""
    found = []
    for source in expand(names):
        if source.path is None:
            raise FileError(f"{source.name} is not a file with a .txt next to it.")
        text = source.path.with_suffix(".txt")
        if not text.is_file():
            raise FileError(f"{text} is missing: `liquid caption --txt` writes one per image.")
        found.append(Pair(source.path, "\n".join(read_lines(text))))
    return found


def write(liquid: Liquid, found: Sequence[Pair], path: Path, status: Status, team: Team) -> int:
    """Write the file, whole or not at all; the number of pictures that failed."""

    def work(pairs: Sequence[tuple[int, Pair]]) -> Iterator[tuple[int, list[str] | None]]:
        for done, (i, pair) in enumerate(pairs):
            status.progress(str(pair.path), done, len(pairs), "images")
            try:
                yield i, list(_lines(liquid, pair, status))
            except LiquidError as error:
                status.warn(about(str(pair.path), error))
                yield i, None

    failed = 0
    if not team.first:
        return sum(1 for _ in team.each(found, work))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as tmp, tmp.open("w", encoding="utf-8") as file:
        for lines in team.each(found, work):
            file.writelines(lines or ())
            failed += lines is None
        if failed == len(found):
            raise ImageError("None of the images could be read: nothing was written.")
    status.say(f"{path}  {len(found) - failed} of {len(found)} images")
    return failed


def _lines(liquid: Liquid, pair: Pair, status: Status) -> Iterator[str]:
    from liquid_mlx.images import load_image

    picture = load_image(pair.path, exif=False).convert("RGB")
    if max(picture.size) > LONGEST * min(picture.size):
        status.warn(f"{pair.path} is more than {LONGEST} times as long as wide: skipped")
        return
    side = liquid.config.vqgan.resolution
    codes = liquid.encode(centre(picture, side), exif=False)
    yield json.dumps(line(codes.reshape(-1).tolist(), pair.text, side)) + "\n"


def centre(picture: Image.Image, side: int) -> Image.Image:
    """The square centre at the encoder's size; its rounding differs from ``fit="crop"``."""
    from PIL import Image

    factor = min(picture.size) / side
    width, height = (max(side, int(length / factor)) for length in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - side) // 2, (height - side) // 2
    return small.crop((left, top, left + side, top + side))


def line(codes: list[int], text: str, side: int) -> dict[str, Any]:
    """One line; the field of the codes is named after the encoder's side in pixels."""
    return {
        "data_type": "image_text",
        "text": text,
        "length": len(text) + len(codes) * 4,
        f"vqcode_{side}": json.dumps(codes),
        "vqcode_multi768": "no",
        "width": "no",
        "height": "no",
    }
