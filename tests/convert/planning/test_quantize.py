"""What becomes of each part, against mlx-lm's own recipes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from liquid_mlx.convert import Options
from liquid_mlx.convert.planning.options import MIXED
from liquid_mlx.convert.planning.quantize import make_recipe
from liquid_mlx.errors import SettingsError, UsageError
from liquid_mlx.nn.linear import Quantization


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("layers", [1, 3, 8, 18, 28, 42])
def test_mixed_recipes_are_those_of_mlx_lm(name: str, layers: int) -> None:
    from mlx_lm.convert import mixed_quant_predicate_builder

    parts = [
        f"{block}.{part}_proj"
        for block, names in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
        for part in names
    ]
    paths = [f"model.layers.{layer}.{part}" for layer in range(layers) for part in parts]
    model = SimpleNamespace(
        named_modules=lambda: [(path, None) for path in paths], layers=[None] * layers
    )
    theirs = mixed_quant_predicate_builder(name, model, 64)
    ours = make_recipe(Options(quantize=True, quant_predicate=name))
    for path in paths:
        form = ours.quantization_of(path, 256, layers)
        assert form is not None
        assert theirs(path, None) == {
            "group_size": form.group_size,
            "bits": form.bits,
            "mode": form.mode,
        }, path


def test_the_embedding_and_the_head_get_eight_bits() -> None:
    recipe = make_recipe(Options(quantize=True, q_bits=3))
    for path in ("model.embed_tokens", "lm_head"):
        assert recipe.quantization_of(path, 256, 28) == Quantization(8, 64)
    assert recipe.quantization_of("model.layers.0.mlp.up_proj", 256, 28) == Quantization(3, 64)


@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
def test_they_are_affine_in_the_floating_modes_too(mode: str) -> None:
    recipe = make_recipe(Options(quantize=True, q_mode=mode))
    assert recipe.quantization_of("model.embed_tokens", 256, 28) == Quantization(8, 64)
    assert recipe.quantization_of("model.embed_tokens", 96, 28) == Quantization(8, 32)


def test_other_bits_of_the_embedding() -> None:
    six = make_recipe(Options(quantize=True, embed_bits=6))
    assert six.quantization_of("lm_head", 64, 28) == Quantization(6, 64)
    kept = make_recipe(Options(quantize=True, embed_bits=16))
    assert kept.quantization_of("lm_head", 64, 28) is None


def test_what_the_groups_do_not_divide_is_kept() -> None:
    recipe = make_recipe(Options(quantize=True, q_group_size=128))
    assert recipe.quantization_of("model.layers.0.mlp.up_proj", 192, 28) is None
    assert recipe.quantization_of("model.layers.0.mlp.up_proj", 256, 28) == Quantization(4, 128)


def test_nothing_is_quantized_unasked() -> None:
    recipe = make_recipe(Options(dtype="bfloat16"))
    assert recipe.quantization_of("model.embed_tokens", 256, 28) is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"quantize": True, "q_bits": 7}, "q_bits"),
        ({"quantize": True, "q_bits": True}, "q_bits"),
        ({"quantize": True, "q_group_size": 48}, "q_group_size"),
        ({"quantize": True, "q_mode": "fp3"}, "q_mode"),
        ({"quantize": True, "q_mode": "mxfp4", "q_bits": 8}, "q_bits of mxfp4"),
        ({"quantize": True, "quant_predicate": "mixed_9_9"}, "quant_predicate"),
        ({"quantize": True, "embed_bits": 7}, "embed_bits"),
        ({"dtype": "float64"}, "dtype"),
        ({"vqgan_dtype": "bfloat16"}, "vqgan_dtype"),
    ],
)
def test_wrong_options_are_explained(options: dict, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        Options(**options)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"q_bits": 4}, "--quantize"),
        ({"q_mode": "mxfp4"}, "--quantize"),
        ({"quant_predicate": "mixed_2_6"}, "--quantize"),
        ({"quantize": True, "quant_predicate": "mixed_2_6", "q_bits": 4}, "sets mode and bits"),
        ({"quantize": True, "dequantize": True}, "cannot be combined"),
    ],
)
def test_options_that_cannot_be_combined(options: dict, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Options(**options)
