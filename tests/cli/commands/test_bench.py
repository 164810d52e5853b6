"""``liquid bench``: measurements that hang together, and predictions that say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liquid_mlx import load
from liquid_mlx.cli.bench.measure import share, text_seconds
from liquid_mlx.cli.bench.predict import official, predict, read_data

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def plan():
    data = read_data()
    return predict(official(data), data)


def test_the_plan_says_that_it_is_a_prediction(run, monkeypatch):
    monkeypatch.delenv("LIQUID_MODEL", raising=False)
    text = run("bench", "--plan").stdout
    assert "prediction, not a measurement" in text
    assert "This is a prediction" in text.splitlines()[-1]  # the table is long
    assert "Liquid 7B" in text
    for chip in ("M1 ", "M4 Pro", "M5 Max"):
        assert chip in text
    assert json.loads(run("bench", "--plan", "--json").stdout)["prediction"] is True


def test_every_chip_has_a_bandwidth_and_a_source():
    chips = read_data()["chips"]
    assert len({chip["chip"] for chip in chips}) == len(chips) >= 20
    for chip in chips:
        assert 60 < chip["gb_per_s"] < 2000
        assert chip["source"].startswith("https://")


def test_the_official_models_bytes_are_right(plan):
    # 7.751 G parameters in the body at 4.5 bits, 8192 rows of the head, 0.5 GB of keys and values
    assert plan["step_gb"]["4 bits"] == pytest.approx(4.36 + 0.027 + 0.49, abs=0.02)
    assert plan["weights_gb"]["bfloat16"] == pytest.approx(17.13, abs=0.01)
    # 1024 steps at all of an M1's bandwidth take 73 s
    fastest, slowest = plan["chips"][0]["seconds"]["4 bits"]
    assert fastest * plan["efficiency"][1] == pytest.approx(73, abs=1)
    assert slowest * plan["efficiency"][0] == pytest.approx(73, abs=1)


def test_more_bandwidth_and_fewer_bits_are_faster(plan):
    for chip in plan["chips"]:
        fastest = [seconds[0] for seconds in chip["seconds"].values() if seconds]
        assert fastest == sorted(fastest)
        four = chip["seconds"]["4 bits"][0]
        assert four * chip["gb_per_s"] == pytest.approx(
            plan["chips"][0]["seconds"]["4 bits"][0] * plan["chips"][0]["gb_per_s"], rel=0.02
        )


def test_what_no_machine_with_a_chip_can_hold_stays_empty(plan, run):
    seconds = {chip["chip"]: chip["seconds"] for chip in plan["chips"]}
    assert seconds["M1"]["bfloat16"] is None  # 17 GB of weights, 16 GB of memory
    assert seconds["M1"]["4 bits"]
    assert seconds["M4 Max (40-core GPU)"]["bfloat16"]
    (row,) = [
        line
        for line in run("bench", "--plan").stdout.splitlines()
        if line.startswith("M1 ")
        and "M1 P" not in line
        and "M1 M" not in line
        and "M1 U" not in line
    ]
    assert len(row.split()) == 3 + 3  # name, GB/s, GB, and three of four widths


def test_one_line_to_share_holds_what_was_measured():
    r = {
        "machine": "Apple M9 | Max",
        "memory_bytes": 51e9,
        "copy_bytes_per_second": 4e11,
        "model": "liquid-7b-4bit",
        "dtype": "bfloat16",
        "step_seconds": {2: 0.0131},
        "percent_of_bound": 93.1,
        "picture_seconds": 14.2,
    }
    cells = [cell.strip() for cell in share(r).strip("|").split("|")]
    table = (DOCS / "speed.md").read_text().split("| machine | memory |")[1].splitlines()[0]
    assert len(cells) == 2 + table.strip(" |").count("|") + 1
    assert cells[:5] == ["Apple M9 / Max", "51 GB", "400 GB/s", "liquid-7b-4bit", "bfloat16"]
    assert cells[5:8] == ["13.10 ms", "93 %", "14.2 s"]


def test_sharing_a_prediction_is_refused(run):
    for other in ("--plan", "--json"):
        result = run("bench", "--share", other)
        assert result.exit_code == 2
        assert "cannot be combined" in result.stderr


def test_a_plan_of_a_converted_model_reads_its_config_alone(run, converted, tmp_path):
    (tmp_path / "config.json").write_text((converted("gemma_tiny") / "config.json").read_text())
    assert "Seconds per image of" in run("bench", "--plan", "--model", tmp_path).stdout


def test_an_answers_speed_is_that_of_its_own_steps(converted, monkeypatch):
    """Not what is left of a longer time: that was once less than nothing."""
    liquid = load(converted("gemma_tiny"), dtype="float32")
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    assert text_seconds(liquid, 8) == (1.0, 1 / 31)


@pytest.mark.slow
def test_a_measurement_hangs_together(run, converted):
    folder = converted("gemma_tiny")
    result = run("bench", "--model", folder, "--json", "--dtype", "float32")
    assert result.exit_code == 0, result.stderr
    r = json.loads(result.stdout)
    assert r["model"] == str(folder)
    assert r["dtype"] == "float32"
    assert set(r["step_seconds"]) == {"1", "2", "4", "8"}
    for value in (*r["step_seconds"].values(), r["sampler_seconds"], r["decoder_seconds"]):
        assert 0 < value < 60
    for rate in ("prefill_tokens_per_second", "answer_tokens_per_second", "percent_of_bound"):
        assert r[rate] > 0
    assert r["picture_was_drawn"]
    assert r["peak_bytes"] > r["step_weight_bytes"] > 1000
    text = run("bench", "--model", folder).stdout
    for word in ("memory bandwidth", "of the bound", "tokens/s", "peak memory", "batch 8"):
        assert word in text
