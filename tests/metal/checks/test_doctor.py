"""The doctor's look at the kernels: it passes them, and finds what is broken in them."""

from __future__ import annotations

import warnings

import mlx.core as mx
import pytest

from liquid_mlx import doctor
from liquid_mlx.doctor import Subject, kernels
from liquid_mlx.kernels import (
    dispatch,
    group_norm_source,
    norm_source,
    rotary,
    sampler_source,
)


@pytest.fixture
def subject(schedules, monkeypatch, tmp_path):
    monkeypatch.setattr(dispatch, "_fitting", {})
    return Subject(tmp_path, backend="metal", codes=(64,), width=48, channels=64)


def findings(subject):
    """Of one dtype: each text takes a second to compile."""
    checks = kernels.kernels(subject)
    assert len(checks) == 12
    found = [doctor.run(check) for check in checks if check.name.endswith("bfloat16")]
    return {finding.name: finding for finding in found}


def test_the_kernels_pass_and_their_threads_are_named(subject):
    found = findings(subject)
    assert {finding.state for finding in found.values()} == {"passed"}
    assert "sample [64] mlx.core.bfloat16 guided 32" in found["sampler, bfloat16"].detail


def changed(monkeypatch, module, name, before, after):
    text = getattr(module, name)
    assert before in text
    monkeypatch.setattr(module, name, text.replace(before, after))


def test_wrong_kernels_fail(subject, monkeypatch):
    changed(monkeypatch, sampler_source, "HELD_HEADER", "s > score ||", "s < score ||")
    changed(monkeypatch, group_norm_source, "APPLY", "+ factors[at + 1]", "")
    monkeypatch.setitem(
        norm_source.SOURCE, True, norm_source.SOURCE[True].replace("float(WIDTH)", "128.0f")
    )
    changed(monkeypatch, rotary, "SOURCE", "y * c", "y * s")
    assert {finding.state for finding in findings(subject).values()} == {"failed"}


def test_a_kernel_that_cannot_run_fails_though_its_twin_is_right(subject, monkeypatch):
    def refuse(**_made):
        def run(**_called):
            raise RuntimeError("[metal] Unable to build metal library from source")

        return run

    monkeypatch.setattr(mx.fast, "metal_kernel", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = findings(subject)
    assert {finding.state for finding in found.values()} == {"failed"}
    assert all("plain MLX does the work" in finding.detail for finding in found.values())
