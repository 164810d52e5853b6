"""What keeps a conversation going: room in the context, no endless repetition, a hint to draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid

LONGEST_RUN, TIMES, LEAST = 32, 4, 24  # tokens of what repeats, how often, tokens in all
ROOM = 4  # a quarter of the context stays free for an answer
_DRAW = re.compile(
    r"(?:(?:please|now|can you|could you|would you)\s+)*"
    r"(?:(?:draw|paint|sketch)(?:\s+me)?|"
    r"(?:generate|create|make|show)(?:\s+me)?\s+(?:an?\s+|the\s+)?(?:picture|image|drawing)\s+of)"
    r"\s+(?P<what>\S.*)",
    re.IGNORECASE,
)


def to_draw(line: str) -> str:
    """What a line asks to be drawn: "draw me a boat" -> "a boat"; "" if it asks for nothing."""
    found = _DRAW.fullmatch(line.strip())
    return found["what"].rstrip(" .!?") if found else ""


def repeated(tokens: Sequence[int]) -> int:
    """How many tokens at the end only repeat those before them; 0 while that is no endless loop.

    It is one when the same run of 1 to 32 tokens stands at the end 4 times or more, and these
    are 24 tokens or more.
    """
    for run in range(1, min(LONGEST_RUN, len(tokens) // TIMES) + 1):
        last, start = tokens[-run:], len(tokens) - run
        while start >= run and tokens[start - run : start] == last:
            start -= run
        times = (len(tokens) - start) // run
        if times >= TIMES and times * run >= LEAST:
            return (times - 1) * run
    return 0


def turns_to_drop(liquid: Liquid, messages: Sequence[dict[str, Any]], max_tokens: int) -> int:
    """How many of the oldest turns (a message and its answer) must go so that an answer fits.

    Room for an answer is ``max_tokens``, at most a quarter of the context, and a picture more
    where the model may draw in its answer. If it is missing, turns go until the rest takes half of
    what is left: then nothing is dropped, and read again, at every turn. The last message stays.
    """
    config = liquid.config
    context = config.backbone.max_position_embeddings
    rows, columns = config.grid(config.sizes[0])
    picture = rows * columns + 2 if config.interleaved else 0
    free = context - min(max_tokens, context // ROOM) - picture

    def length(dropped: int) -> int:
        return len(liquid.prompts.chat(messages[2 * dropped :]))

    most = len(messages) // 2
    if length(0) <= free or length(most) >= context:  # a message that fits nowhere drops nothing
        return 0
    return next((turns for turns in range(1, most) if length(turns) <= free // 2), most)
