"""Nothing lazy is left behind: a worker thread draws and answers as the main thread does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load


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
