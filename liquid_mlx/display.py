"""Text from outside made safe to show: names, prompts, settings, model cards, what models write.

All that reaches a terminal goes through here, so that no file can drive it or flood it.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST_CHARACTERS = 500  # of a sentence or of a cell of a table
# Control characters but tab and newline (C0, DEL, C1), line and paragraph separators, marks and
# overrides of the writing direction, the byte order mark, and halves of surrogate pairs.
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_CONTROL = re.compile(f"[{_UNSAFE}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_IN_JSON = re.compile(f"[{_UNSAFE}\ud800-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


def clean(text: str) -> str:
    """Text without the characters with which it could drive a terminal or hide what it says."""
    return _CONTROL.sub("", _SURROGATE.sub("\ufffd", text))


def one_line(text: str) -> str:
    """Clean text on one line."""
    return " ".join(clean(text).split())


def shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most so many characters: of a longer text the beginning and the end."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]} … {text[len(text) - end :]}"


def sentence(text: str, most: int = MOST_CHARACTERS) -> str:
    """Clean text on one line of at most so many characters: an error, a title, a cell."""
    return shorten(one_line(text), most)


def brief(value: object, most: int = 100) -> str:
    """The beginning of any value, clean, for an error: of text, or of how Python writes it."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number beyond 64 bits"
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # Python refuses to print the longest numbers
        text = f"a {type(value).__name__} of very long numbers"
    text = one_line(text[: 10 * most])
    return text if len(text) <= most else text[:most] + "..."


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON in which other scripts stay readable, and all that `clean` removes is escaped."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def well_formed(text: str) -> str:
    """Text without halves of surrogate pairs, which have no UTF-8.

    Bytes that the locale could not decode, as Python hands them on from a command line, are read
    as UTF-8; what is none becomes U+FFFD.
    """
    if not _SURROGATE.search(text):
        return text
    data = _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "replace")
