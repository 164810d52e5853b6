"""Ways to damage a file's bytes, where it hurts: headers more often than their share."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from . import values


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 3, 20])):
        at = chance.choice([len(data), 4096, 200])
        data[chance.randrange(min(at, len(data)))] = chance.randrange(256)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def splice(data: bytearray, chance: random.Random) -> None:
    start, stop = sorted(chance.randrange(min(len(data), 20_000)) for _ in range(2))
    data[start:stop] = data[: chance.randrange(64)]


def grow(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(min(len(data), 20_000))
    data[at:at] = chance.randbytes(chance.choice([1, 8, 1000]))


def integer(data: bytearray, chance: random.Random) -> None:
    """Put an extreme number where a length or an offset may be."""
    at = chance.randrange(max(1, min(len(data) - 8, 4096)))
    size = chance.choice([2, 4, 8])
    number = chance.choice([0, 1, 2**15, 2**31, 2**32 - 1, 2**62, 2**64 - 1]) % 2 ** (8 * size)
    data[at : at + size] = number.to_bytes(size, chance.choice(["little", "big"]))


def damage_bytes(data: bytes, chance: random.Random) -> bytes:
    """Damage what is no file of a kind that is known here."""
    found = bytearray(data)
    chance.choice(BYTES)(found, chance)
    return bytes(found)


def damage_file(path: Path, chance: random.Random) -> None:
    path.write_bytes(damage_bytes(path.read_bytes(), chance))


def absurd_value(path: Path, chance: random.Random) -> None:
    """Spoil a JSON file."""
    path.write_text(values.json_text(json.loads(path.read_text()), chance), errors="surrogatepass")


def absurd_header(path: Path, chance: random.Random) -> None:
    """Spoil a safetensors header, keeping the header's own length right."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = values.json_text(json.loads(data[8 : 8 + length]), chance)
    text = header.encode("utf-8", "surrogatepass")
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


BYTES = (flip, cut, splice, grow, integer)


def damage(path: Path, chance: random.Random) -> None:
    """Damage a file by what fits its kind."""
    ways: list[Callable[[Path, random.Random], None]] = [damage_file] * len(BYTES)
    if path.suffix == ".json":
        ways += [absurd_value] * 5
    elif path.suffix == ".safetensors":
        ways += [absurd_header] * 3
    chance.choice(ways)(path, chance)
