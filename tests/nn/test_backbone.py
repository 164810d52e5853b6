"""The backbone against the PyTorch reference's logits and greedy codes."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.files import read_json
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import ImageParams
from liquid_mlx.weights import load_backbone
from tests.conftest import CASES, GOLDEN

DRAWINGS = ("t2i/cfg1", "t2i/cfg3", "t2i/cfg7", "multiratio")


class Case:
    """A golden case: the converted model in float32 and the reference's arrays."""

    def __init__(self, folder, name):
        self.config = LiquidConfig.read(folder)
        self.backbone = load_backbone(folder, self.config, "float32")
        self.arrays = np.load(GOLDEN / name / "golden_llm.npz")
        self.facts = read_json(GOLDEN / name / "golden_llm.json")
        self.head = self.backbone.head()

    def logits(self, ids):
        cache = KVCache.empty(self.config.backbone, 1, len(ids), mx.float32)
        return np.array(self.head(self.backbone(mx.array([ids]), cache)[0]))

    def rows(self, drawing):
        """Token ids without padding: conditional rows, then unconditional rows."""
        ids, mask = (self.arrays[f"{drawing}/{k}"] for k in ("input_ids", "attention_mask"))
        return [row[seen == 1].tolist() for row, seen in zip(ids, mask, strict=True)]


@pytest.fixture(scope="module", params=CASES)
def case(request, converted):
    return Case(converted(request.param), request.param)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_prefill_logits_of_drawing_prompts_equal_the_references(case, drawing):
    for ids, expected in zip(
        case.rows(drawing), case.arrays[f"{drawing}/prefill_logits"], strict=True
    ):
        seen = min(3, len(ids))
        np.testing.assert_allclose(case.logits(ids)[-seen:], expected[-seen:], atol=2e-4)


@pytest.mark.parametrize("task", ["i2t", "t2t"])
def test_logits_of_text_prompts_equal_the_references(case, task):
    for k in range(len(case.facts[task])):
        expected = case.arrays[f"{task}/{k}/last_logits"]
        got = case.logits(case.arrays[f"{task}/{k}/input_ids"].tolist())
        np.testing.assert_allclose(got[-len(expected) :], expected, atol=2e-4)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_step_logits_with_the_cache_equal_the_references(case, drawing):
    tokens, steps = case.arrays[f"{drawing}/tokens"], case.arrays[f"{drawing}/steps"]
    count = len(tokens)
    for row, ids in enumerate(case.rows(drawing)):
        kind = "cond_logits" if row < count else "uncond_logits"
        expected = case.arrays[f"{drawing}/{kind}"][row % count]
        prompt = prefill(case.backbone, ids)
        cache = KVCache.joined([prompt.cache], 1, len(ids) + int(steps[-1]) + 1)
        hidden, at = prompt.hidden, 0
        for step, want in zip(steps.tolist(), expected, strict=True):
            while at < step:
                hidden = case.backbone(mx.array([[int(tokens[row % count, at])]]), cache)
                at += 1
            np.testing.assert_allclose(np.array(case.head(hidden[0, -1])), want, atol=2e-4)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_greedy_codes_equal_the_references_up_to_the_first_near_tie(case, drawing):
    offset, n_codes = case.config.image_offset, case.config.vqgan.n_embed
    head = case.backbone.head(offset, offset + n_codes)
    codes, margins = case.arrays[f"{drawing}/codes"], case.arrays[f"{drawing}/margin"]
    rows, scale = case.rows(drawing), case.facts["prompts"][drawing]["cfg"]
    for i, expected in enumerate(codes):
        prefixes = [prefill(case.backbone, rows[i])]
        if scale > 1:
            prefixes.append(prefill(case.backbone, rows[len(codes) + i]))
        draw = Draw([0], ImageParams(guidance=scale, temperature=0.0, top_k=0, top_p=1.0))
        *_, last = draw_codes(case.backbone, head, offset, prefixes, draw, len(expected))
        close = np.flatnonzero(margins[i] < 1e-4)
        stop = close[0] if len(close) else len(expected)
        assert stop > 0
        np.testing.assert_array_equal(last.codes[0][:stop], expected[:stop])


