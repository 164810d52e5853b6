"""The predicted memory of a step against MLX's own count, and what is done when it is too much."""

from __future__ import annotations

import pytest

from benchmarks.finetune.memory import SMALL, memory_row
from liquid_mlx import LowMemoryError, load
from liquid_mlx.tuner import memory
from liquid_mlx.tuner.memory import fit_memory
from tests.tuner.conftest import lora, settings


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"kind": "full", "embeddings": True}])
def test_a_step_takes_what_was_predicted(checkpoint, options):
    row = memory_row("small", SMALL, 2, 128, checkpoint, **options)
    assert 0.85 < row["ratio"] < 1.15, row


@pytest.fixture
def liquid(tiny):
    return load(tiny, dtype="float32")


def fitted(monkeypatch, liquid, have, run=None, **options):
    monkeypatch.setattr("liquid_mlx.memory.available", lambda: have)
    monkeypatch.setattr(memory, "available", lambda: have)
    own = {"checkpoint": None, "split": True, **options}
    return fit_memory(liquid, run or settings(batch_size=8), 1500, **own)


def test_smaller_batches_then_checkpoints_are_tried_before_a_step_is_refused(monkeypatch, liquid):
    found = []
    have = 4_000_000_000
    for _ in range(200):
        try:
            run, need = fitted(monkeypatch, liquid, have)
        except LowMemoryError:
            break
        assert need.total <= have
        assert run.examples_per_step == 8
        found.append((run.grad_checkpoint, run.batch_size))
        have = need.total - 1
    assert found[:4] == [(False, size) for size in (8, 4, 2, 1)]
    assert all(again for again, _ in found[4:])
    with pytest.raises(LowMemoryError, match=r"activations .* has .* fewer --layers"):
        fitted(monkeypatch, liquid, have)


def test_what_was_asked_for_is_not_changed(monkeypatch, liquid):
    run, need = fitted(monkeypatch, liquid, 10**12, checkpoint=True, split=False)
    assert (run.grad_checkpoint, run.batch_size) == (True, 8)
    with pytest.raises(LowMemoryError, match="smaller --batch-size"):
        fitted(monkeypatch, liquid, need.total - 1, checkpoint=True, split=False)


def test_more_of_anything_takes_more(monkeypatch, liquid):
    def total(run):
        return fitted(monkeypatch, liquid, 10**12, run, split=False)[1].total

    base = total(settings())
    assert total(settings(batch_size=4)) > base
    assert total(settings(grad_accum=2)) > base
    assert total(lora(rank=32)) > base
    assert total(lora(layers=1)) < base
    assert total(lora(embeddings=True)) > base
