"""Draw the prompts of a CSV file (name, prompt, seed) and put all pictures on one sheet.

python examples/contact_sheet.py examples/prompts.csv sheet.png
"""

import argparse
import csv
from pathlib import Path

from PIL import Image, ImageDraw

from liquid_mlx import GeneratedImage, load

SIDE, GAP, LABEL = 256, 8, 20  # pixels
COLUMNS = 4


def drawn(file: Path, model: str) -> dict[str, GeneratedImage]:
    """The pictures of a CSV file by name, all in one batch."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    prompts, seeds = [row["prompt"] for row in rows], [int(row["seed"]) for row in rows]
    pictures = load(model).generate_images(prompts, seeds=seeds)
    return dict(zip((row["name"] for row in rows), pictures, strict=True))


def sheet(pictures: dict[str, GeneratedImage]) -> Image.Image:
    """The pictures row by row, each above its name."""
    columns, width, height = min(COLUMNS, len(pictures)), SIDE + GAP, SIDE + LABEL
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * width - GAP, rows * height), "white")
    pen = ImageDraw.Draw(page)
    for i, (name, picture) in enumerate(pictures.items()):
        row, column = divmod(i, columns)
        square = picture.image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
        page.paste(square, (column * width, row * height))
        pen.text((column * width, row * height + SIDE + 4), name, fill="black")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()

    pictures = drawn(options.csv, options.model)
    sheet(pictures).save(options.output)
    print(f"{options.output}: {', '.join(pictures)}")


if __name__ == "__main__":
    main()
