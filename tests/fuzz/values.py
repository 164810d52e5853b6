"""Hostile values: numbers, texts, names and JSON of kinds that have broken programs before."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = [
    *("0", "-1", "1", "2", "1.5", "1e999", "-1e999", "nan", "inf", "-0", "0x10", "1_0", "٣", "1e3"),
    *("255", "256", "65536", "2147483647", "2147483648", "4294967295", "4294967296", "1e-320"),
    *("9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "9" * 5000, "5000000000"),
    *("", " ", "1,2,3", "1,,2", "auto", "64x64", "-1x-1", "99999x99999", "1x", "true", "None"),
]
# Pieces of texts: escape sequences, C1, DEL, directions, halves of surrogates, markup, marks.
PIECES = [
    *(
        "a red circle",
        "What is this?",
        "ü",
        "红",
        "👍🏽",
        "e\u0301" * 40,
        "\u200d",
        "\ufeff",
        "\u00ad",
    ),
    *(
        "\x1b[31m",
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x9b31m",
        "\x90q",
        "\x7f",
        "\b\b\b",
        "\r",
        "\x00",
    ),
    *("\u202e", "\u2066", "\u2069", "\u061c", "\u200f", "\u2028", "\u2029", "\x85", "\n", "\t"),
    *("\udcff", "\udcfc", "\ud800", "\udfff\ud800", "\U000e0041", "\uffff", "\U0010ffff"),
    *("[bold red]", "[link=http://x]", ":smile:", "{seed}", "{0}", "%s", "%n", "$(id)", "`id`"),
    *("<boi>", "<eoi>", "<end_of_turn>", "<bos>", "<unused5>", "/draw x", "/image y", "-x", "--"),
]
NAMES = ["~", "~nobody-at-all", "~nobody-at-all/x", "-", "--", ".", "...", " ", "a" * 300, "%00"]
SPECIAL = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/proc/self/mem",
    "/dev",
    "fifo",
    "loop",
    "folder",
]
ABSURD: list[Any] = [
    *(-1, 0, 1, 7, 2**31 - 1, 2**31, 2**63, 10**30, 10**4000, 0.5, -0.5, 1e308, 1e-300),
    *(float("nan"), float("inf"), True, False, None, "", "x", "\x00", "../..", "/etc/passwd"),
    *([], [[]], [0], [2**40] * 3, [None] * 1000, {}, {"a": 1}, {"": {}}, "\ud800", "\x1b[31mx\x07"),
    *("9" * 5000, "\u202e" * 100, "x" * 100_000),
]


def number(chance: random.Random) -> str:
    return chance.choice(NUMBERS)


def text(chance: random.Random, most: int = 6) -> str:
    """A text of a few pieces; once in a while a very long one."""
    found = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, most)))
    if chance.random() < 0.03:
        found *= chance.choice([500, 20_000])
    return found


def name(chance: random.Random, suffix: str = ".png") -> str:
    """A file's name, as Linux allows it."""
    found = text(chance, 3) if chance.random() < 0.7 else chance.choice(NAMES)
    data = found.replace("/", "_").replace("\x00", "_").encode("utf-8", "surrogatepass")
    found = data[:100].decode("utf-8", "surrogateescape") + suffix
    return found if found.strip(".") else f"{found}x"


def absurd(chance: random.Random) -> Any:
    return text(chance) if chance.random() < 0.2 else chance.choice(ABSURD)


def spoil(values: Any, chance: random.Random) -> Any:
    """Replace, add or remove one value somewhere in JSON values."""
    holder = values
    while isinstance(holder, (dict, list)) and holder:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = chance.choice(keys)
        if isinstance(holder[key], (dict, list)) and holder[key] and chance.random() < 0.7:
            holder = holder[key]
            continue
        way = chance.random()
        if way < 0.75:
            holder[key] = absurd(chance)
        elif way < 0.9:
            del holder[key]
        elif isinstance(holder, dict):
            holder[text(chance, 2)] = absurd(chance)
        else:
            holder += [absurd(chance)] * chance.choice([1, 1000])
        break
    return values


def json_text(values: Any, chance: random.Random) -> str:
    """Spoiled JSON; sometimes no JSON at all."""
    way = chance.random()
    if way < 0.05:
        return "[" * 100_000
    if way < 0.1:
        return chance.choice(["", "null", "3", "[1, 2]", '"x"', "NaN", "{", '{"a": 1e999}', "\x00"])
    found = json.dumps(spoil(values, chance))
    if way < 0.15:
        return found.replace("1", "1" + "0" * 50, 1)
    return found[: chance.randrange(len(found) + 1)] if way < 0.2 else found
