"""``/v1/chat/completions``, and the questions about pictures that have a form of their own."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from liquid_mlx.params import SEEDS
from liquid_mlx.server import jobs
from liquid_mlx.server.conversation import picture_of, turns_of
from liquid_mlx.server.errors import bad
from liquid_mlx.server.events import Chosen, FinishedImage, TextEnd, TextPiece, Token
from liquid_mlx.server.forms import read_json
from liquid_mlx.server.requests import Part, Turn
from liquid_mlx.server.routes.images import png_url
from liquid_mlx.server.scheduler import Work
from liquid_mlx.server.schemas import (
    MOST_CHOICES,
    MOST_LOGPROBS,
    MOST_TEXT,
    Fields,
    count_of,
    text_settings,
    unsupported,
)
from liquid_mlx.server.state import State
from liquid_mlx.server.streaming import Event, stream, watched


async def completions(request: Request) -> Response:
    """The model's next turn in a conversation with pictures."""
    body = await read_json(request)
    fields, state = Fields(body), State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    for name in ("tools", "functions"):
        if body.get(name):
            raise unsupported("Calling functions", name)
    if isinstance(form := body.get("response_format"), dict) and form.get("type") != "text":
        raise unsupported("An answer in a given form", "response_format")
    turns = await turns_of(body.get("messages"), state.remote_images)
    top = None
    if fields.boolean("logprobs"):
        top = fields.integer("top_logprobs", 0, MOST_LOGPROBS, 0)
    settings, seed = text_settings(fields, top), fields.seed()
    state.note(turns[-1].parts[-1].text if turns else "")
    each = [jobs.answer(turns, (seed + i) % SEEDS, settings) for i in range(count_of(fields))]
    work = state.work(model, "text", each)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if fields.boolean("stream"):
        usage = body.get("stream_options")
        wanted = isinstance(usage, dict) and usage.get("include_usage") is True
        return await stream(_chunks(request, work, head, wanted, top is not None), "[DONE]")
    answers = [_Answer() for _ in each]
    async with watched(request, work, state.seconds):
        async for index, event in work:
            await answers[index].take(event)
    return JSONResponse(
        {
            **head,
            "object": "chat.completion",
            "choices": [one.choice(i, top is not None) for i, one in enumerate(answers)],
            "usage": usage_of([one.end for one in answers if one.end is not None]),
        }
    )


class _Answer:
    """An answer whose events have come so far."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[Token] = []
        self.images: list[dict[str, Any]] = []
        self.end: TextEnd | None = None

    async def take(self, event: object) -> None:
        if isinstance(event, TextPiece):
            self.text += event.text
            self.tokens += event.tokens
        elif isinstance(event, FinishedImage):
            self.images.append(await png_url(event))
        elif isinstance(event, TextEnd):
            self.end = event

    def choice(self, index: int, logprobs: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.images:
            message["images"] = self.images
        return {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(self.tokens) if logprobs else None,
            "finish_reason": None if self.end is None else self.end.reason,
        }


async def _chunks(
    request: Request, work: Work, head: Mapping[str, Any], usage: bool, logprobs: bool
) -> AsyncIterator[Event]:
    """The answer's pieces as they come."""

    def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    begun: set[int] = set()
    ends: list[TextEnd] = []
    async with watched(request, work, State.of(request).seconds):
        async for index, event in work:
            if index not in begun:
                begun.add(index)
                yield None, chunk(index, {"role": "assistant", "content": ""})
            if isinstance(event, TextPiece):
                data = chunk(index, {"content": event.text})
                if logprobs:
                    data["choices"][0]["logprobs"] = chat_logprobs(event.tokens)
                yield None, data
            elif isinstance(event, FinishedImage):
                yield None, chunk(index, {"images": [await png_url(event)]})
            elif isinstance(event, TextEnd):
                ends.append(event)
                yield None, chunk(index, {}, event.reason)
    if usage:
        whole = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(ends)}
        yield None, whole


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Natural logarithms of probabilities in the whole vocabulary, before any setting."""

    def entry(text: str, log: float) -> dict[str, Any]:
        return {"token": text, "logprob": log, "bytes": list(text.encode())}

    return {
        "content": [
            {
                **entry(token.text, token.logs.drawn),
                "top_logprobs": [entry(text, log) for text, log in token.top],
            }
            for token in tokens
            if token.logs is not None
        ],
        "refusal": None,
    }


def usage_of(ends: Sequence[TextEnd]) -> dict[str, int]:
    """The tokens of a request, whose prompt counts once."""
    read = max((end.prompt_tokens for end in ends), default=0)
    written = sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


async def choices(request: Request) -> Response:
    """How likely each of some answers is: to a question, about a picture or not."""
    body = await read_json(request)
    fields, state = Fields(body), State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    parts = [Part(fields.text("question"))]
    if body.get("image") is not None:
        picture = await picture_of(body["image"], "image", state.remote_images)
        parts.insert(0, Part(picture=picture))
    answers = fields.texts("choices", MOST_CHOICES, MOST_TEXT)
    if len(answers) < 2 or len(set(answers)) < len(answers):
        raise bad("choices are two or more different answers.", "choices", "invalid_value")
    state.note(parts[-1].text)
    work = state.work(model, "steps", [jobs.choose([Turn("user", parts)], answers)])
    async with watched(request, work, state.seconds):
        async for _, event in work:
            if isinstance(event, Chosen):
                found = event
    ranked = [{"text": text, "probability": share} for text, share in found.shares.items()]
    usage = usage_of([TextEnd("stop", found.prompt_tokens, 0)])
    return JSONResponse({"object": "choices", "model": model, "choices": ranked, "usage": usage})


async def captions(request: Request) -> Response:
    """A picture's description, by the prompt with which models learn to describe."""
    body = await read_json(request)
    fields, state = Fields(body), State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    picture = await picture_of(body.get("image"), "image", state.remote_images)
    settings = text_settings(fields, None)
    work = state.work(model, "text", [jobs.caption(picture, fields.seed(), settings)])
    answer = _Answer()
    async with watched(request, work, state.seconds):
        async for _, event in work:
            await answer.take(event)
    assert answer.end is not None
    return JSONResponse(
        {
            "object": "caption",
            "model": model,
            "text": answer.text.strip(),
            "finish_reason": answer.end.reason,
            "usage": usage_of([answer.end]),
        }
    )
