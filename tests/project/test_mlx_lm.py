"""A converted folder is an mlx-lm folder too: what chats here chats there."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

import liquid_mlx

mlx_lm = pytest.importorskip("mlx_lm")
generate_step = pytest.importorskip("mlx_lm.generate").generate_step

pytestmark = pytest.mark.slow  # importing transformers takes seconds
MESSAGES = [{"role": "user", "content": "What is in the picture?"}]


def both(folder):
    theirs, tokenizer = mlx_lm.load(str(folder))
    theirs.set_dtype(mx.float32)
    return liquid_mlx.load(folder, dtype="float32"), theirs, tokenizer


@pytest.mark.parametrize("name", ["llama_tiny", "qwen2_tiny", "gemma2_tiny"])
@pytest.mark.parametrize("quantized", [False, True])
def test_greedy_chat_is_the_same_in_mlx_lm(converted, name, quantized):
    options = {"quantize": True, "q_bits": 8, "q_group_size": 32} if quantized else {}
    ours, theirs, tokenizer = both(converted(name, **options))
    prompt = ours.prompts.chat(MESSAGES)
    offset = ours.config.image_offset

    def text_only(_, logits):
        return mx.where(mx.arange(logits.shape[-1]) < offset, logits, -mx.inf)

    steps = generate_step(mx.array(prompt), theirs, max_tokens=24, logits_processors=[text_only])
    expected = [int(token) for token, _ in steps]
    tokens = [step.token for step in ours.stream_chat(MESSAGES, max_tokens=24)]
    assert tokens
    assert tokens == expected[: len(tokens)]
    if len(tokens) < 24:
        stops = {*ours.config.eos_ids, ours.config.special["end_of_turn"]}
        assert expected[len(tokens)] in stops
    assert tokenizer.decode(tokens[:1]) is not None


def test_mlx_lms_gemma_has_the_exact_gelu_and_so_differs_a_little(converted):
    ours, theirs, _ = both(converted("gemma_tiny"))
    prompt = ours.prompts.chat(MESSAGES)
    difference = np.abs(np.array(ours.logits(prompt)) - np.array(theirs(mx.array([prompt]))[0]))
    assert 1e-4 < difference.max() < 1e-2
