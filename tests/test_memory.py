"""Memory: what is predicted, what is refused, and what is let go."""

from __future__ import annotations

import gc

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import load, memory
from liquid_mlx.config import BackboneConfig, LiquidConfig, VQGANConfig
from liquid_mlx.errors import LiquidError, LowMemoryError
from liquid_mlx.memory import decoder_bytes, kv_bytes, limits, require, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.weights import load_backbone

OFFICIAL = BackboneConfig("gemma", 264192, 3072, 24576, 28, 16, 16, 256)


def test_the_official_models_sizes_are_known_without_allocating_them():
    before = mx.get_active_memory()
    assert weight_bytes(Backbone(OFFICIAL), mx.bfloat16) == pytest.approx(17.1e9, rel=0.01)
    assert mx.get_active_memory() - before < 1e6
    # 448 KiB per token and sequence
    assert kv_bytes(OFFICIAL, 1, 1, mx.bfloat16) == 448 * 1024


def test_predicted_weights_are_those_in_memory(converted):
    folder = converted("gemma_tiny")
    config = LiquidConfig.read(folder)
    predicted = weight_bytes(Backbone(config.backbone), mx.float32)
    gc.collect()
    before = mx.get_active_memory()
    backbone = load_backbone(folder, config, "float32")
    gc.collect()
    assert mx.get_active_memory() - before == pytest.approx(predicted, rel=0.02)
    assert weight_bytes(backbone, mx.float32) == pytest.approx(predicted, rel=1e-6)


def test_predicted_keys_and_values_are_those_in_memory():
    config = BackboneConfig("llama", 64, 32, 64, 3, 4, 2, 8)
    cache = KVCache.empty(config, 6, 100, mx.bfloat16)
    assert cache.nbytes == kv_bytes(config, 6, 100, mx.bfloat16)


@pytest.mark.slow
def test_decoding_stays_within_the_prediction():
    config = VQGANConfig(32, (1, 1, 2, 2), 1, (), 256, 32, 32, 512)
    vqgan = VQGAN(config)
    mx.eval(vqgan.parameters())
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(vqgan.decode(mx.zeros((1, 32, 32), mx.int32)))
    peak = mx.get_peak_memory() - before
    predicted = decoder_bytes(config, 256, 256)
    assert 0.3 * predicted < peak < 1.1 * predicted


@pytest.mark.parametrize(
    "keys",
    [
        {"max_recommended_working_set_size": 123, "memory_size": 456},  # Metal
        {"total_memory": 123, "free_memory": 45},  # CUDA
    ],
)
def test_a_gpus_own_memory_counts(monkeypatch, keys):
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(mx, "device_info", lambda: {"device_name": "a GPU", **keys})
    assert memory.available() == 123


def test_what_does_not_fit_is_refused_with_numbers_and_advice(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 8_000_000_000)
    require({"weights": 5_000_000_000, "decoding": 3_000_000_000}, "nothing")
    with pytest.raises(LowMemoryError) as refused:
        require({"weights": 5_000_000_000, "decoding": 3_100_000_000}, "draw a smaller image")
    text = str(refused.value)
    for part in ("8.1 GB", "weights 5.0", "decoding 3.1", "8.0 GB", "draw a smaller image"):
        assert part in text
    assert isinstance(refused.value, LiquidError)


