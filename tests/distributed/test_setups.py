"""Whatever is wrong with a set-up: one sentence, and all processes end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributed.launch import LIQUID, ended, free_ports, started
from tests.distributed.links import Link
from tests.distributed.setups import DRAW, HERE_WAITS, PARTS, SETUPS, Setup, prepare

pytestmark = pytest.mark.slow  # processes wait for each other with cores at full load


@pytest.fixture
def folder(converted: Callable[..., Path], tmp_path: Path) -> Path:
    prepare(tmp_path, converted("llama_tiny"), converted("gemma_tiny"))
    return tmp_path


def ends(setup: Setup, folder: Path) -> None:
    with setup.started(folder) as processes:
        ranks = ended(processes)
    assert all(rank.code in (1, 2, -9) for rank in ranks), ranks
    said = ranks[0].err.replace("\n", " ")
    assert setup.says in said, ranks
    assert "Traceback" not in "".join(rank.err for rank in ranks)
    assert sum(line.startswith("liquid: ") for line in ranks[0].err.splitlines()) <= 1


@pytest.mark.parametrize("name", SETUPS)
def test_what_is_wrong_is_said_and_all_processes_end(name: str, folder: Path) -> None:
    ends(SETUPS[name], folder)


def test_a_port_that_another_program_has(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = taken.getsockname()[1], *free_ports(1)
        hosts = json.dumps([[f"127.0.0.1:{port}"] for port in ports])
        variables = {0: HERE_WAITS, 1: HERE_WAITS}
        setup = Setup("rank 0 (", [*DRAW, "MODEL"], variables=variables)
        (folder / "hosts.json").write_text(hosts)
        ends(setup, folder)


def test_a_link_that_breaks_on_the_way_ends_both_ranks(folder: Path) -> None:
    one, two = free_ports(2)
    with Link(two) as link:
        for rank, (first, second) in enumerate(((one, link.port), (one, two))):
            hosts = [[f"127.0.0.1:{first}"], [f"127.0.0.1:{second}"]]
            (folder / f"hosts-{rank}.json").write_text(json.dumps(hosts))
        files = [{"MLX_HOSTFILE": f"hosts-{rank}.json"} for rank in range(2)]
        many = ["--count", 1000, "--batch-size", 1, "-o", "{index}.png"]
        draw = [*LIQUID, *DRAW, folder / "model", *PARTS, *many]
        with started([draw] * 2, folder, files) as processes:
            end = time.monotonic() + 280
            while not (folder / "1.png").exists():
                assert time.monotonic() < end
                time.sleep(0.05)
            link.cut()
            ranks = ended(processes)
    assert [rank.code for rank in ranks] == [1, 1], ranks
    for rank in ranks:
        assert "Another process has ended or cannot be reached" in rank.err
        assert "Traceback" not in rank.err