def test_bfloat16_logits_stay_near_the_references(converted):
    name = "gemma_tiny"
    arrays = np.load(GOLDEN / name / "golden_llm.npz")
    assert "bf16/prefill_logits" in arrays
    config = LiquidConfig.read(converted(name))
    backbone = load_backbone(converted(name), config, "bfloat16")
    ids, mask = arrays["t2i/cfg7/input_ids"], arrays["t2i/cfg7/attention_mask"]
    exact, half = arrays["t2i/cfg7/prefill_logits"], arrays["bf16/prefill_logits"]
    for row, seen, want, reference in zip(ids, mask, exact, half, strict=False):
        prompt = row[seen == 1].tolist()
        cache = KVCache.empty(config.backbone, 1, len(prompt), mx.bfloat16)
        got = np.array(backbone.head()(backbone(mx.array([prompt]), cache)[0]))[-1]
        # as near to the exact logits as the reference's own bfloat16, with room for luck
        assert np.abs(got - want[-1]).mean() < 2 * np.abs(reference[-1] - want[-1]).mean()


def test_a_row_drawn_beside_a_longer_prompt_is_drawn_as_alone(case):
    rows = case.rows("t2i/cfg7")[:2]
    assert len(rows[0]) != len(rows[1])
    prompts = [prefill(case.backbone, ids) for ids in rows]
    room = max(map(len, rows)) + 4
    together = KVCache.joined([p.cache for p in prompts], 1, room)
    alone = [KVCache.joined([p.cache], 1, room) for p in prompts]
    for token in (case.config.image_offset, case.config.image_offset + 3):
        both = case.backbone(mx.array([[token], [token]]), together)
        each = [case.backbone(mx.array([[token]]), cache) for cache in alone]
        np.testing.assert_allclose(
            np.array(both), np.concatenate([np.array(e) for e in each]), atol=1e-4
        )


def test_what_a_gpu_runs_computes_the_same(case, monkeypatch):
    """The calls that a GPU is given, evaluated here: MLX's kernels fall back to the same sums."""
    rows = case.rows("t2i/cfg7")[:2]
    step = mx.array([[case.config.image_offset + 5]] * 2)

    def run():
        prompts = [prefill(case.backbone, ids) for ids in rows]
        cache = KVCache.joined([p.cache for p in prompts], 1, max(map(len, rows)) + 3)
        hidden = [p.hidden for p in prompts]
        hidden += [case.backbone(step, cache), case.backbone(mx.repeat(step, 2, axis=1), cache)]
        return [np.array(h) for h in hidden]

    plain = run()
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    mx.disable_compile()  # compiling for the CPU would take a C++ compiler
    try:
        for ours, theirs in zip(plain, run(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    finally:
        mx.enable_compile()


def test_several_tokens_at_once_are_seen_as_one_after_another(case):
    ids = case.rows("t2i/cfg1")[0]
    whole = case.logits(ids)
    prompt = prefill(case.backbone, ids[:-3])
    cache = KVCache.joined([prompt.cache], 1, len(ids))
    window = case.head(case.backbone(mx.array([ids[-3:]]), cache)[0])
    np.testing.assert_allclose(np.array(window), whole[-3:], atol=1e-4)


def test_the_sliding_window_hides_what_is_too_far_back():
    cache = KVCache([mx.zeros((2, 1, 8, 2))], offset=5)
    mask = np.array(cache.visible(2, window=3))
    seen = [[key for key in range(7) if row[key]] for row in mask]
    assert seen == [[3, 4, 5], [4, 5, 6]]
    assert cache.visible(1) is None
    assert cache.visible(2, window=7) is None
