"""What is shared is paid once: ``python -m benchmarks.reuse [MODEL]``.

Four pictures at once against one; ten questions about one picture, together and one by one,
against one question.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from PIL import Image

from benchmarks.loops.side_by_side import machine
from liquid_mlx import Liquid, load

QUESTIONS = [
    "What is in the picture?",
    "What colour is it?",
    "What shape is it?",
    "How many things are there?",
    "What is the background?",
    "Is there a circle?",
    "Is there a blue square?",
    "What is on the left?",
    "Is it large or small?",
    "Is there a star?",
]
PAIRS = 9


def forget(liquid: Liquid) -> None:
    """As if the picture had never been seen."""
    liquid._seen = None
    liquid.engine.prompt_cache._kept = None


def pairs(one: Callable[[], object], many: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios of pairs."""
    one(), many()
    seconds = []
    for _ in range(PAIRS):
        times = []
        for run in (one, many):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        seconds.append(times)
    ratio = statistics.median(many / one for one, many in seconds)
    return (*(statistics.median(column) for column in zip(*seconds, strict=True)), ratio)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "demo"
    liquid = load(name)
    (drawn,) = liquid.generate_image("a red circle on a white background", seed=1)

    def codes(count: int) -> None:
        for _ in liquid.stream_image("a red circle on a white background", seed=1, count=count):
            pass

    picture: Image.Image = drawn.image

    def alone(count: int) -> list[str]:
        forget(liquid)
        return [liquid.answer(picture, q, max_tokens=32) for q in QUESTIONS[:count]]

    def together() -> list[str]:
        forget(liquid)
        return liquid.answers(picture, QUESTIONS, max_tokens=32)

    print(f"{name}, {PAIRS} pairs; {machine()}\n\n| | one | many | ratio |\n|---|---|---|---|")
    for title, one, many in (
        ("codes of 4 pictures at once", lambda: codes(1), lambda: codes(4)),
        ("10 questions about a picture at once", lambda: alone(1), together),
        ("10 questions about a picture, one by one", lambda: alone(1), lambda: alone(10)),
    ):
        a, b, ratio = pairs(one, many)
        print(f"| {title} | {a * 1e3:.0f} ms | {b * 1e3:.0f} ms | {ratio:.2f} |")
    print("\nanswers:", together())
    print("one by one the same:", together() == alone(10))


if __name__ == "__main__":
    main()
