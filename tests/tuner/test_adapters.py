"""Adapters: what is trained opens again, in any of its forms, and lies over the base exactly."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import CheckpointError, SettingsError, UsageError, load
from liquid_mlx.adapters import attach, parse, places, read_adapter, read_adapters
from liquid_mlx.config import LiquidConfig
from liquid_mlx.generation.sampling import fold_in
from liquid_mlx.nn.linear import products
from liquid_mlx.tuner.checkpoint import Run, save
from liquid_mlx.tuner.forward import hidden_states
from liquid_mlx.tuner.fuse import fuse
from liquid_mlx.tuner.lora import AdapterSettings, prepare, set_dropout, trained
from liquid_mlx.weights import load_backbone
from tests.tuner.conftest import lora, trainer

IDS = [3, 9, 200, 77, 510, 600, 1000, 4]
KINDS = {
    "lora": {"kind": "lora", "rank": 4, "layers": -1},
    "dora": {"kind": "dora", "rank": 4, "layers": -1},
    "some layers": {"kind": "lora", "rank": 2, "layers": 1},
    "embeddings": {"kind": "lora", "rank": 4, "layers": -1, "embeddings": True},
    "full": {"kind": "full", "layers": -1, "embeddings": True},
}


def stirred(backbone, seed=0):
    """Trainable parameters moved by noise, as training would."""
    moved = {}
    for i, (name, array) in enumerate(sorted(trained(backbone).items())):
        noise = mx.random.normal(array.shape, key=fold_in(mx.random.key(seed), i))
        moved[name] = array + 0.03 * noise
    backbone.load_weights(list(moved.items()), strict=False)


def logits(backbone, ids=IDS):
    hidden = hidden_states(backbone, mx.array([ids]))
    return np.array(backbone.head()(hidden))


@pytest.fixture
def adapter(tiny, tmp_path):
    """``adapter(kind, folder=, seed=) -> (folder, logits)``: one that was trained, in a way."""

    def make(kind, base=tiny, name="adapter", seed=0):
        one = trainer(base, lora(**KINDS[kind]))
        stirred(one.backbone, seed)
        folder = tmp_path / name
        save(folder, one, Run(str(base), one.settings, "none"))
        return folder, logits(one.backbone)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_adapter_gives_the_logits_it_was_trained_with(adapter, tiny, kind):
    folder, expected = adapter(kind)
    liquid = load(tiny, dtype="float32", adapter=folder)
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)
    plain = np.array(load(tiny, dtype="float32").logits(IDS))
    assert np.abs(plain - expected).max() > 0.05


@pytest.mark.parametrize("case", ["gemma2_tiny", "qwen2_tiny", "gemma_untied_mqa"])
@pytest.mark.parametrize("kind", ["dora", "lora"])
def test_every_family_takes_an_adapter(adapter, converted, case, kind):
    folder, expected = adapter(kind, converted(case))
    liquid = load(converted(case), dtype="float32", adapter=folder)
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=3e-4)


def test_an_untied_head_takes_an_adapter(adapter, converted):
    folder, expected = adapter("embeddings", converted("gemma_untied_mqa"))
    assert "lm_head.lora_a" in mx.load(str(folder / "adapters.safetensors"))
    liquid = load(converted("gemma_untied_mqa"), dtype="float32", adapter=folder)
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_a_quantized_model_lies_over_its_packed_weights(adapter, converted, kind):
    base = converted("llama_tiny", quantize=True, q_group_size=32)
    folder, expected = adapter(kind, base)
    liquid = load(base, dtype="float32", adapter=folder)
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=5e-4)


def test_the_embedding_is_looked_up_with_its_adapter(adapter, tiny):
    folder, _ = adapter("embeddings")
    config = LiquidConfig.read(tiny)
    plain = load_backbone(tiny, config, "float32")
    with_it = load_backbone(tiny, config, "float32", adapters=read_adapters(folder))
    factors = read_adapter(folder).factors["model.embed_tokens"]
    ids = mx.array([5, 900])
    added = (factors.a @ factors.b).T[ids]
    found = with_it.model.embed_tokens.lookup(ids)
    np.testing.assert_allclose(found, plain.model.embed_tokens.lookup(ids) + added, atol=1e-6)


def test_strengths_scale_and_several_adapters_add_up(adapter, tiny):
    one, _ = adapter("lora", name="one", seed=1)
    two, _ = adapter("embeddings", name="two", seed=2)
    config = LiquidConfig.read(tiny)
    backbone = load_backbone(tiny, config, "float32", fuse=False)
    before = {path: place.layer.dense() for path, place in places(backbone).items()}
    attach(backbone, read_adapters([f"{one}=0.5", two]))
    first, second = read_adapter(one).factors, read_adapter(two).factors
    x = mx.random.normal((3, 64), key=mx.random.key(0))
    for path in ("model.layers.1.self_attn.v_proj", "model.layers.0.mlp.gate_proj"):
        matrix = before[path] + sum(
            strength * (factors[path].a @ factors[path].b).T
            for strength, factors in ((0.5, first), (1, second))
        )
        np.testing.assert_allclose(places(backbone)[path].layer(x), x @ matrix.T, atol=1e-4)


def test_dora_at_half_strength_is_half_way(adapter, tiny):
    folder, _ = adapter("dora")
    config = LiquidConfig.read(tiny)
    path, x = "model.layers.0.self_attn.k_proj", mx.random.normal((2, 64), key=mx.random.key(1))

    def product(*names):
        backbone = load_backbone(tiny, config, "float32", fuse=False)
        attach(backbone, read_adapters(names))
        return np.array(places(backbone)[path].layer(x))

    middle = (product() + product(folder)) / 2
    np.testing.assert_allclose(product(f"{folder}=0.5"), middle, atol=1e-5)


def test_adapters_are_swapped_without_reading_the_base(adapter, tiny):
    one, first = adapter("lora", name="one", seed=1)
    two, second = adapter("embeddings", name="two", seed=2)
    liquid = load(tiny, dtype="float32")
    plain = np.array(liquid.logits(IDS))
    backbone = liquid.engine.backbone
    for names, expected in (((one,), first), ((two,), second), ((), plain), ((one,), first)):
        liquid.use_adapters(*names)
        assert liquid.engine.backbone is backbone
        np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)
    image = liquid.generate_image("a disc", seed=3, temperature=0)[0]
    fresh = load(tiny, dtype="float32", adapter=one).generate_image("a disc", seed=3, temperature=0)
    np.testing.assert_array_equal(image.codes, fresh[0].codes)


def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was(adapter, tiny, converted):
    good, expected = adapter("lora", name="good")
    bad, _ = adapter("lora", converted("gemma2_tiny"), name="bad")
    liquid = load(tiny, dtype="float32", adapter=good)
    with pytest.raises(CheckpointError, match="made for another"):
        liquid.use_adapters(bad)
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)


def test_whole_weights_are_not_swapped_but_loaded(adapter, tiny):
    folder, expected = adapter("full")
    with pytest.raises(UsageError, match="load the model anew"):
        load(tiny).use_adapters(folder)
    liquid = load(tiny, dtype="float32", adapter=folder, low_ram=True)
    liquid.use_adapters()
    liquid._free()
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)


def test_low_ram_reads_the_adapters_that_are_in_use_again(adapter, tiny):
    folder, expected = adapter("lora")
    liquid = load(tiny, dtype="float32", low_ram=True)
    liquid.use_adapters(folder)
    liquid._free()
    np.testing.assert_allclose(np.array(liquid.logits(IDS)), expected, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_folder_needs_no_adapter(adapter, tiny, tmp_path, kind):
    folder, expected = adapter(kind)
    written = fuse(tiny, folder, tmp_path / "fused")
    found = np.array(load(written, dtype="float32").logits(IDS))
    np.testing.assert_allclose(found, expected, atol=3e-4)
    names = {path.name for path in written.iterdir()}
    assert {path.name for path in tiny.iterdir()} <= names
    assert LiquidConfig.read(written).source["fused"] == ["adapter"]


def test_a_quantized_model_is_quantized_again_when_fused(adapter, converted, tmp_path):
    base = converted("llama_tiny", quantize=True, q_group_size=32)
    folder, expected = adapter("lora", base)
    packed = fuse(base, folder, tmp_path / "packed")
    dense = fuse(base, folder, tmp_path / "dense", dequantize=True)
    assert LiquidConfig.read(packed).quantization == LiquidConfig.read(base).quantization
    assert LiquidConfig.read(dense).quantization is None
    near = np.array(load(dense, dtype="float32").logits(IDS))
    np.testing.assert_allclose(near, expected, atol=0.1)
    plain = np.array(load(base, dtype="float32").logits(IDS))
    again = np.array(load(packed, dtype="float32").logits(IDS))
    assert np.abs(again - expected).mean() < 0.5 * np.abs(plain - expected).mean()


def peft(folder, base, rank=64, alpha=16, rslora=False):
    """A PEFT adapter of the reference's settings: all linear layers."""
    folder.mkdir()
    backbone = load_backbone(base, LiquidConfig.read(base), "float32", fuse=False)
    tensors = {}
    for i, (path, place) in enumerate(sorted(places(backbone).items())):
        if not path.startswith("model.layers."):
            continue
        outputs, inputs = place.layer.shape
        keys = mx.random.split(fold_in(mx.random.key(4), i))
        name = f"base_model.model.{path}"
        tensors[f"{name}.lora_A.weight"] = 0.1 * mx.random.normal((rank, inputs), key=keys[0])
        tensors[f"{name}.lora_B.weight"] = 0.1 * mx.random.normal((outputs, rank), key=keys[1])
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "use_rslora": rslora}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("rslora", [False, True])
def test_a_peft_adapter_gives_what_conversion_merges(converted, tmp_path, rslora):
    folder = peft(tmp_path / "peft", converted("llama_tiny"), rslora=rslora)
    merged = converted("llama_tiny", adapter=str(folder))
    expected = np.array(load(merged, dtype="float32").logits(IDS))
    found = load(converted("llama_tiny"), dtype="float32", adapter=folder).logits(IDS)
    np.testing.assert_allclose(np.array(found), expected, atol=5e-4)


