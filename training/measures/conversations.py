"""Conversations in which the model itself opens pictures."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from liquid_mlx.results import ImageStep

MOST_TOKENS = 64  # of a turn


def converse(liquid, turns: list[dict], seed: int) -> Iterator[tuple[dict, str, np.ndarray | None]]:
    """Each turn of the user with the model's text and the last picture of its turn, if any."""
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": turn["user"]})
        content: list[Any] = []
        pixels = None
        steps = liquid.stream_chat(messages, max_tokens=MOST_TOKENS, seed=100 * seed + number)
        for step in steps:
            if not isinstance(step, ImageStep):
                content.append(step.text)
            elif step.position == step.total:
                (picture,) = step.images()
                content.append(picture.codes)
                pixels = np.asarray(picture.image.convert("RGB"))
        messages.append({"role": "assistant", "content": content or "..."})
        yield turn, "".join(part for part in content if isinstance(part, str)).strip(), pixels
