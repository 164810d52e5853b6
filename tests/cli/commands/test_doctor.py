"""``liquid doctor``: a report to paste, JSON, and an exit code."""

from __future__ import annotations

import json

import pytest

from liquid_mlx.doctor import Check, WrongError, report


def found() -> str:
    return "as it should be"


def wrong() -> str:
    raise WrongError("not \x1b[31mas it should be")


@pytest.fixture
def groups(monkeypatch):
    """Two checks instead of all: one passes, one fails."""
    checks = [Check("links", "here", found), Check("links", "there", wrong)]
    monkeypatch.setattr(report, "GROUPS", (lambda subject: checks,))
    return checks


def test_the_report_names_machine_findings_and_sum(run, groups):
    result = run("doctor")
    assert result.exit_code == 1
    for part in (
        "machine ",
        "MLX ",
        "\nlinks\n",
        "passed   here: as it",
        "1 passed, 1 failed, 0 skipped",
    ):
        assert part in result.stdout
    assert "\x1b" not in result.stdout
    groups.pop()
    assert run("doctor", "--quiet").exit_code == 0


def test_json_holds_every_finding(run, groups):
    result = run("doctor", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["passed"], report["failed"], report["skipped"]) == (1, 1, 0)
    assert [check["state"] for check in report["checks"]] == ["passed", "failed"]


@pytest.mark.slow
def test_the_bundled_model_passes_here(run):
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    assert [check for check in report["checks"] if check["state"] == "failed"] == []
    assert report["passed"] >= 3  # what is stored may wait to be made again for a new model
