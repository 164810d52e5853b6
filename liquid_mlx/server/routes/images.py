"""``/v1/images``: new pictures and edited ones, whole or row by row."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from liquid_mlx.generation.best_of import Judge
from liquid_mlx.images import load_image, png_bytes
from liquid_mlx.params import SEEDS
from liquid_mlx.server import jobs
from liquid_mlx.server.errors import bad
from liquid_mlx.server.events import FinishedImage, PartialImage
from liquid_mlx.server.forms import read_form, read_json
from liquid_mlx.server.requests import Best, Edit
from liquid_mlx.server.scheduler import Job, Kind
from liquid_mlx.server.schemas import Fields, Output, check_picture, count_of, picture_settings
from liquid_mlx.server.state import State
from liquid_mlx.server.streaming import Event, stream, watched

MOST_CANDIDATES = 16  # best_of
STRENGTH = 0.3  # of a variation


async def generations(request: Request) -> Response:
    """New pictures of a prompt."""
    fields = Fields(await read_json(request))
    state = State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    prompt, count = fields.text("prompt"), count_of(fields)
    settings, seed = picture_settings(fields), fields.seed()
    state.note(prompt)
    candidates = fields.integer("best_of", 1, MOST_CANDIDATES, 1) or 1
    if candidates > 1:
        judge = fields.choice("judge", ("both", "likelihood", "question"))
        how = Best(candidates, cast(Judge, judge), fields.boolean("keep_all"))
        job = jobs.best(prompt, seed, count, how, settings)
        return await _answer(request, fields, model, "image", [job], "image_generation")
    each = [jobs.draw(i, prompt, (seed + i) % SEEDS, settings) for i in range(count)]
    return await _answer(request, fields, model, "image", each, "image_generation")


async def edits(request: Request) -> Response:
    """A picture of which a part stays as it is: a mask says which, or how many rows of codes."""
    form = await read_form(request, files=("image", "image[]", "mask"))
    fields = Fields(form.values, written=True)
    state = State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    prompt, count = fields.text("prompt"), count_of(fields)
    picture = form.files.get("image") or form.files.get("image[]")
    if picture is None:
        raise bad("image is missing: send a picture's file.", "image", "missing_required_parameter")
    rows = fields.integer("keep_rows", 0, 1 << 15)
    mask = form.files.get("mask")
    if mask is not None and rows is not None:
        raise bad("mask and keep_rows cannot be combined.", "keep_rows", "invalid_value")
    check_picture(picture, "image")
    if mask is not None:
        check_picture(mask, "mask")
    elif rows is None:
        mask = await asyncio.to_thread(_transparent, picture)
    settings, seed = picture_settings(fields), fields.seed()
    state.note(prompt)
    candidates = fields.integer("best_of", 1, MOST_CANDIDATES, 1) or 1
    job = jobs.edit(prompt, seed, count, Edit(picture, rows, mask, candidates), settings)
    return await _answer(request, fields, model, "image", [job], "image_edit")


async def variations(request: Request) -> Response:
    """Pictures that are like one: ``strength`` says how little they need to be."""
    form = await read_form(request, files=("image",))
    fields = Fields(form.values, written=True)
    state = State.of(request)
    model = state.models.name(fields.optional_text("model", 300))
    picture = form.files.get("image")
    if picture is None:
        raise bad("image is missing: send a picture's file.", "image", "missing_required_parameter")
    check_picture(picture, "image")
    strength = fields.number("strength", 0, 1)
    strength = STRENGTH if strength is None else strength
    settings, seed = picture_settings(fields), fields.seed()
    prompt = fields.optional_text("prompt")
    job = jobs.vary(picture, prompt, seed, count_of(fields), strength, settings)
    return await _answer(request, fields, model, "image", [job], "image_variation")


def _transparent(picture: bytes) -> bytes:
    """What of a picture is transparent, as a mask that is white there."""
    image = load_image(picture)
    if "A" not in image.getbands() and "transparency" not in image.info:
        raise bad(
            "An edit needs a mask (white or transparent is drawn anew), keep_rows, or a picture "
            "with transparent parts.",
            "mask",
            "missing_required_parameter",
        )
    alpha = image.convert("RGBA").getchannel("A")
    return png_bytes(alpha.point([255 if value < 128 else 0 for value in range(256)]))


async def _answer(
    request: Request, fields: Fields, model: str, kind: Kind, each: Sequence[Job], name: str
) -> Response:
    """Run the jobs, and send what they draw in the form that is asked for."""
    state, output = State.of(request), Output.read(fields)
    work = state.work(model, kind, each)
    created = int(time.time())

    async def events() -> AsyncIterator[Event]:
        async with watched(request, work, state.seconds):
            async for _, event in work:
                if isinstance(event, PartialImage):
                    yield await _partial(event, output, name, created)
                elif isinstance(event, FinishedImage):
                    item = await _item(event, output)
                    item |= _about(event.image.image.size, output, created)
                    item |= {"index": event.picture, "usage": _usage([event])}
                    yield f"{name}.completed", {"type": f"{name}.completed", **item}

    if fields.boolean("stream"):
        return await stream(events())
    finished: list[FinishedImage] = []
    async with watched(request, work, state.seconds):
        async for _, event in work:
            if isinstance(event, FinishedImage):
                finished.append(event)
    finished.sort(key=lambda one: one.picture)
    width, height = finished[0].image.image.size
    return JSONResponse(
        {
            "created": created,
            "background": "opaque",
            "output_format": output.format,
            "size": f"{width}x{height}",
            "model": model,
            "data": [await _item(one, output) for one in finished],
            "usage": _usage(finished),
        }
    )


def _about(size: tuple[int, int], output: Output, created: int) -> dict[str, Any]:
    return {
        "background": "opaque",
        "created_at": created,
        "output_format": output.format,
        "quality": "auto",
        "size": f"{size[0]}x{size[1]}",
    }


async def _partial(event: PartialImage, output: Output, name: str, created: int) -> Event:
    kind = f"{name}.partial_image"
    return kind, {
        "type": kind,
        "b64_json": await asyncio.to_thread(_growing, event, output),
        "partial_image_index": event.number,
        "index": event.picture,
        "rows": event.rows,
        "total_rows": event.total,
        **_about(event.size, output, created),
    }


def _growing(event: PartialImage, output: Output) -> str:
    """The rows so far, in a picture of the whole size; the rest is transparent, or grey."""
    image = event.image
    if output.format == "jpeg":
        whole = Image.new("RGB", event.size, (128, 128, 128))
    else:
        image, whole = image.convert("RGBA"), Image.new("RGBA", event.size, (0, 0, 0, 0))
    whole.paste(image, (0, 0))
    return _encoded(whole, output)


async def _item(event: FinishedImage, output: Output) -> dict[str, Any]:
    """A picture, and what made it."""
    picture = event.image
    if output.format == "png":
        data = await asyncio.to_thread(
            png_bytes, picture.image, picture.settings.to_dict(), picture.codes
        )
        text = base64.b64encode(data).decode()
    else:
        text = await asyncio.to_thread(_encoded, picture.image, output)
    item: dict[str, Any] = {
        "b64_json": text,
        "seed": picture.settings.seed,
        "settings": picture.settings.to_dict(),
    }
    if event.entropies:
        item["entropy"] = [round(value, 4) for value in event.entropies]
        item["grid"] = list(picture.codes.shape)
    return item


async def png_url(event: FinishedImage) -> dict[str, Any]:
    """A picture in a chat's answer."""
    picture = event.image
    data = await asyncio.to_thread(
        png_bytes, picture.image, picture.settings.to_dict(), picture.codes
    )
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _encoded(image: Image.Image, output: Output) -> str:
    file = io.BytesIO()
    if output.format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, output.format.upper(), quality=output.quality)
    return base64.b64encode(file.getvalue()).decode()


def _usage(finished: Sequence[FinishedImage]) -> dict[str, Any]:
    read = sum(one.prompt_tokens for one in finished)
    drawn = sum(one.tokens for one in finished)
    return {
        "input_tokens": read,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": read},
        "output_tokens": drawn,
        "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
        "total_tokens": read + drawn,
    }
