"""config.json: what is read, what is refused, and that it is written as it is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_json
from liquid_mlx.hub import resolve
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.vqgan import VQGAN

LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def test_defaults_are_those_of_each_architecture():
    llama = BackboneConfig.from_dict(LLAMA)
    assert (llama.num_key_value_heads, llama.head_dim) == (4, 8)
    assert not llama.tie_word_embeddings
    assert not llama.attention_bias
    gemma = BackboneConfig.from_dict({**LLAMA, "model_type": "gemma"})
    assert gemma.tie_word_embeddings
    assert BackboneConfig.from_dict({**LLAMA, "model_type": "qwen2"}).attention_bias
    gemma2 = BackboneConfig.from_dict({**LLAMA, "model_type": "gemma2"})
    assert gemma2.final_logit_softcapping == 30.0


def test_both_spellings_of_rope_settings_are_read():
    scaling = {"rope_type": "linear", "factor": 8.0}
    old = BackboneConfig.from_dict({**LLAMA, "rope_theta": 5e5, "rope_scaling": scaling})
    new = BackboneConfig.from_dict({**LLAMA, "rope_parameters": {"rope_theta": 5e5, **scaling}})
    assert old.rope_theta == new.rope_theta == 5e5
    assert old.rope_scaling["factor"] == new.rope_scaling["factor"] == 8.0
    plain = {"rope_type": "default", "rope_theta": 7.0}
    assert BackboneConfig.from_dict({**LLAMA, "rope_parameters": plain}).rope_scaling is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type"),
        ({"model_type": None}, "model_type"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": -4}, "hidden_size"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "do not fit"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "yarn"),
    ],
)
def test_a_bad_backbone_is_refused_by_name(change, message):
    with pytest.raises(CheckpointError, match=message):
        BackboneConfig.from_dict({**LLAMA, **change})


def test_a_missing_size_is_named():
    with pytest.raises(CheckpointError, match="vocab_size"):
        BackboneConfig.from_dict({k: v for k, v in LLAMA.items() if k != "vocab_size"})


VQ = {
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "resolution": 8,
    "z_channels": 4,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 9}, "multiple"),
        ({"ch_mult": []}, "levels"),
        ({"ch_mult": "12"}, "whole numbers"),
        ({"z_channels": 0}, "z_channels"),
        ({"double_z": True}, "double_z"),
    ],
)
def test_a_bad_vqgan_is_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        VQGANConfig.from_params({"ddconfig": {**VQ, **change}, "n_embed": 16, "embed_dim": 4})


def test_what_is_written_is_read_back(converted):
    config = LiquidConfig.read(converted("llama_tiny", sizes=("64x64", "80x48")))
    values = read_json(converted("llama_tiny") / "config.json")
    values["liquid"] = json.loads(json.dumps(config.liquid_section()))
    assert LiquidConfig.from_dict(values) == config


def test_sizes_are_found_by_either_side(converted):
    config = LiquidConfig.read(converted("gemma_tiny", sizes=("128x128", "80x48")))
    assert config.size() == Size(128, 128)
    assert config.size(width=80) == config.size(height=48) == Size(80, 48)
    assert config.grid(Size(80, 48)) == (3, 5)
    with pytest.raises(SettingsError, match=r"80x128.*128x128, 80x48"):
        config.size(80, 128)


@pytest.mark.parametrize("text", ["", "64", "64x", "x64", "64x64x64", "-1x5", "6٤x64", "a x b"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="512x512"):
        Size.parse(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"image_offset": 2000}, "too small"),
        ({"special": {"boi": 7}}, "<eoi>"),
        ({"special": None}, "damaged"),
        ({"vqgan": {}}, "has no ch"),
        ({"sizes": ["65x64"]}, "do not fit"),
        ({"sizes": 3}, "damaged"),
    ],
)
def test_a_damaged_liquid_part_is_refused(converted, change, message):
    values = read_json(converted("gemma_tiny") / "config.json")
    values["liquid"].update(change)
    with pytest.raises(CheckpointError, match=message):
        LiquidConfig.from_dict(values)


def test_an_unconverted_checkpoint_says_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(CheckpointError, match="liquid convert"):
        LiquidConfig.read(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        LiquidConfig.read(tmp_path)


HUGE = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5)
JUNK = st.recursive(
    HUGE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
EXTREME = st.sampled_from([2**31 - 1, 2**31, 2**63, 10**400, -1, 0, 1e308, float("inf"), [[1], 2]])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=JUNK | EXTREME)
def test_any_value_gives_a_config_or_one_sentence(data, value):
    """What is accepted describes a model that MLX can make (lazily: nothing is allocated)."""
    values = read_json(resolve("demo") / "config.json")
    holder = values
    if data.draw(st.booleans()):
        holder = values["liquid"] if data.draw(st.booleans()) else values["liquid"]["vqgan"]
    holder[data.draw(st.sampled_from(sorted(holder)))] = value
    try:
        config = LiquidConfig.from_dict(values)
    except CheckpointError as error:
        message = str(error)
    else:
        message = ""
        if config.backbone.num_hidden_layers < 50 and config.vqgan.num_res_blocks < 5:
            Backbone(config.backbone)
            VQGAN(config.vqgan)
    assert len(message) <= 600


FLOATS = ("rms_norm_eps", "rope_theta", "query_pre_attn_scalar", "final_logit_softcapping")


@pytest.mark.parametrize("value", [1, 10**20, 10**29])
@pytest.mark.parametrize("name", FLOATS)
def test_whole_numbers_that_stand_for_floats_are_floats(converted, name, value):
    """MLX takes no integers beyond 64 bits."""
    values = read_json(converted("gemma2_tiny") / "config.json")
    found = getattr(LiquidConfig.from_dict({**values, name: value}).backbone, name)
    assert isinstance(found, float)
    assert found == float(value)


HINTS = {"interleaved": True, "note": " I know\nshapes. ", "words": ["Red", "plus sign"]}


def test_what_a_model_was_trained_for_is_read_and_written(converted):
    values = read_json(converted("gemma_tiny") / "config.json")
    assert not {"interleaved", "note", "words"} & set(values["liquid"])
    values["liquid"] |= HINTS
    config = LiquidConfig.from_dict(values)
    assert config.interleaved
    assert (config.note, config.words) == ("I know shapes.", ("red", "plus sign"))
    section = config.liquid_section()
    assert section["words"] == ["red", "plus sign"]
    assert LiquidConfig.from_dict({**values, "liquid": section}) == config


@pytest.mark.parametrize(
    "change", [{"interleaved": "yes"}, {"note": 3}, {"words": "red"}, {"words": ["red", ""]}]
)
def test_bad_hints_are_refused(converted, change):
    values = read_json(converted("gemma_tiny") / "config.json")
    values["liquid"] |= change
    with pytest.raises(CheckpointError, match=next(iter(change))):
        LiquidConfig.from_dict(values)


def test_a_note_is_for_prompts_without_a_known_word(converted):
    values = read_json(converted("gemma_tiny") / "config.json")
    assert LiquidConfig.from_dict(values).note_for("a dog") == ""
    values["liquid"] |= HINTS
    config = LiquidConfig.from_dict(values)
    assert config.note_for("a dog") == "I know shapes."
    assert config.note_for("A RED dog") == ""
    assert config.note_for("covered") == "I know shapes."
    assert config.note_for("a plus sign", "a cat") == "I know shapes."
