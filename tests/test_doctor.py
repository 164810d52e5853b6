"""The doctor finds what is wrong, and says what it could not look at."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import doctor
from liquid_mlx.device import on_gpu
from liquid_mlx.doctor import STORED, Subject, examine, kernels, model, remember
from liquid_mlx.files import read_json


@pytest.fixture(scope="module")
def remembered(converted, tmp_path_factory):
    """A small model with what it draws on this machine's CPU."""
    folder = tmp_path_factory.mktemp("remembered")
    for file in converted("gemma_tiny").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    remember(folder)
    return folder


def test_a_machine_that_draws_as_the_makers_did_passes(remembered):
    found = [finding for finding, _ in examine(Subject(remembered))]
    failed = [finding for finding in found if finding.state == "failed"]
    assert not failed
    passed = {finding.name for finding in found if finding.state == "passed"}
    assert {"drawing", "decoding", "encoding", "answers", "a second thread"} <= passed
    skipped = {finding.group for finding in found if finding.state == "skipped"}
    assert skipped == {"links"} | (set() if on_gpu() else {"float32", "kernels"})


@pytest.mark.parametrize("broken", ["drawing", "decoding", "encoding", "answers"])
def test_other_codes_colours_and_answers_fail(remembered, copy_of, broken):
    folder = copy_of(remembered)
    stored = read_json(folder / STORED)
    for made in stored["drawn"]:
        if broken == "drawing":
            made["seed"] += 100
        elif broken == "decoding":
            made["colours"][0][0][0] += 9
        elif broken == "encoding":
            made["seen"] = (1 + np.array(made["seen"])).tolist()
    if broken == "answers":
        stored["answers"]["What shape is it?"] += "?"
    (folder / STORED).write_text(json.dumps(stored))
    found = {f.name: f.state for f in map(doctor.run, model.drawing(Subject(folder)))}
    assert found == {name: "failed" if name == broken else "passed" for name in found}


@pytest.mark.parametrize("missing", [True, False])
def test_codes_of_other_weights_are_not_compared(remembered, copy_of, missing):
    folder = copy_of(remembered)
    if missing:
        (folder / STORED).unlink()
    else:
        stored = read_json(folder / STORED)
        (folder / STORED).write_text(json.dumps({**stored, "weights": ["of another model"]}))
    found = [doctor.run(check) for check in model.drawing(Subject(folder))]
    assert {finding.state for finding in found} == {"skipped"}
    assert all(STORED in finding.detail for finding in found)


def test_rounded_products_are_found(monkeypatch, remembered):
    monkeypatch.setattr(kernels, "on_gpu", lambda: True)
    product, convolution = kernels.precision(Subject(remembered))
    assert doctor.run(product).state == doctor.run(convolution).state == "passed"
    calls = []
    matmul = mx.array.__matmul__

    def rounding(a, b):  # the first product, which would be the GPU's
        calls.append(1)
        return (
            matmul(a.astype(mx.bfloat16), b.astype(mx.bfloat16))
            if len(calls) == 1
            else matmul(a, b)
        )

    monkeypatch.setattr(mx.array, "__matmul__", rounding)
    found = doctor.run(product)
    assert found.state == "failed"
    assert "TF32" in found.detail


def test_a_check_that_breaks_is_a_finding(remembered):
    def burst() -> str:
        raise RuntimeError("[METAL] no\nsuch thing")

    found = doctor.run(doctor.Check("group", "name", burst))
    assert (found.state, found.detail) == ("failed", "RuntimeError: [METAL] no such thing")
