"""The Python interface with anything in its arguments: a result, or a LiquidError's sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import count, repeat
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from liquid_mlx import Liquid, LiquidError, load
from liquid_mlx.params import ImageParams, TextParams, seeds_for

RED = Image.new("RGB", (9, 7), "red")


class Loud:
    """What would drive a terminal, and flood it, where it is shown."""

    def __repr__(self) -> str:
        return "\x1b[31m" * 100_000


ANY: list[Any] = [
    *(None, True, -1, 10**400, -(10**400), 10**5000, float("nan"), float("-inf"), 1j),
    *(Decimal(7), Fraction(10**400), np.float32("nan"), np.longdouble("1e4000"), np.bool_(True)),
    *(np.array(1.0), np.array([1.0]), mx.array(1.0), np.datetime64("2020"), b"1", object),
    *("\x1b[31m", "\ud800", "\0", "", [[1], [1, 2]], [None], {"a": 1}, io.BytesIO(), Loud()),
    *("x" * 1_000_001, Path("a" * 300), [10**5000], np.array([None])),
    *(
        np.zeros((2, 2)),
        np.array([]),
        mx.array([1, 2]),
        mx.zeros((0,)),
        {1},
        slice(1),
    ),
]


@pytest.fixture(scope="module")
def liquid(converted: Callable[..., Path]) -> Liquid:
    return load(converted("gemma_tiny"))


def outcome(call: Callable[[], Any]) -> None:
    try:
        call()
    except LiquidError as error:
        message = str(error)
        assert 0 < len(message) < 600
        assert message.isprintable()


@pytest.mark.parametrize("value", ANY, ids=range(len(ANY)))
def test_settings(value: Any) -> None:
    for name in ImageParams.__dataclass_fields__:
        outcome(lambda name=name: ImageParams(**{name: value}))
    for name in TextParams.__dataclass_fields__:
        outcome(lambda name=name: TextParams(**{name: value}))
    outcome(lambda: seeds_for(value, 1))
    outcome(lambda: seeds_for(0, value))


@pytest.mark.parametrize("value", ANY, ids=range(len(ANY)))
def test_texts_and_lists_of_them(value: Any, liquid: Liquid) -> None:
    for call in (
        lambda: liquid.stream_images(value),
        lambda: liquid.stream_images([value, value]),
        lambda: liquid.answers(RED, value, max_tokens=1),
        lambda: liquid.answers(RED, [value], max_tokens=1),
        lambda: liquid.choose(RED, "x", value),
        lambda: liquid.choose(RED, "x", [value, "b"]),
        lambda: liquid.score(RED, "x", value),
        lambda: liquid.chat(value, max_tokens=1),
        lambda: liquid.chat([value], max_tokens=1),
        lambda: liquid.chat([{"role": value, "content": "x"}], max_tokens=1),
        lambda: liquid.chat([{"role": "user", "content": value}], max_tokens=1),
        lambda: liquid.chat([{"role": "user", "content": [value, "x"]}], max_tokens=1),
        lambda: liquid.chat([{"role": "user", "content": "x"}], pictures=value, max_tokens=1),
        lambda: liquid.chat([{"role": "user", "content": "x"}], pictures={0: value}, max_tokens=1),
    ):
        outcome(call)


@pytest.mark.parametrize("value", ANY, ids=range(len(ANY)))
def test_pictures_codes_and_ids(value: Any, liquid: Liquid) -> None:
    for call in (
        lambda: liquid.encode(value),
        lambda: liquid.encode(RED, fit=value),
        lambda: liquid.codes(value),
        lambda: liquid.decode(value),
        lambda: liquid.decode([[value]]),  # type: ignore[list-item]
        lambda: liquid.logits(value),
        lambda: liquid.logits([value]),
    ):
        outcome(call)


@pytest.mark.parametrize("value", ANY, ids=range(len(ANY)))
def test_options_of_drawing_and_seeing(value: Any, liquid: Liquid) -> None:
    size = liquid.config.sizes[0]
    for name in ("width", "height", "judge", "prune", "keep_all", "window", "instruction", "rows"):
        keep: dict[str, Any] = {"keep": RED} if name in ("rows", "window") else {}
        outcome(lambda name=name, keep=keep: liquid.stream_image("x", **{name: value}, **keep))
    for call in (
        lambda: liquid.stream_image(value),
        lambda: liquid.stream_image("x", keep=RED, mask=value),
        lambda: liquid.stream_images(["x"], seeds=value),
        lambda: liquid.encode(RED, exif=value),
        lambda: liquid.answer(RED, "x", exif=value, max_tokens=1),
        lambda: liquid.codes(RED, value),
        lambda: liquid.config.size(value, size.height),
    ):
        outcome(call)


def test_endless_lists_are_refused(liquid: Liquid) -> None:
    for call in (
        lambda: liquid.stream_images(repeat("x")),  # type: ignore[arg-type]
        lambda: liquid.choose(RED, "x", repeat("a")),  # type: ignore[arg-type]
        lambda: liquid.stream_images(["x"], seeds=count()),  # type: ignore[arg-type]
    ):
        with pytest.raises(LiquidError, match="more"):
            call()
    for call in (
        lambda: liquid.logits(range(10**9)),
        lambda: liquid.decode(range(10**9)),  # type: ignore[arg-type]
        lambda: liquid.chat(range(10**9)),  # type: ignore[arg-type]
        lambda: liquid.chat([{"role": "user", "content": range(10**9)}]),
    ):
        with pytest.raises(LiquidError):
            call()


@pytest.mark.parametrize("value", ANY, ids=range(len(ANY)))
def test_models_adapters_and_files(
    value: Any, liquid: Liquid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: load(value) if not isinstance(value, str) or value else None,
        lambda: load("owner/name", revision=value),
        lambda: load("demo", adapter=value if value is not None else [None]),
        lambda: liquid.use_adapters(value),
    ):
        outcome(call)
    folder = Path(liquid.name)
    if not isinstance(value, str | type(None)) or value:
        outcome(lambda: load(folder, dtype=value))


def test_seeds_of_numpy_are_seeds_and_rows_of_other_lengths_are_no_codes(liquid: Liquid) -> None:
    assert seeds_for(np.int64(5), 2) == [5, 6]  # type: ignore[arg-type]
    assert seeds_for(np.array([5, 7]), 2) == [5, 7]  # type: ignore[arg-type]
    with pytest.raises(LiquidError, match="rows, columns"):
        liquid.decode([[1, 2], [3]])  # type: ignore[arg-type]
    with pytest.raises(LiquidError, match="too long"):
        liquid.logits(np.broadcast_to(np.int8(0), (30_000, 30_000)))  # type: ignore[arg-type]
