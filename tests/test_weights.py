"""Loading is strict: every difference between config.json and the weights is an error."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_json
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.linear import Linear
from liquid_mlx.weights import load_backbone, load_vqgan


def load(folder, dtype="float32"):
    config = LiquidConfig.read(folder)
    return load_backbone(folder, config, dtype), load_vqgan(folder, config)


@pytest.fixture
def folder(converted, copy_of):
    return copy_of(converted("gemma_tiny"))


@pytest.mark.parametrize("file", ["model.safetensors", "vqgan.safetensors"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        load(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "vqgan.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 500, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder, file, keep):
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(CheckpointError, match=r"damaged|cannot be read"):
        load(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "vqgan.safetensors"])
def test_missing_left_over_and_misshapen_tensors_are_named(folder, file):
    weights = mx.load(str(folder / file))
    name = sorted(weights)[0]
    tensor = weights.pop(name)
    mx.save_safetensors(str(folder / file), {**weights, "stranger": mx.zeros(3)})
    with pytest.raises(CheckpointError, match=rf"missing \({name}\).*left over \(stranger\)"):
        load(folder)
    mx.save_safetensors(str(folder / file), {**weights, name: mx.zeros((3, *tensor.shape))})
    with pytest.raises(CheckpointError, match=rf"{name}.*shape"):
        load(folder)


def test_an_index_with_a_missing_or_foreign_shard_is_refused(folder):
    index = folder / "model.safetensors.index.json"
    for shard in ("model-2.safetensors", "../model.safetensors"):
        index.write_text(json.dumps({"weight_map": {"x": shard}}))
        with pytest.raises(CheckpointError, match=r"model-2|outside"):
            load(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        load(folder)


@pytest.mark.parametrize(
    "form", [{"bits": 4}, {"bits": 4, "group_size": 0}, {"bits": "x", "group_size": 64}]
)
def test_a_damaged_quantization_is_refused(folder, form):
    values = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**values, "quantization": form}))
    with pytest.raises(CheckpointError):
        load(folder)


def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(SettingsError, match="float64"):
        load(folder, "float64")


def test_fused_projections_compute_what_the_parts_do(converted):
    folder = converted("qwen2_tiny")
    backbone, _ = load(folder)
    attention = backbone.model.layers[1].self_attn
    weights = mx.load(str(folder / "model.safetensors"))
    parts = [
        weights[f"model.layers.1.self_attn.{part}_proj.{kind}"].astype(mx.float32)
        for kind in ("weight", "bias")
        for part in "qkv"
    ]
    x = mx.random.normal((5, 64), key=mx.random.key(0))
    expected = mx.concatenate([x @ w.T + b for w, b in zip(parts[:3], parts[3:], strict=True)], -1)
    np.testing.assert_allclose(np.array(attention.qkv_proj(x)), np.array(expected), atol=1e-5)
    assert "q_proj" not in attention


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_backbone_takes_the_dtype_and_the_vqgan_stays_float32(converted, dtype):
    backbone, vqgan = load(converted("llama_tiny"), dtype)
    assert str(backbone.dtype) == f"mlx.core.{dtype}"
    assert backbone.model.layers[0].self_attn.qkv_proj.weight.dtype == backbone.dtype
    assert vqgan.quantize.embedding.weight.dtype == mx.float32


def test_loading_reads_no_global_random_state(converted):
    mx.random.seed(7)
    expected = mx.random.uniform(shape=(4,)).tolist()
    mx.random.seed(7)
    load(converted("gemma_tiny"))
    assert mx.random.uniform(shape=(4,)).tolist() == expected


def quantized_layers(backbone):
    return [m for m in backbone.modules() if isinstance(m, Linear) and m.quantization]


@pytest.mark.parametrize(
    "how", [{"q_bits": 4, "q_group_size": 32}, {"q_mode": "mxfp4"}, {"q_mode": "nvfp4"}]
)
def test_a_cpu_with_memory_unpacks_weights_and_computes_the_same(converted, how, monkeypatch):
    folder = converted("qwen2_tiny", quantize=True, **how)
    packed, _ = load(folder)
    monkeypatch.setattr("liquid_mlx.weights.available", lambda: 1 << 30)
    plain, _ = load(folder)
    assert not quantized_layers(plain)
    assert quantized_layers(packed)
    ids = mx.array([[2, 300, 301, 302, 7]])
    expected, got = (
        np.array(b.head()(b(ids, KVCache.empty(b.config, 1, 5, mx.float32))))
        for b in (packed, plain)
    )
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_half_precision_stays_packed(converted, monkeypatch):
    monkeypatch.setattr("liquid_mlx.weights.available", lambda: 1 << 30)
    folder = converted("gemma_tiny", quantize=True, q_bits=8, q_group_size=32)
    assert quantized_layers(load(folder, "bfloat16")[0])


def test_quantized_layers_answer_like_their_dequantized_twins(converted):
    options = {"quantize": True, "q_bits": 8, "q_group_size": 32}
    quantized, _ = load(converted("gemma_tiny", **options))
    plain, _ = load(converted("gemma_tiny"))
    ids = mx.array([[2, 300, 301, 302, 7]])
    logits = [
        np.array(b.head()(b(ids, KVCache.empty(b.config, 1, 5, mx.float32))))
        for b in (quantized, plain)
    ]
    cosine = (logits[0] * logits[1]).sum() / np.prod([np.linalg.norm(one) for one in logits])
    assert cosine > 0.999
    part = quantized.head(100, 200)
    hidden = mx.random.normal((2, 64), key=mx.random.key(1))
    np.testing.assert_allclose(
        np.array(part(hidden)), np.array(quantized.head()(hidden))[:, 100:200], atol=1e-5
    )
