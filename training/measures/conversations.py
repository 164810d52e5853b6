"""Conversations in which the model itself opens pictures."""

from collections.abc import Iterator

import numpy as np

from liquid_mlx.generation.image import Draw

MOST_TOKENS = 64  # of text in a turn


def converse(liquid, turns: list[dict], seed: int) -> Iterator[tuple[dict, str, np.ndarray | None]]:
    """Each turn of the user with the model's text and the last picture of its turn, if any."""
    special, prompts = liquid.config.special, liquid.prompts
    ids: list[int] = []
    for number, turn in enumerate(turns):
        asked = prompts.chat([{"role": "user", "content": turn["user"]}])
        if ids:
            ids += [special["end_of_turn"], *prompts._text("\n"), *liquid.config.eos_ids[:1]]
            asked = asked[1:]  # one <bos> in all
        ids += asked
        said, codes = _reply(liquid, ids, 100 * seed + number)
        pixels = None if codes is None else np.asarray(liquid.decode(codes).convert("RGB"))
        yield turn, prompts.decode(said), pixels


def _reply(liquid, ids: list[int], seed: int) -> tuple[list[int], np.ndarray | None]:
    """The ids of text and the codes that the model writes; `ids` takes all of its turn."""
    language, config = liquid.language, liquid.config
    boi, eoi = config.special["boi"], config.special["eoi"]
    size, best = config.sizes[0], config.recommended
    rows, columns = config.grid(size)
    draw = Draw([seed], best.guidance, best.temperature, best.top_k, best.top_p)
    said: list[int] = []
    codes = None
    while len(said) < MOST_TOKENS:
        stop = {*liquid._stop, boi}
        start = len(ids)
        room = MOST_TOKENS - len(said)
        for (token,) in language.write([], [list(ids)], room, seeds=[seed], stop=stop):
            ids.append(token)
        said += ids[start:]
        following = int(liquid.logits(ids)[-1, : config.image_offset].argmax())
        if following != boi or codes is not None:
            break
        ids.append(boi)
        for step in language.draw(list(ids), draw, size, rows * columns, 1):
            last = step
        codes = last.codes[0].reshape(rows, columns)
        ids += [*(codes.reshape(-1) + config.image_offset).tolist(), eoi]
    return said, codes
