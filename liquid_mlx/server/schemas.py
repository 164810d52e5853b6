"""Bodies of requests, checked field by field: what is wrong is named in the error."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from liquid_mlx.errors import LiquidError
from liquid_mlx.images import image_size
from liquid_mlx.params import SEEDS, TextParams, seeds_for
from liquid_mlx.server.errors import APIError, bad
from liquid_mlx.server.requests import PictureSettings, TextSettings

MOST_TEXT = 32_000  # characters of a prompt or message
MOST_TURNS = 200
MOST_PICTURES = 16  # of a conversation
MOST_PIXELS = 1 << 25  # of a picture; larger ones are refused before they are decoded
MOST_COUNT = 10  # n
MOST_TOKENS = 8192  # of an answer
MOST_STOPS, MOST_STOP_TEXT = 4, 200
MOST_CHOICES = 64
MOST_LOGPROBS = 20
FORMATS = ("png", "jpeg", "webp")
_DATA = re.compile(r"data:image/[a-zA-Z0-9.+-]{1,40};base64,")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def parse_json(data: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises APIError for anything else."""

    def refuse(_: str) -> NoReturn:
        raise ValueError

    try:
        found = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise bad("The body is not JSON.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise bad("The body is not a JSON object.", code="invalid_json")
    return found


class Fields:
    """The fields of a body; null counts as left out, unknown fields are not looked at."""

    def __init__(self, values: Mapping[str, Any], written: bool = False):
        self._values = values
        self._written = written  # as text, as forms have their numbers

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str, most: int = MOST_TEXT) -> str:
        """A text that is not empty."""
        value = self.get(name)
        if value is None:
            raise bad(f"{name} is missing.", name, "missing_required_parameter")
        return required_text(value, name, most)

    def optional_text(self, name: str, most: int = MOST_TEXT) -> str | None:
        return None if self.get(name) in (None, "") else self.text(name, most)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of some words; the first one if it is left out."""
        value = self.get(name)
        if value is None:
            return choices[0]
        if value not in choices:
            raise bad(f"{name} is one of {', '.join(choices)}.", name, "invalid_value")
        return str(value)

    def boolean(self, name: str) -> bool:
        value = self.get(name)
        if self._written and value in ("true", "false"):
            return bool(value == "true")
        if value is None:
            return False
        if not isinstance(value, bool):
            raise bad(f"{name} is true or false.", name, "invalid_type")
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        value = self.get(name)
        if value is None:
            return default
        if self._written and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():  # JavaScript's numbers
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise bad(f"{name} is not a whole number.", name, "invalid_type")
        if not low <= value <= high:
            raise bad(f"{name} lies in {low} to {high}.", name, "invalid_value")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.get(name)
        if value is None:
            return None
        if self._written and isinstance(value, str):
            try:
                value = float(value[:40])
            except ValueError:
                value = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad(f"{name} is not a number.", name, "invalid_type")
        if not low <= value <= high:  # NaN is refused, too
            raise bad(f"{name} lies in {low:g} to {high:g}.", name, "invalid_value")
        return float(value)

    def texts(self, name: str, most: int, longest: int) -> list[str]:
        """A text or a list of texts; none if it is left out."""
        value = self.get(name)
        if value is None:
            return []
        every = [value] if isinstance(value, str) else value
        if not isinstance(every, list) or len(every) > most:
            raise bad(f"{name} is a text or a list of up to {most}.", name, "invalid_type")
        return [required_text(text, name, longest) for text in every]

    def seed(self) -> int:
        """The seed; a new one if none is given, or -1."""
        seed = None if self.get("seed") == "" else self.integer("seed", -1, SEEDS - 1)
        return seeds_for(None if seed == -1 else seed, 1)[0]


def required_text(value: object, name: str, most: int) -> str:
    """A text with something in it, that can be written as UTF-8."""
    if not isinstance(value, str):
        raise bad(f"{name} is not a text.", name, "invalid_type")
    if not value.strip():
        raise bad(f"{name} is empty: say something.", name, "invalid_value")
    if len(value) > most:
        raise bad(f"{name} is longer than {most} characters.", name, "string_above_max_length")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad(f"{name} holds half a character.", name, "invalid_value") from None
    return value


def picture_settings(fields: Fields, rows: int = 256) -> PictureSettings:
    """How pictures are to be drawn."""
    width = height = None
    size = fields.optional_text("size", 20)
    if size is not None and size != "auto":
        found = _SIZE.fullmatch(size)
        if found is None:
            raise bad(
                'size is WIDTHxHEIGHT, such as "512x512", or "auto".', "size", "invalid_value"
            )
        width, height = int(found[1]), int(found[2])
    streamed = fields.boolean("stream")
    partial = fields.integer("partial_images", 0, rows, 0) or 0
    return PictureSettings(
        guidance=fields.number("guidance", 0, 1000),
        temperature=fields.number("temperature", 0, 100),
        top_k=fields.integer("top_k", 0, 2**31 - 1),
        top_p=fields.number("top_p", 1e-6, 1),
        width=width,
        height=height,
        partial_images=partial if streamed else 0,
        entropy=fields.boolean("entropy"),
    )


def text_settings(fields: Fields, top: int | None, default: int = 256) -> TextSettings:
    """How an answer is to be written."""
    name = "max_tokens" if fields.get("max_completion_tokens") is None else "max_completion_tokens"
    most = fields.integer(name, 0, 1_000_000, default)
    assert most is not None
    temperature, top_p = fields.number("temperature", 0, 100), fields.number("top_p", 1e-6, 1)
    params = TextParams(
        max_new_tokens=min(max(most, 1), MOST_TOKENS),
        temperature=0.0 if temperature is None else temperature,
        top_k=fields.integer("top_k", 0, 2**31 - 1, 0) or 0,
        top_p=1.0 if top_p is None else top_p,
    )
    return TextSettings(params, fields.texts("stop", MOST_STOPS, MOST_STOP_TEXT), top)


@dataclass(frozen=True)
class Output:
    """The form in which pictures are sent."""

    format: str
    quality: int

    @classmethod
    def read(cls, fields: Fields) -> Output:
        if fields.get("response_format") not in (None, "", "b64_json"):
            raise bad(
                "Pictures are sent as b64_json: this server keeps no files that a URL could name.",
                "response_format",
                "invalid_value",
            )
        compression = fields.integer("output_compression", 0, 100, 95)
        assert compression is not None
        return cls(fields.choice("output_format", FORMATS), compression)


def check_picture(data: bytes, name: str) -> bytes:
    """A picture's file, if its header says that it is one and not too large."""
    try:
        width, height = image_size(data)
    except LiquidError as error:
        raise bad(str(error), name, "invalid_image") from None
    if width * height > MOST_PIXELS:
        raise bad(
            f"The picture has {width} x {height} pixels: {MOST_PIXELS >> 20} million is the most.",
            name,
            "image_too_large",
        )
    return data


def data_url(url: str, name: str) -> bytes | None:
    """The picture inside a ``data:`` URL; None if it is an http or https one."""
    found = _DATA.match(url[:100])
    if found is None:
        if re.match(r"https?://", url[:10], re.IGNORECASE):
            return None
        raise bad("A picture is given as data:image/...;base64,...", name, "invalid_image_url")
    try:
        data = base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise bad("The picture's base64 is damaged.", name, "invalid_base64") from None
    return check_picture(data, name)


def count_of(fields: Fields, most: int = MOST_COUNT) -> int:
    """n: how many pictures or answers."""
    count = fields.integer("n", 1, most, 1)
    assert count is not None
    return count


def unsupported(what: str, param: str) -> APIError:
    return bad(f"{what} is not something that this server does.", param, "unsupported_parameter")
