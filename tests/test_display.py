"""Text from outside: safe for a terminal, of sensible length, and the same to a program."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx.display import clean, one_line, sentence, shorten, to_json, well_formed

ANY = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=8,
)
DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def drives_a_terminal(text: str) -> bool:
    kinds = ("Cc", "Cs", "Zl", "Zp")
    return any(
        (unicodedata.category(c) in kinds and c not in "\n\t") or c in DIRECTIONS for c in text
    )


@given(ANY)
def test_clean_text_cannot_drive_a_terminal(text: str) -> None:
    assert not drives_a_terminal(clean(text))
    clean(text).encode()
    assert "\n" not in one_line(text)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M"))))
def test_clean_text_keeps_what_is_text(text: str) -> None:
    assert clean(text) == text


@given(ANY, st.integers(10, 50))
def test_a_sentence_is_short_and_keeps_its_beginning_and_end(text: str, most: int) -> None:
    short = sentence(text, most)
    whole = one_line(text)
    assert len(short) <= most
    assert short == whole or (short[:3] == whole[:3] and short[-3:] == whole[-3:] and "…" in short)


def test_a_long_value_does_not_hide_what_to_do() -> None:
    text = f"{'x' * 100_000} is no size: give one like 512x512."
    assert len(shorten(text)) <= 500
    assert shorten(text).endswith("give one like 512x512.")


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_json_means_the_same_and_cannot_drive_a_terminal(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    text = to_json(value, indent, ascii_only)
    assert not drives_a_terminal(text)
    assert json.loads(text) == json.loads(json.dumps(value))
    assert text.isascii() or not ascii_only


@given(ANY)
def test_well_formed_text_has_utf_8(text: str) -> None:
    found = well_formed(text)
    found.encode()
    if "\ufffd" not in found:
        assert text.encode("utf-8", "surrogateescape") == found.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ein roter Kreis für mich", "ein roter Kreis für mich"),
        ("f\udcc3\udcbcr", "für"),  # UTF-8 on a command line in the C locale
        ("f\udcfcr", "f\ufffdr"),  # Latin-1
        ("\ud83d\udc4d", "\ufffd\ufffd"),
        ("\udfff", "\ufffd"),
    ],
)
def test_bytes_of_a_command_line_are_read_as_utf_8(text: str, expected: str) -> None:
    assert well_formed(text) == expected
