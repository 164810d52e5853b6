"""What a step costs: primitives, bytes, prefills, and nothing that compiles on the CPU."""

from __future__ import annotations

import mlx.core as mx
import pytest
from PIL import Image

from benchmarks.counts import bytes_read, expected_bytes, graph, mlx_lm_step, our_step, trace
from benchmarks.loops.geometry import Model, gemma
from benchmarks.loops.liquid import Loop
from liquid_mlx import load
from liquid_mlx.device import on_gpu
from liquid_mlx.nn import ops
from liquid_mlx.nn.backbone import Backbone

SMALL = Model(gemma(20000, 512, 1024, 2, 4, 128), 16000, 1024, 8)


def test_a_step_reads_little_more_than_weights_and_cache():
    loop = Loop(SMALL)
    needed = expected_bytes(SMALL, loop.backbone)
    read = bytes_read(trace(*our_step(loop.backbone, loop.head, SMALL.image_offset, SMALL.total)))
    # a full head would be 1.9 times as much; activations are a far smaller share in real models
    assert needed < read < 1.05 * needed


@pytest.mark.slow  # imports mlx-lm
def test_a_step_has_at_most_seven_tenths_of_mlx_lms_primitives():
    model = Model(gemma(1280, 32, 64, 12, 2, 16), 768, 512, 8)
    loop = Loop(model)
    function, code = our_step(loop.backbone, loop.head, model.image_offset, model.total)
    theirs, their_code = mlx_lm_step(model)
    ours = sum(graph(function(code)).values())
    assert ours <= 0.7 * sum(graph(theirs(their_code)).values())


def test_nothing_is_compiled_on_the_cpu(converted, monkeypatch):
    if on_gpu():
        pytest.skip("on a GPU element-wise islands are compiled")

    def refuse(*_arguments, **_settings):
        raise AssertionError("mx.compile was called")

    def refuse_call(*_arguments):
        raise AssertionError("a compiled function was called")

    ops.compiled.cache_clear()
    monkeypatch.setattr(mx, "compile", lambda *a, **k: refuse_call)
    monkeypatch.setenv("PATH", "")  # MLX's CPU compiler would look for a C++ compiler here
    for case in ("gemma_tiny", "gemma2_tiny", "qwen2_tiny"):
        liquid = load(converted(case))
        liquid.generate_image("a red circle", seed=0, temperature=0.9)
        liquid.answer(Image.new("RGB", (40, 30)), "What?", max_tokens=2, temperature=0.5)
    ops.compiled.cache_clear()  # of what `refuse_call` stands in


@pytest.fixture
def counted(converted, monkeypatch):
    """A model, and the number of tokens that each call of its backbone is given."""
    liquid = load(converted("gemma_tiny"), dtype="float32")
    calls = []
    forward = Backbone.__call__

    def count(self, tokens, cache):
        calls.append(tokens.shape)
        return forward(self, tokens, cache)

    monkeypatch.setattr(Backbone, "__call__", count)
    return liquid, calls


def test_a_pictures_prompts_are_prefilled_once_however_many_are_drawn(counted):
    liquid, calls = counted
    total = liquid.generate_image("a red circle", seed=0, guidance=3.0)[0].codes.size
    assert len(calls) == 2 + total - 1  # the last code is not fed back
    assert set(calls[2:]) == {(2, 1)}
    prompt, unconditional = calls[:2]
    calls.clear()
    liquid.generate_image("a red circle", seed=0, guidance=3.0, count=4)
    assert calls[0] == prompt  # one row, though four are drawn
    assert calls[1:] == [(8, 1)] * (total - 1)  # and the unconditional prompt is still known
    assert unconditional[1] < prompt[1]


def test_no_unconditional_row_without_guidance(counted):
    liquid, calls = counted
    liquid.generate_image("a red circle", seed=0, guidance=1.0)
    assert {rows for rows, _ in calls} == {1}


def test_a_picture_is_read_once_for_many_questions(counted, monkeypatch):
    liquid, calls = counted
    encoded = []
    encode = type(liquid.vqgan).encode
    monkeypatch.setattr(
        type(liquid.vqgan), "encode", lambda self, x: encoded.append(1) or encode(self, x)
    )
    picture = Image.new("RGB", (50, 50), (10, 200, 30))
    for question in ("What?", "How many are there?", "Which colour?"):
        liquid.answer(picture, question, max_tokens=3)
    assert len(encoded) == 1
    shared, _ = liquid.prompts.question(liquid.encode(picture), "What?")
    prefills = [length for _, length in calls if length > 1]
    assert prefills[0] == len(shared)
    assert len(prefills) == 1 + 3  # the picture once, then each question alone


def test_questions_asked_together_are_read_and_answered_at_once(counted):
    liquid, calls = counted
    picture = Image.new("RGB", (50, 50), (10, 200, 30))
    questions = ["What?", "How many are there?", "Which colour?"]
    liquid.engine.stop = set()
    liquid.answers(picture, questions, max_tokens=4)
    pairs = [liquid.prompts.question(liquid.encode(picture), question) for question in questions]
    longest = max(len(rest) for _, rest in pairs)
    assert calls == [(1, len(pairs[0][0])), (3, longest), *[(3, 1)] * 3]
    calls.clear()
    liquid.answers(picture, questions, max_tokens=1)
    assert calls == [(3, longest)]  # the picture is still known


def test_answers_are_the_same_with_and_without_a_kept_picture(converted):
    picture = Image.new("RGB", (50, 50), (10, 200, 30))
    kept = load(converted("gemma_tiny"), dtype="float32")
    for question in ("What?", "How many are there?"):
        fresh = load(converted("gemma_tiny"), dtype="float32")
        assert kept.answer(picture, question, max_tokens=8) == fresh.answer(
            picture, question, max_tokens=8
        )
