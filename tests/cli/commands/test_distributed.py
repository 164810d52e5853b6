"""``liquid distributed``: what fits several machines, and what the prediction rests on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Run

SMALL = ("--host", "mini1.local=M4,16", "--host", "mini2.local=M4,16")


def planned(run: Run, *arguments: object) -> dict[str, Any]:
    done = run("distributed", *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def way(found: dict[str, Any], name: str, width: str = "bfloat16") -> dict[str, Any]:
    (one,) = [one for one in found["ways"] if (one["way"], one["width"]) == (name, width)]
    return dict(one)


def test_two_small_machines_hold_in_16_bits_what_neither_holds_alone(run: Run) -> None:
    found = planned(run, *SMALL)
    assert not way(found, "data parallel")["fits"]
    split = way(found, "tensor parallel")
    assert split["fits"]
    assert split["gb"] == [pytest.approx(17.1 / 2 + 0.05 + 1.5, abs=0.1)] * 2
    assert split["sums"] == 2 * 28 + 2
    assert split["exchanging"] == pytest.approx(1024 * 58 * 50e-6, rel=0.1)
    line = way(found, "pipeline parallel")
    assert line["fits"]
    assert line["options"] == "--pipeline-parallel 14,14"
    assert line["seconds"] > split["seconds"]


def test_a_slow_link_turns_the_choice(run: Run) -> None:
    slow = planned(run, *SMALL, "--latency", 2000)
    fast = planned(run, *SMALL, "--latency", 5)
    for found, better in ((slow, "pipeline parallel"), (fast, "tensor parallel")):
        fitting = [one for one in found["ways"] if one["fits"] and one["width"] == "bfloat16"]
        assert fitting[0]["way"] == better


def test_unlike_machines_get_unlike_shares_and_odd_numbers_no_heads(run: Run) -> None:
    found = planned(run, *SMALL, "--host", "studio=M4 Max (40-core GPU),64")
    assert not [one for one in found["ways"] if one["way"] == "tensor parallel"]
    shares = [int(n) for n in way(found, "pipeline parallel")["options"].split()[1].split(",")]
    assert sum(shares) == 28
    assert shares[0] == shares[1] < shares[2]


def test_the_table_shows_assumptions_and_the_commands(run: Run) -> None:
    done = run("distributed", *SMALL, "--latency", 80, "--bandwidth", 2)
    assert "This is a prediction, not a measurement" in done.stdout
    assert "80 us" in done.stdout
    assert "2.0 GB/s" in done.stdout
    assert "mlx.distributed_config --hosts mini1.local,mini2.local" in done.stdout
    assert "mlx.launch --hostfile hosts.json -- liquid generate" in done.stdout
    assert "Nothing fits" in run("distributed", "--host", "a=M1,4").stdout


@pytest.mark.parametrize(
    "text", ["mini", "mini=M4", "mini=M9,16", "=M4,16", "mini=M4,-1", "a=1,nan"]
)
def test_what_is_no_machine_is_told(text: str, run: Run) -> None:
    done = run("distributed", "--host", text)
    assert done.exit_code == 1
    assert "is no machine: write NAME=CHIP,GB" in done.stderr


def test_links_are_measured_between_processes(run: Run) -> None:
    assert run("distributed").exit_code == 2
    assert run("distributed", *SMALL, "--measure").exit_code == 2
    done = run("distributed", "--measure")
    assert done.exit_code == 2
    assert "mlx.launch" in done.output


def test_one_model_needs_a_launcher(run: Run) -> None:
    for option in (["--tensor-parallel"], ["--pipeline-parallel", "1,2"]):
        done = run("generate", "a", *option)
        assert done.exit_code == 2
        assert "mlx.launch" in done.output
