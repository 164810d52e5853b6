"""A converted folder is an mlx-lm folder too: what chats here chats there."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest

import liquid_mlx
from liquid_mlx.tuner.checkpoint import Run, save
from liquid_mlx.tuner.lora import trained
from tests.tuner.conftest import lora, trainer

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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama_tiny", {"kind": "lora", "rank": 4}),
        ("llama_tiny", {"kind": "dora", "rank": 4}),
        ("llama_tiny", {"kind": "lora", "layers": 2, "embeddings": True}),
        ("llama_tiny", {"kind": "full", "layers": -1, "embeddings": True}),
        ("qwen2_tiny", {"kind": "lora", "layers": 1}),
        ("gemma2_tiny", {"kind": "dora"}),
        ("gemma_tiny", {"kind": "lora"}),
    ],
)
def test_an_adapter_opens_in_mlx_lm_with_the_same_logits(converted, tmp_path, name, kind):
    folder = converted(name)
    one = trainer(folder, lora(**kind))
    keys = mx.random.split(mx.random.key(3), len(trained(one.backbone)))
    moved = [
        (path, array + 0.03 * mx.random.normal(array.shape, key=key))
        for key, (path, array) in zip(keys, trained(one.backbone).items(), strict=True)
    ]
    one.backbone.load_weights(moved, strict=False)
    save(tmp_path, one, Run(str(folder), one.settings, "none"))
    theirs, _ = mlx_lm.load(str(folder), adapter_path=str(tmp_path))
    theirs.set_dtype(mx.float32)
    ours = liquid_mlx.load(folder, dtype="float32", adapter=tmp_path)
    prompt = ours.prompts.chat(MESSAGES)
    found, expected = np.array(ours.logits(prompt)), np.array(theirs(mx.array([prompt]))[0])
    exact_gelu = 1e-2 if name == "gemma_tiny" else 5e-4
    np.testing.assert_allclose(found, expected, atol=exact_gelu)
    plain = np.array(liquid_mlx.load(folder, dtype="float32").logits(prompt))
    assert np.abs(plain - expected).max() > 0.05


def test_an_adapter_of_mlx_lms_own_opens_here(converted, tmp_path):
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers

    folder = converted("llama_tiny")
    ours, theirs, _ = both(folder)
    parameters = {"rank": 4, "scale": 10.0, "dropout": 0.0}
    theirs.freeze()
    linear_to_lora_layers(theirs, 2, parameters)
    theirs.set_dtype(mx.float32)
    weights = {
        path: array + 0.03 * mx.random.normal(array.shape, key=mx.random.key(i))
        for i, (path, array) in enumerate(tree_flatten(theirs.trainable_parameters()))
    }
    theirs.load_weights(list(weights.items()), strict=False)
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), weights)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    ours.use_adapters(tmp_path)
    prompt = ours.prompts.chat(MESSAGES)
    expected = np.array(theirs(mx.array([prompt]))[0])
    np.testing.assert_allclose(np.array(ours.logits(prompt)), expected, atol=5e-4)
