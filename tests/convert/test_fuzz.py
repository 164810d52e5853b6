"""Five hundred damaged checkpoints: each converts or is refused with a clear error."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert import convert
from liquid_mlx.convert.api import peak_memory
from liquid_mlx.errors import LiquidError
from tests.convert.conftest import copy_checkpoint

ABSURD = [
    *(-1, 0, 1, 2**31 - 1, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), True, None, "", "x"),
    *([], [[]], {}, {"a": 1}, [2**40] * 3, "\x00", "../..", "/etc/passwd", "\ud800"),
]
ORDERS = 25
PER_FILE = 20


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 3, 20])):
        at = chance.choice([len(data), 4096, 200])  # headers more often than their share
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
    data[at : at + 8] = chance.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**64 - 1]).to_bytes(
        8, "little"
    )


def bytes_of(change: Callable[[bytearray, random.Random], None]) -> Callable:
    def run(path: Path, chance: random.Random) -> None:
        data = bytearray(path.read_bytes())
        change(data, chance)
        path.write_bytes(data)

    return run


def absurd_value(path: Path, chance: random.Random) -> None:
    """Replace one value somewhere in a JSON file."""
    values = json.loads(path.read_text())
    holder = values
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = chance.choice(keys)
        if isinstance(holder[key], (dict, list)) and holder[key] and chance.random() < 0.8:
            holder = holder[key]
            continue
        holder[key] = chance.choice(ABSURD)
        break
    path.write_text(json.dumps(values))


def absurd_header(path: Path, chance: random.Random) -> None:
    """Replace one value in a safetensors header, keeping the header's own length right."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    inner = path.with_suffix(".json")
    inner.write_bytes(data[8 : 8 + length])
    absurd_value(inner, chance)
    text = inner.read_bytes()
    inner.unlink()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


BYTES = [bytes_of(change) for change in (flip, cut, splice, grow, integer)]
TARGETS: dict[str, tuple[str, list[Callable]]] = {
    "model-00001-of-00002.safetensors": ("llama_tiny", [*BYTES, absurd_header]),
    "model.safetensors.index.json": ("llama_tiny", [*BYTES, absurd_value]),
    "config.json": ("llama_tiny", [*BYTES, absurd_value, absurd_value]),
    "generation_config.json": ("llama_tiny", [absurd_value]),
    "tokenizer.json": ("llama_tiny", [*BYTES, absurd_value]),
    "chameleon/vqgan.ckpt": ("llama_tiny", BYTES),
    "chameleon/vqgan.yaml": ("llama_tiny", BYTES),
    "pytorch_model-00001-of-00002.bin": ("gemma_bf16_bin", BYTES),
    "pytorch_model.bin.index.json": ("gemma_bf16_bin", [*BYTES, absurd_value]),
    "legacy": ("llama_tiny", BYTES),
}


def legacy(folder: Path) -> Path:
    """Swap the image tokenizer's file for one in torch's older form."""
    path = folder / "chameleon" / "vqgan.ckpt"
    shutil.copyfile(Path(__file__).parent.parent / "data" / "torch_files" / "legacy.ckpt", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("block", range(ORDERS))
def test_damaged_checkpoints(tmp_path: Path, block: int) -> None:
    chance = random.Random(block)
    before = peak_memory()
    for number in range(PER_FILE):
        name = list(TARGETS)[(block * PER_FILE + number) % len(TARGETS)]
        case, changes = TARGETS[name]
        folder, out = tmp_path / "checkpoint", tmp_path / "out"
        copy_checkpoint(case, folder)
        path = legacy(folder) if name == "legacy" else folder / name
        chance.choice(changes)(path, chance)
        try:
            convert(folder, out, verify_result=False)
            LiquidConfig.read(out)
        except LiquidError as error:
            message = str(error)
            assert 10 < len(message) < 1000, message
            assert "\n" not in message, message
            assert {p.name for p in tmp_path.iterdir()} == {"checkpoint"}
        shutil.rmtree(folder)
        shutil.rmtree(out, ignore_errors=True)
    assert peak_memory() - before < 400e6


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_declared_shapes_take_no_memory(checkpoint: Path, tmp_path: Path) -> None:
    """Sizes that fit each other but not the machine are refused for their size."""
    values = json.loads((checkpoint / "config.json").read_text())
    values["vocab_size"] = 2**30
    values["hidden_size"] = 2**24
    (checkpoint / "config.json").write_text(json.dumps(values))
    before = peak_memory()
    with pytest.raises(LiquidError):
        convert(checkpoint, tmp_path / "out")
    assert peak_memory() - before < 50e6