def test_what_is_not_trained_stays_frozen(tiny):
    config = LiquidConfig.read(tiny)
    backbone = load_backbone(tiny, config, "float32", fuse=False)
    plain = logits(backbone)
    prepare(backbone, AdapterSettings(layers=1, rank=3), mx.random.key(0))
    names = {name.rpartition(".")[0] for name in trained(backbone)}
    assert len(names) == 7
    assert all(name.startswith("model.layers.2.") for name in names)
    np.testing.assert_allclose(logits(backbone), plain, atol=1e-5)  # b starts at 0


@pytest.mark.parametrize("settings", [{}, {"kind": "dora"}, {"dropout": 0.5}], ids=str)
def test_layers_that_read_the_same_give_what_each_gives_alone(tiny, settings):
    backbone = load_backbone(tiny, LiquidConfig.read(tiny), "float32", fuse=False)
    prepare(backbone, AdapterSettings(layers=-1, rank=3, **settings), mx.random.key(0))
    stirred(backbone)
    set_dropout(backbone, mx.random.key(1))
    attention = backbone.model.layers[0].self_attn
    layers = attention.q_proj, attention.k_proj, attention.v_proj
    x = mx.random.normal((5, layers[0].lora_a.shape[0]), key=mx.random.key(2))
    for found, layer in zip(products(x, layers), layers, strict=True):
        np.testing.assert_allclose(np.array(found), np.array(layer(x)), atol=1e-5)


def test_names_carry_strengths(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert parse("style=0.25") == ("style", 0.25)
    assert parse("style") == ("style", 1.0)
    assert parse(str(tmp_path / "a=b")) == (str(tmp_path / "a=b"), 1.0)
    assert parse(f"{tmp_path / 'a=b'}=-2") == (str(tmp_path / "a=b"), -2.0)
    for wrong in ("style=strong", "style=nan", "style=1e9", "style="):
        with pytest.raises(SettingsError, match="strength"):
            parse(wrong)