def test_a_model_too_large_is_refused_before_its_weights_are_read(converted, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    read = []
    monkeypatch.setattr("liquid_mlx.weights._read", read.append)
    with pytest.raises(LowMemoryError, match="fewer bits"):
        load(converted("gemma_tiny"))
    assert not read


def test_too_many_pictures_are_refused_before_the_first_step(converted, monkeypatch):
    liquid = load(converted("gemma_tiny"), dtype="float32")
    used = weight_bytes(liquid.engine.backbone, mx.float32)
    used += weight_bytes(liquid.vqgan, mx.float32)
    size = liquid.config.sizes[0]
    used += decoder_bytes(liquid.config.vqgan, size.width, size.height)
    monkeypatch.setattr(memory, "available", lambda: used + 2_000_000)
    liquid.stream_image("a red circle")
    with pytest.raises(LowMemoryError, match="fewer images at once"):
        liquid.stream_image("a red circle", count=2000)


def test_low_ram_frees_the_language_model_and_draws_the_same_picture(converted):
    folder = converted("gemma_tiny")
    expected = load(folder, dtype="float32").generate_image("a red circle", seed=2)[0]
    gc.collect()
    liquid = load(folder, dtype="float32", low_ram=True)
    weights = weight_bytes(liquid.engine.backbone, mx.float32)
    before = mx.get_active_memory()
    *_, last = liquid.stream_image("a red circle", seed=2)
    gc.collect()
    assert before - mx.get_active_memory() > 0.9 * weights
    np.testing.assert_array_equal(last.images()[0].codes, expected.codes)
    again = liquid.generate_image("a red circle", seed=2)[0]  # read again for the next picture
    np.testing.assert_array_equal(again.codes, expected.codes)


def test_low_ram_needs_less_at_once(converted, monkeypatch):
    folder = converted("gemma_tiny")
    whole, low = load(folder), load(folder, low_ram=True)
    pixels = weight_bytes(whole.vqgan, mx.float32)
    size = whole.config.sizes[0]
    decoding = decoder_bytes(whole.config.vqgan, size.width, size.height)
    language = weight_bytes(whole.engine.backbone, mx.float32)
    drawing = language + kv_bytes(whole.config.backbone, 2, 100, mx.float32)
    monkeypatch.setattr(memory, "available", lambda: pixels + max(decoding, drawing))
    low.stream_image("a red circle")
    with pytest.raises(LowMemoryError, match="low_ram"):
        whole.stream_image("a red circle")


def test_limits_are_set_on_metal_only_and_put_back(monkeypatch):
    calls = []
    monkeypatch.setattr(mx, "set_wired_limit", lambda n: calls.append(("wired", n)) or 11)
    monkeypatch.setattr(mx, "set_cache_limit", lambda n: calls.append(("cache", n)) or 22)
    with limits():
        pass
    assert calls == [] or mx.metal.is_available()
    calls.clear()
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(memory, "available", lambda: 99)
    with pytest.raises(KeyError), limits():
        raise KeyError
    assert calls == [("wired", 99), ("cache", memory.CACHED), ("wired", 11), ("cache", 22)]


def test_limits_that_overlap_are_put_back_by_the_last(monkeypatch):
    now = {"wired": 11, "cache": 22}

    def setter(name):
        return lambda n: (now[name], now.update({name: n}))[0]

    monkeypatch.setattr(mx, "set_wired_limit", setter("wired"))
    monkeypatch.setattr(mx, "set_cache_limit", setter("cache"))
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(memory, "available", lambda: 99)
    first, second = limits(), limits()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert now == {"wired": 99, "cache": memory.CACHED}
    second.__exit__(None, None, None)
    assert now == {"wired": 11, "cache": 22}


@pytest.mark.parametrize(
    "text",
    [
        "[METAL] Command buffer execution failed: Insufficient Memory (00000008)",
        "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum",
        "[malloc] Unable to allocate 99 bytes.",
    ],
)
def test_memory_that_runs_out_ends_as_one_sentence(text):
    with pytest.raises(LowMemoryError, match="ran out of memory"), limits():
        raise RuntimeError(text)


def test_other_failures_keep_their_words():
    with pytest.raises(RuntimeError, match="something else"), limits():
        raise RuntimeError("something else")


def test_a_grid_of_codes_too_large_to_decode_is_refused():
    with pytest.raises(LowMemoryError, match="smaller grid"):
        load("demo").decode(np.zeros((20_000, 20_000), np.int32))
