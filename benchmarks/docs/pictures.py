"""The pictures of the documentation: what the examples ask about, and pictures that grow."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from examples.contact_sheet import drawn, sheet
from liquid_mlx import Liquid, load
from liquid_mlx.files import atomic_write
from training.scenes import arrange
from training.world import Scene, Thing, render

SIDE, GAP = 256, 8  # pixels of a picture, and between them
BLANK = (40, 40, 40)  # what is not drawn yet
STEP, LAST = 200, 2500  # milliseconds of a frame
PROMPTS = {
    "a large red circle on a white background": 7,
    "a yellow star on a navy background": 1,
    "a pink heart and a blue square on a mint background": 3,
}


def example_scenes() -> dict[str, Scene]:
    """The example pictures by name."""
    red, blue = Thing("circle", "red", "large"), Thing("star", "blue", "large")
    green, yellow = Thing("heart", "green", "large"), Thing("square", "yellow", "large")
    return {
        "blue-star": arrange([blue], "cream"),
        "green-heart": arrange([green], "white"),
        "red-circle": arrange([red], "white"),
        "two-shapes": arrange([yellow, blue], "gray"),
    }


def write_examples(folder: Path) -> None:
    """Draw the example pictures, without any model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in example_scenes().items():
        file = io.BytesIO()
        Image.fromarray(render(scene)).save(file, "PNG")
        atomic_write(folder / f"{name}.png", file.getvalue())


def growing(liquid: Liquid) -> list[Image.Image]:
    """Frames of pictures that grow side by side, row by row."""
    size = liquid.config.sizes[0]
    frames = [_frame([], size.height / size.width, len(PROMPTS))]
    seeds = list(PROMPTS.values())
    for step in liquid.stream_images(list(PROMPTS), seeds=seeds, batch_size=len(PROMPTS)):
        if step.position % step.columns == 0:
            images = [picture.image for picture in step.images()]
            frames.append(_frame(images, size.height / size.width, len(PROMPTS)))
    return frames


def _frame(images: list[Image.Image], ratio: float, count: int) -> Image.Image:
    height = round(SIDE * ratio)
    frame = Image.new("RGB", (count * (SIDE + GAP) - GAP, height), "white")
    for i in range(count):
        frame.paste(BLANK, (i * (SIDE + GAP), 0, i * (SIDE + GAP) + SIDE, height))
    for i, image in enumerate(images):
        scaled = image.resize(
            (SIDE, round(SIDE * image.height / image.width)), Image.Resampling.NEAREST
        )
        frame.paste(scaled, (i * (SIDE + GAP), 0))
    return frame


def write_gallery(path: Path) -> None:
    """Write the sheet of the page ``gallery.md``, as its own command does."""
    pictures = drawn(Path(__file__).parents[2] / "examples" / "gallery.csv", "demo")
    file = io.BytesIO()
    sheet(pictures).save(file, "PNG", optimize=True)
    atomic_write(path, file.getvalue())


def write_growing(path: Path) -> None:
    """Write the animated PNG of the README's first screen."""
    frames = growing(load("demo"))
    file = io.BytesIO()
    times = [STEP] * (len(frames) - 1) + [LAST]
    frames[0].save(
        file, "PNG", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True
    )
    atomic_write(path, file.getvalue())
