"""How processes learn that they are several, and what they tell each other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from liquid_mlx.distributed.ranks import Team, join, launched, own_rank
from liquid_mlx.errors import DistributedError, PromptError
from tests.distributed.launch import ROOT, environment, liquid


class Fake(Team):
    """One of several processes, whose others say what they are given to say."""

    def __init__(self, rank: int, others: dict[int, Any]):
        super().__init__()
        self.rank, self.size, self._others = rank, len(others) + 1, others

    def gather(self, value: Any) -> list[Any]:
        every = {**self._others, self.rank: value}
        return [json.loads(json.dumps(every[rank])) for rank in range(self.size)]


def report(problem: str = "", found: Sequence[Any] = (), **facts: str) -> dict[str, Any]:
    return {"host": "mini2", "problem": problem, "facts": facts, "found": found}


def squares(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for i, number in pairs:
        yield i, number**2


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, (False, None)),
        ({"MLX_RANK": "1"}, (True, 1)),
        ({"MLX_RANK": "x"}, (True, 0)),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"}, (True, 2)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, (False, 0)),
        ({"MLX_RANK": "0", "MLX_HOSTFILE": "blank"}, (False, 0)),  # mlx.launch -n 1
        ({"MLX_RANK": "0", "MLX_HOSTFILE": "nowhere"}, (True, 0)),
    ],
)
def test_the_launcher_is_known_by_its_variables(
    variables: dict[str, str],
    found: tuple[bool, int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MLX_RANK", "MLX_HOSTFILE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("blank").write_text("\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (launched(), own_rank()) == found
    if not launched():
        assert join().size == 1


def test_a_process_alone_yields_as_it_works_and_raises_its_own_errors() -> None:
    team = Team()
    assert team.first
    assert team.gather({"a": 1}) == [{"a": 1}]
    assert team.anywhere([True, False]) == [True, False]
    results = team.each([1, 2, 3], squares)
    assert next(results) == 1
    assert list(results) == [4, 9]
    with pytest.raises(PromptError, match=r"^empty$"), team.together(version="1"):
        raise PromptError("empty")


def test_rank_0_puts_the_shares_together_in_order() -> None:
    second = report(found=[[1, "b"], [1, "bb"], [3, "d"]])
    first = Fake(0, {1: second})
    assert list(first.each(["a", "b", "c", "d"], lambda pairs: pairs)) == ["a", "b", "bb", "c", "d"]
    other = Fake(1, {0: report(found=[])})
    assert list(other.each(["a", "b"], lambda pairs: pairs)) == []


def test_a_rank_that_fails_is_named_and_the_others_work_is_kept() -> None:
    team = Fake(0, {1: report("the disk is full.", [[1, 4]]), 2: report(found=[[2, 9]])})
    results = team.each([1, 2, 3], squares)
    assert [next(results) for _ in range(3)] == [1, 4, 9]
    with pytest.raises(DistributedError, match=r"^rank 1 \(mini2\): the disk is full\. What"):
        next(results)


def test_what_fails_on_one_rank_fails_on_all() -> None:
    team = Fake(0, {1: report("no model.")})
    expected = r"^rank 1 \(mini2\): no model\.$"
    with pytest.raises(DistributedError, match=expected) as caught, team.together():
        pass
    assert caught.value.shared
    team = Fake(0, {1: report(version="2")})
    expected = r"rank 1 \(mini2\) has version 2, rank 0 1"
    with pytest.raises(DistributedError, match=expected), team.together(version="1"):
        pass
    with Fake(0, {1: report(version="1")}).together(version="1"):
        pass


def test_what_is_on_one_rank_is_known_to_all() -> None:
    assert Fake(0, {1: [False, True, False]}).anywhere([True, False, False]) == [True, True, False]
    assert Fake(1, {0: [4, 5]}).from_first([6]) == [4, 5]


def test_one_model_is_worked_with_by_all_ranks() -> None:
    team = Team(one_model=True)
    team.size = 2
    assert not team.shares_work
    assert list(team.each([1, 2], squares)) == [1, 4]


def test_mlx_launch_starts_processes_that_meet(tmp_path: Path) -> None:
    code = (
        "from liquid_mlx.distributed.ranks import join; from liquid_mlx.distributed.links import "
        "measure; team = join(); links = measure(team.group, hidden=64, inner=64); "
        "assert links.latency >= 0 and links.ranks == 2; "
        "assert links.alone > 0 and links.bandwidth > 0; "
        "print(team.gather('x' * 3000 * team.rank)[1] == 'x' * 3000)"
    )
    launch = Path(sys.executable).with_name("mlx.launch")
    variables = environment(0, tmp_path / "unused")
    del variables["MLX_RANK"], variables["MLX_HOSTFILE"]
    done = subprocess.run(
        [launch, "-n", "2", "--backend", "ring", "--", sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=variables,
        check=False,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.slow
def test_the_doctor_times_the_links(tmp_path: Path) -> None:
    first, second = liquid(2, "doctor", "--json", folder=tmp_path)
    assert (first.code, second.code, second.out) == (0, 0, ""), (first, second)
    checks = json.loads(first.out)["checks"]
    (found,) = [check for check in checks if check["group"] == "links"]
    assert found["state"] == "passed"
    assert found["detail"].startswith("2 processes, ")
