"""Windows draw the very codes that come out one at a time, and "auto" measures once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.errors import SettingsError
from liquid_mlx.generation import autotune as windows
from liquid_mlx.results import CodesStep

PROMPT = "a red circle"
WINDOWS = (2, 3, 4, 8)


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny"), dtype="float32")


def draw(liquid, **settings):
    """Codes [count, total], and after which positions a step was yielded."""
    steps = list(liquid.stream_image(PROMPT, **settings))
    return steps[-1].step.codes, [step.position for step in steps]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "settings",
    [
        {"guidance": 3.0, "temperature": 1.0, "top_k": 0, "top_p": 0.9},
        {"guidance": 1.0, "temperature": 0.5, "top_k": 20, "top_p": 1.0},
        {"guidance": 7.0, "temperature": 0.0},
    ],
)
def test_a_window_draws_the_codes_of_one_at_a_time(liquid, window, settings):
    for seed in range(4):
        single, _ = draw(liquid, seed=seed, **settings)
        several, positions = draw(liquid, seed=seed, window=window, **settings)
        np.testing.assert_array_equal(several, single)
        assert positions[-1] == single.size
        assert all(0 < b - a <= window for a, b in zip([0, *positions], positions, strict=False))


def test_a_window_draws_several_pictures_at_once(liquid):
    settings = {"count": 3, "seed": 5, "temperature": 0.7}
    np.testing.assert_array_equal(
        draw(liquid, **settings)[0], draw(liquid, window=4, **settings)[0]
    )


def test_a_window_takes_fewer_steps_where_drafts_come_true(liquid):
    # nearly greedy, so that the draw of a later position is often known before its neighbour
    single, one_by_one = draw(liquid, seed=0, temperature=0.01, guidance=1.0)
    several, positions = draw(liquid, seed=0, temperature=0.01, guidance=1.0, window=4)
    np.testing.assert_array_equal(several, single)
    assert len(positions) <= len(one_by_one)


@pytest.mark.parametrize("window", [0, -1, 9, 2.5, "fast"])
def test_windows_out_of_range_are_refused(liquid, window):
    with pytest.raises(SettingsError, match="window"):
        liquid.stream_image(PROMPT, window=window)


def timed_trial(monkeypatch, seconds):
    """A trial whose every step takes ``seconds[window]`` of a clock that the test owns."""
    clock = [0.0]
    monkeypatch.setattr(windows.time, "perf_counter", lambda: clock[0])

    def trial(window):
        for position in range(window, 200, window):
            clock[0] += seconds[window]
            yield CodesStep(position, 200, [])

    return trial


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 1.2, 3: 1.3, 4: 1.5, 8: 4.0}, 4),
        ({1: 1.0, 2: 2.1, 3: 3.2, 4: 4.3, 8: 9.0}, 1),
        ({1: 1.0, 2: 1.95, 3: 3.2, 4: 4.3, 8: 9.0}, 1),  # 2.5 % is not worth it
    ],
)
def test_auto_takes_the_window_with_most_codes_a_second(monkeypatch, seconds, best):
    assert windows.fastest(timed_trial(monkeypatch, seconds)) == best


def test_auto_measures_once_per_machine_and_model(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trials = []

    def trial(window):
        trials.append(window)
        return iter([CodesStep(1, 100, []), CodesStep(60, 100, [])])

    first = windows.chosen("auto", "model a", trial)
    assert trials == list(windows.WINDOWS)
    assert windows.chosen("auto", "model a", trial) == first
    assert len(trials) == len(windows.WINDOWS)
    windows.chosen("auto", "model b", trial)
    assert len(trials) == 2 * len(windows.WINDOWS)


def test_a_damaged_memory_of_windows_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "liquid-mlx" / "windows.json"
    file.parent.mkdir()
    for damage in ("{", "[1]", '{"x": 1}', "null", ""):
        file.write_text(damage)
        assert windows.remembered("key", lambda: 4) == 4
        assert windows.remembered("key", lambda: 2) == 4
    name = next(iter(json.loads(file.read_text())))
    file.write_text(json.dumps({name: 99}))
    assert windows.remembered("key", lambda: 3) in windows.WINDOWS


def test_auto_draws_the_same_picture(liquid, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    single, _ = draw(liquid, seed=9)
    np.testing.assert_array_equal(draw(liquid, seed=9, window="auto")[0], single)
    assert (tmp_path / "liquid-mlx" / "windows.json").exists()
