"""Sort a folder of pictures into sub-folders by a question about each.

    python examples/sort_by_question.py examples/pictures "What colour is it?" red,blue,green sorted

Each picture is copied into the sub-folder of its likeliest answer.
"""

import argparse
import shutil
from pathlib import Path

from liquid_mlx import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("question")
    parser.add_argument("answers", help="the answers to choose from: red,blue,green")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()

    liquid = load(options.model)
    for picture in sorted(options.folder.glob("*.png")):
        shares = liquid.choose(picture, options.question, options.answers.split(","))
        answer, share = next(iter(shares.items()))
        target = options.output / answer
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
        print(f"{picture.name}\t{answer}\t{share:.0%}")


if __name__ == "__main__":
    main()
