"""The pictures of docs/editing.md, by its own commands: ``python docs/editing/make.py``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
PAGE = FOLDER.with_suffix(".md")
STRIPS = {
    "continue": ["above.png", "below-1.png", "below-2.png", "below-3.png"],
    "mask": ["two.png", "right-half.png", "heart.png", "heart-of-four.png"],
    "vary": ["free.png", "little.png", "much.png", "all.png"],
    "best": ["ranked.png", "ranked-2.png", "ranked-3.png", "ranked-4.png"],
    "thought": ["thought.png"],
}
HEIGHT, GAP = 160, 8  # pixels


def strip(files: list[Path]) -> Image.Image:
    """Pictures side by side, each of the same height."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    sized = [
        picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), 0)
        for picture in pictures
    ]
    sheet = Image.new("RGB", (sum(p.width + GAP for p in sized) - GAP, HEIGHT), "white")
    left = 0
    for picture in sized:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def main() -> None:
    script = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with TemporaryDirectory() as name:
        here = Path(name)
        photo = np.full((100, 200, 3), 240, np.uint8)
        photo[20:80, 60:140] = 200, 40, 40
        Image.fromarray(photo).save(here / "photo.jpg")
        subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=here,
            check=True,
            env={**os.environ, "PATH": path},
        )
        for title, files in STRIPS.items():
            if len(files) == 1:
                sheet = Image.open(here / files[0])
            else:
                sheet = strip([here / file for file in files])
            sheet.save(FOLDER / f"{title}.png", optimize=True)
            print(FOLDER / f"{title}.png")


if __name__ == "__main__":
    main()
