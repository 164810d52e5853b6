"""``/v1/completions``: what follows a text or token ids, and how likely these themselves are."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from liquid_mlx.params import SEEDS
from liquid_mlx.server import jobs
from liquid_mlx.server.errors import bad
from liquid_mlx.server.events import TextEnd, TextPiece, Token
from liquid_mlx.server.forms import read_json
from liquid_mlx.server.routes.chat import usage_of
from liquid_mlx.server.scheduler import Work
from liquid_mlx.server.schemas import (
    MOST_COUNT,
    MOST_LOGPROBS,
    MOST_TEXT,
    Fields,
    required_text,
    text_settings,
    unsupported,
)
from liquid_mlx.server.state import State
from liquid_mlx.server.streaming import Event, stream, watched

MOST_PROMPTS = 64
MOST_IDS = 1 << 20


async def completions(request: Request) -> Response:
    """Continue one prompt or several."""
    body = await read_json(request)
    fields, state = Fields(body), State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    if body.get("suffix"):
        raise unsupported("Filling in", "suffix")
    if (fields.integer("best_of", 1, MOST_COUNT, 1) or 1) > 1:
        raise unsupported("best_of", "best_of")
    prompts = _prompts(body.get("prompt"))
    echo = fields.boolean("echo")
    top = fields.integer("logprobs", 0, MOST_LOGPROBS)
    count = fields.integer("n", 1, MOST_COUNT, 1) or 1
    settings, seed = text_settings(fields, top, default=16), fields.seed()
    most = settings.params.max_new_tokens
    if fields.get("max_tokens") == 0:
        most = 0
    if not most and not echo:
        raise bad("max_tokens of 0 needs echo.", "max_tokens", "invalid_value")
    state.note(prompts[0] if isinstance(prompts[0], str) else "")
    each = [
        jobs.complete(prompt, (seed + i) % SEEDS, echo, most, settings)
        for prompt in prompts
        for i in range(count)
    ]
    work = state.work(model, "text", each)
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
    }
    if fields.boolean("stream"):
        return await stream(_chunks(request, work, head, top is not None), "[DONE]")
    texts = [""] * len(each)
    tokens: list[list[Token]] = [[] for _ in each]
    ends: dict[int, TextEnd] = {}
    async with watched(request, work, state.seconds):
        async for index, event in work:
            if isinstance(event, TextPiece):
                texts[index] += event.text
                tokens[index] += event.tokens
            elif isinstance(event, TextEnd):
                ends[index] = event
    found = [
        {
            "index": i,
            "text": text,
            "logprobs": _logprobs(tokens[i]) if top is not None else None,
            "finish_reason": ends[i].reason,
        }
        for i, text in enumerate(texts)
    ]
    usages = [usage_of([ends[i] for i in range(p, p + count)]) for p in range(0, len(each), count)]
    usage = {name: sum(one[name] for one in usages) for name in usages[0]}
    return JSONResponse({**head, "choices": found, "usage": usage})


def _prompts(value: Any) -> list[str | list[int]]:
    """A text, several, the ids of one, or the ids of several."""
    if isinstance(value, list) and value and not isinstance(value[0], str | list):
        value = [value]
    every = value if isinstance(value, list) else [value]
    if not 0 < len(every) <= MOST_PROMPTS:
        raise bad(f"prompt is one prompt, or up to {MOST_PROMPTS}.", "prompt", "invalid_value")
    for prompt in every:
        if isinstance(prompt, list):
            ids = all(type(token) is int and 0 <= token < 2**31 for token in prompt)
            if not prompt or not ids or len(prompt) > MOST_IDS:
                raise bad("A prompt of token ids has whole numbers.", "prompt", "invalid_value")
        else:
            required_text(prompt, "prompt", 4 * MOST_TEXT)
    return every


async def _chunks(
    request: Request, work: Work, head: Mapping[str, Any], logprobs: bool
) -> AsyncIterator[Event]:
    async with watched(request, work, State.of(request).seconds):
        async for index, event in work:
            choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": None}
            if isinstance(event, TextPiece):
                choice["text"] = event.text
                if logprobs:
                    choice["logprobs"] = _logprobs(event.tokens)
            elif isinstance(event, TextEnd):
                choice |= {"text": "", "finish_reason": event.reason}
            else:
                continue
            yield None, {**head, "choices": [choice]}


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """In the old form: lists alongside each other; a prompt's first token has none."""
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [None if t.logs is None else t.logs.drawn for t in tokens],
        "top_logprobs": [None if t.logs is None else _likeliest(t) for t in tokens],
        "text_offset": offsets,
    }


def _likeliest(token: Token) -> dict[str, float]:
    """The likeliest tokens by their text; of two with the same text the likelier one."""
    found: dict[str, float] = {}
    for text, log in token.top:
        found.setdefault(text, log)
    return found
