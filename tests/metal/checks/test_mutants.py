"""Small faults in the kernels' texts are found: the checks above are worth something."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import Rotary, add_rms_norm, dispatch, norm_source, rotary
from liquid_mlx.nn.ops import rope_freqs
from tests.kernels.test_norm import check, example
from tests.kernels.test_rotary import HEADS, KV_HEADS, entries, joined
from tests.metal import runner
from tests.metal.conftest import ON_GPU
from tests.nn.test_ops import CONFIGS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ON_GPU, reason="a GPU may be left unusable by some of them"),
]

NORM = [
    ("i < WIDTH; i += 256", "i < WIDTH - 1; i += 256"),
    ("i < WIDTH; i += 256", "i <= WIDTH; i += 256"),
    ("int i = self", "int i = self + 1"),
    ("threadgroup_position_in_grid.y) * WIDTH", "threadgroup_position_in_grid.y) * (WIDTH - 1)"),
    ("sum += held[j] * held[j]", "sum += held[j]"),
    ("apart = 16", "apart = 8"),
    ("apart > 0", "apart > 1"),
    ("if (thread_index_in_simdgroup == 0)", "if (thread_index_in_simdgroup == 33)"),
    ("metal::threadgroup_barrier", "(void)"),
    ("group < 8", "group < 7"),
    ("/ float(WIDTH) + eps[0]", "/ float(WIDTH)"),
    ("+ float(branch[base + i])", "- float(branch[base + i])"),
    ("total[base + i] = value", "total[base + i] = x[base + i]"),
    ("* float(weight[i])", "* float(weight[0])"),
]
ROTATION = [
    ("thread_position_in_grid.x", "thread_position_in_threadgroup.x + 1"),
    ("token / length", "token % rows"),
    ("token % length", "token / rows"),
    ("+ head) * WIDTH + pair", "+ head) * WIDTH + pair + 1"),
    ("joined[from + WIDTH / 2]", "joined[from + WIDTH / 2 - 1]"),
    ("head < HEADS + KV_HEADS)", "head < HEADS + 2 * KV_HEADS)"),
    ("start[row] + at", "start[row]"),
    ("start[row]", "start[0]"),
    ("x * c - y * s", "x * c + y * s"),
    ("y * c + x * s", "y * c - x * s"),
    ("if (head < HEADS) {", "if (head <= HEADS) {"),
    ("(head - HEADS) / KV_HEADS * rows + row", "(head - HEADS) / KV_HEADS + row"),
    ("(head - HEADS) % KV_HEADS", "0"),
    ("entries[to + WIDTH / 2] = high", "entries[to + WIDTH / 2] = low"),
]


def sound(kernel) -> bool:
    """Whether the checks of the kernels' own tests pass."""
    try:
        kernel()
    except (AssertionError, runner.RunnerError):
        return False
    return True


def norm():
    x, branch, weight = example(2, 600, mx.float32)
    x = x / 1000  # eps counts
    check(
        add_rms_norm(x, branch / 1000, weight, 1e-6, backend="metal"),
        x,
        branch / 1000,
        weight,
        1e-6,
    )


def rotation():
    x, start = joined(3, 2), mx.array([0, 90, 180])
    freqs = rope_freqs(CONFIGS["llama3"])
    made = [
        entries(Rotary(freqs, start, 3, 2, backend=backend)(x, HEADS, KV_HEADS))
        for backend in ("metal", "mlx")
    ]
    for kernel, twin in zip(*made, strict=True):
        np.testing.assert_allclose(np.array(kernel), np.array(twin), atol=1e-5)


@pytest.fixture(autouse=True)
def _fresh(schedules, monkeypatch):
    schedules(0, 1, 2)
    monkeypatch.setattr(dispatch, "_fitting", {})
    monkeypatch.setattr(dispatch, "_try", lambda _, wanted, *__: wanted)


def test_the_kernels_as_they_are_are_sound():
    assert sound(norm)
    assert sound(rotation)


@pytest.mark.parametrize(("before", "after"), NORM)
def test_a_fault_in_the_norm_is_found(monkeypatch, before, after):
    text = norm_source.SOURCE[True]
    assert before in text
    monkeypatch.setitem(norm_source.SOURCE, True, text.replace(before, after))
    assert not sound(norm)


@pytest.mark.parametrize(("before", "after"), ROTATION)
def test_a_fault_in_the_rotation_is_found(monkeypatch, before, after):
    assert before in rotary.SOURCE
    monkeypatch.setattr(rotary, "SOURCE", rotary.SOURCE.replace(before, after))
    assert not sound(rotation)
