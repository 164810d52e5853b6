"""The official geometry: 264192 ids, 32 x 32 codes, guidance 7, as the reference draws it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import BackboneConfig
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import ImageParams
from tests.recipe import golden, recipe, weights

pytestmark = pytest.mark.slow
TEXT, CODES = 256000, 8192


@pytest.fixture(scope="module")
def backbone():
    model = Backbone(BackboneConfig.from_dict(recipe()["config"]))
    model.load_weights([(name, mx.array(array)) for name, array in weights("llm").items()])
    model.fuse()
    return model


def rows():
    ids, mask = golden()["t2i/input_ids"], golden()["t2i/attention_mask"]
    return [row[seen == 1].tolist() for row, seen in zip(ids, mask, strict=True)]


@pytest.mark.parametrize("picture", [0, 1])
def test_greedy_codes_equal_the_references(backbone, picture):
    prefixes = [prefill(backbone, rows()[picture]), prefill(backbone, rows()[2 + picture])]
    draw = Draw([0], ImageParams(guidance=7.0, temperature=0.0, top_k=0, top_p=1.0))
    head = backbone.head(TEXT, TEXT + CODES)
    *_, last = draw_codes(backbone, head, TEXT, prefixes, draw, 1024)
    expected, margin = golden()["t2i/codes"][picture], golden()["t2i/margin"][picture]
    assert margin.min() > 1e-4
    np.testing.assert_array_equal(last.codes[0], expected)


def test_step_logits_equal_the_references(backbone):
    """Far into the picture too: the reference's codes are fed up to each stored step."""
    codes = golden()["t2i/codes"][0]
    image, text = backbone.head(TEXT, TEXT + CODES), backbone.head(0, TEXT)
    for row, kind in ((0, "cond"), (2, "uncond")):
        ids = rows()[row]
        room = KVCache.joined([prefill(backbone, ids).cache], 1, len(ids) + 1024)
        room.offset = len(ids) - 1
        hidden = backbone(mx.array([[ids[-1], *(codes[:1023] + TEXT).tolist()]]), room)
        for step in (0, 1, 511, 1023):
            expected = golden()[f"t2i/step{step}/{kind}_image_logits"][0]
            np.testing.assert_allclose(np.array(image(hidden[0, step])), expected, atol=2e-4)
            if kind == "cond":
                some = golden()[f"t2i/step{step}/cond_text_logits_every_256th"][0]
                np.testing.assert_allclose(np.array(text(hidden[0, step]))[::256], some, atol=2e-4)
