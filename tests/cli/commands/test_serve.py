"""``liquid serve`` as a process: it says where it is, answers, and ends when told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import LIQUID, Run
from tests.conftest import heed_interrupts


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and its address."""
    process = subprocess.Popen(
        [LIQUID, "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        assert process.stderr is not None
        timer = threading.Timer(60, process.kill)
        timer.start()
        line = process.stderr.readline()
        timer.cancel()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with started() as (process, url):
        with httpx.Client(base_url=url, verify=False, trust_env=False, timeout=60) as http:
            body = {"prompt": "a secret prompt, then this", "max_tokens": 2}
            assert http.post("/v1/completions", json=body).status_code == 200
            assert "<title>Liquid" in http.get("/").text
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
        assert process.returncode in (0, 128 + number, -number)
        assert out == ""
        assert "Traceback" not in errors
        assert "secret" not in errors
        assert "/v1/completions 200" in errors


def test_prompts_are_in_the_log_when_asked_for_and_cannot_drive_the_terminal() -> None:
    with started("--log-prompts") as (process, url):
        with httpx.Client(base_url=url, verify=False, trust_env=False, timeout=60) as http:
            http.post("/v1/completions", json={"prompt": "red\x1b[31m", "max_tokens": 1})
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert "prompt: 'red\\x1b[31m'" in errors
        assert "\x1b" not in errors


def test_other_machines_are_let_in_with_a_key_alone(run: Run, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        result = run("serve", "--host", host)
        assert result.exit_code == 2
        assert "--api-key" in result.stderr
    (tmp_path / "empty").write_text("\n")
    for arguments in (("--api-key-file", "empty"), ("--api-key", " ")):
        assert run("serve", *arguments).exit_code == 2
    assert run("serve", "--api-key-file", "none").exit_code == 1
    assert run("serve", "--api-key", "a", "--api-key-file", "empty").exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        "--timeout nan",
        "--grace inf",
        "--keep-alive nan",
        "--keep-alive -1",
        "--max-queue 99999999999999999999",
        "--api-key schlüssel",
        "--api-key a\x07b",
        f"--host {'ü' * 80} --api-key a",
    ],
)
def test_limits_keys_and_hosts_that_cannot_be(line: str, run: Run) -> None:
    result = run("serve", *line.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_key_is_read_from_a_file_alone(run: Run) -> None:
    os.mkfifo("pipe")
    for name, words in (("pipe", "regular"), ("/dev/zero", "regular"), ("~nobody-x/k", "home")):
        result = run("serve", "--api-key-file", name)
        assert result.exit_code == 1
        assert words in result.stderr


def test_a_port_in_use_and_a_model_that_is_not_there_end_the_start(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", taken.getsockname()[1])
    assert result.exit_code == 2
    assert "choose another" in result.stderr
    assert run("serve", "--model", "no-such-folder").exit_code == 1
    assert run("serve", "--model", "demo", "--model", "demo").exit_code == 2
    assert run("serve", "--adapter", "style").exit_code == 2
