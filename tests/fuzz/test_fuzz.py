"""The short part of the fuzz, the same every time; ``python -m tests.fuzz`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import kills, worker
from tests.fuzz.__main__ import fuzz
from tests.fuzz.surfaces import SURFACES
from tests.fuzz.world import build

COUNT = 120


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build(folder)
    return folder


def test_hostile_inputs_end_in_a_result_or_a_sentence(world: Path) -> None:
    found = list(fuzz(world, seed=0, start=0, stop=COUNT, seconds=120))
    assert [finding for _, _, finding in found if finding] == []
    assert len(found) == COUNT
    assert {surface for surface, _, _ in found} == set(SURFACES)
    assert {0, 1, 2} <= {code for _, code, _ in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["convert", "generate", "ask", "finetune", "evaluate", "draw", "serve"]
)
def test_killed_at_random_moments(world: Path, name: str) -> None:
    killed = [kills.kill(world, name, seed) for seed in range(4)]
    assert any(killed)


@pytest.mark.parametrize(
    ("code", "out", "errors", "words"),
    [
        (0, "a\tb\nrésumé 红", "drawn\n", ""),
        (1, "", "liquid: It broke.\n", ""),
        (2, "", "Usage: liquid\n\nError: Give a prompt.\n", ""),
        (1, "", "", "no sentence"),
        (1, "", "it broke\n", "no sentence"),
        (2, "", "liquid: It broke.\n", "no sentence"),
        (-11, "", "", "exit code -11"),
        (134, "", "", "exit code 134"),
        (1, "", "Traceback (most recent call last):\n", "Traceback"),
        (0, "\x1b[31m", "", "control"),
        (0, "", "\x9b", "control"),
        (0, "\u202e", "", "control"),
        (0, "\u2028", "", "control"),
        (1, "", f"liquid: {'x' * 600}\n", "608 characters"),
    ],
)
def test_the_limits_are_seen(code: int, out: str, errors: str, words: str) -> None:
    problem = worker.judge(code, out, errors)
    assert words in problem
    assert bool(problem) == bool(words)


def test_a_case_depends_on_nothing_but_its_seed_and_number(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = worker.World.of(world)
    made = []
    for again in ("one", "two"):
        (tmp_path / again).mkdir()
        monkeypatch.chdir(tmp_path / again)
        surface, case = worker.make(places, 3, 5)
        files = {p.name: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
        made.append((surface, case.argv, case.stdin, files))
    assert made[0] == made[1]
