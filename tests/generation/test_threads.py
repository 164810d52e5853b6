"""Nothing lazy is left behind: a worker thread draws and answers as the main thread does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.convert import convert
from liquid_mlx.files import read_json
from tests.conftest import GOLDEN


@pytest.fixture
def liquid(converted):
    return load(converted("gemma_tiny"), dtype="float32")


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=120)


def codes(liquid, **settings):
    *_, last = liquid.stream_image("a red circle", seed=3, **settings)
    return last.codes


def test_a_model_loaded_in_one_thread_draws_in_another(liquid, converted):
    here = codes(liquid)
    np.testing.assert_array_equal(in_a_thread(lambda: codes(liquid)), here)
    np.testing.assert_array_equal(codes(liquid), here)
    fresh = load(converted("gemma_tiny"), dtype="float32")
    np.testing.assert_array_equal(in_a_thread(lambda: codes(fresh)), here)
    np.testing.assert_array_equal(codes(fresh), here)


def test_a_picture_read_in_one_thread_is_asked_about_in_another(liquid):
    picture = Image.new("RGB", (64, 64), (200, 40, 40))

    def answer():
        return liquid.answer(picture, "What is it?", max_tokens=6)

    here = answer()
    assert in_a_thread(answer) == here
    assert answer() == here


def test_chat_goes_on_in_another_thread(liquid):
    first = [{"role": "user", "content": "hello"}]
    reply = liquid.chat(first, max_tokens=4) or "."
    longer = [*first, {"role": "assistant", "content": reply}, {"role": "user", "content": "and?"}]
    assert in_a_thread(lambda: liquid.chat(longer, max_tokens=4)) == liquid.chat(
        longer, max_tokens=4
    )


def test_a_checkpoint_is_converted_in_a_second_thread_as_in_the_first(tmp_path):
    case = GOLDEN / "gemma_tiny"
    vqgan = GOLDEN / read_json(case / "case.json")["vq"] / "chameleon"
    convert(case, tmp_path / "here", vqgan=vqgan, quantize=True)
    in_a_thread(lambda: convert(case, tmp_path / "there", vqgan=vqgan, quantize=True))
    for name in ("model.safetensors", "vqgan.safetensors"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize("window", [1, 3])
def test_drawings_given_up_at_any_step_in_any_thread_leave_the_next_ones_right(liquid, window):
    expected = codes(liquid)
    steps = np.random.default_rng(window).integers(0, 12, 20)

    def give_up(after):
        drawing = liquid.stream_image("a blue star", seed=1, window=window)
        for _ in range(after):
            next(drawing)
        drawing.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(give_up, steps.tolist(), timeout=120))
    np.testing.assert_array_equal(in_a_thread(lambda: codes(liquid)), expected)
    np.testing.assert_array_equal(codes(liquid), expected)
