"""Comparing models: against a plain loop over logits, and what must not differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.errors import UsageError
from liquid_mlx.evaluation import teacher
from liquid_mlx.evaluation.compare import compare
from liquid_mlx.model import Liquid

PROMPTS = ["a red circle", "two blue stars above a dog"]


def quiet(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def folders(converted: Callable[..., Path]) -> tuple[str, str]:
    """A model, and the same in 3 bits."""
    coarse = converted("gemma_tiny", quantize=True, q_bits=3, q_group_size=32)
    return str(converted("gemma_tiny")), str(coarse)


def loop_kl(one: Liquid, other: Liquid, ids: list[int], start: int, stop: int, first: int) -> float:
    """Sum of KL over the places behind ``first`` ids, among ids from start to stop."""
    total = 0.0
    logits = [np.array(m.logits(ids))[first:, start:stop].astype(float) for m in (one, other)]
    for a, b in zip(*logits, strict=True):
        p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (a, b))
        total += float((p * np.log(p / q)).sum())
    return total


def test_figures_are_those_of_a_loop_over_logits(folders: tuple[str, str]) -> None:
    one, other = load(folders[0]), load(folders[1])
    found = compare(*folders, prompts=PROMPTS, seed=4, guidance=2.0)
    offset, codes = one.config.image_offset, one.config.vqgan.n_embed
    kl = {"conditional": 0.0, "unconditional": 0.0, "text": 0.0}
    losses, places, words = [0.0, 0.0], 0, 0
    for drawn in teacher.draw_sequences(one, PROMPTS, 4, 2.0, quiet):
        ids = teacher.token_ids(one, drawn)
        for name, context in (("conditional", ids.prompt), ("unconditional", ids.unconditional)):
            row = context + [code + offset for code in ids.codes[:-1]]
            kl[name] += loop_kl(one, other, row, offset, offset + codes, len(context) - 1)
        kl["text"] += loop_kl(
            one, other, ids.picture + ids.caption, 0, offset, len(ids.picture) - 1
        )
        places, words = places + len(ids.codes), words + len(ids.caption) + 1
        shared, rest = one.prompts.caption(drawn.codes)
        for i, model in enumerate((one, other)):
            losses[i] -= model.engine.score(shared, rest, [ids.caption])[0]
    scores = found["scores"]
    for name, count in (("conditional", places), ("unconditional", places), ("text", words)):
        assert scores[name]["kl"] == pytest.approx(kl[name] / count, rel=1e-3)
        assert scores[name]["places"] == count
    for i, name in enumerate(("first", "second")):
        expected = math.exp(losses[i] / words)
        assert scores["caption"][f"perplexity_{name}"] == pytest.approx(expected, rel=1e-3)
    low, high = found["intervals"]["conditional"]["kl"]
    assert low <= scores["conditional"]["kl"] <= high
    assert found["second"]["bits"] == 3
    assert len(found["pictures"]) == 2 * len(PROMPTS)


def test_guided_distributions_are_those_that_are_drawn_from() -> None:
    rng = np.random.default_rng(0)
    conditional, free = rng.normal(size=(2, 5, 7))
    other = conditional + 0.1
    guided = [free + (c - free) * 3 for c in (conditional, other)]
    found = teacher.difference(*guided)
    assert np.allclose(found.kl, 0, atol=1e-12)  # all logits moved alike
    assert found.agree.all()


def test_a_model_does_not_differ_from_itself(folders: tuple[str, str]) -> None:
    found = compare(folders[0], folders[0], count=2)  # with prompts of its own
    for kind in ("conditional", "unconditional", "guided", "text"):
        assert found["scores"][kind]["kl"] == pytest.approx(0, abs=1e-9)
        assert found["scores"][kind]["top1"] == 1
    assert found["scores"]["tokenizer"]["psnr"] is None
    perplexities = found["scores"]["caption"]
    assert perplexities["perplexity_first"] == perplexities["perplexity_second"]
    assert found["settings"]["from"] == "the first model"


def test_pictures_of_one_s_own_can_be_read_instead(folders: tuple[str, str]) -> None:
    one = load(folders[0])
    (picture,) = one.generate_image("a dog", seed=1)
    found = compare(*folders, pairs=[(picture.image, "a dog")])
    assert found["settings"]["sequences"] == 1
    assert found["scores"]["conditional"]["kl"] > 0


def test_models_of_other_vocabularies_are_refused(
    folders: tuple[str, str], converted: Callable[..., Path]
) -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(folders[0], str(converted("qwen2_tiny")), prompts=PROMPTS[:1])
