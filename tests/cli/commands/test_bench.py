"""``liquid bench``: measurements that hang together, and predictions that say what they are."""

from __future__ import annotations

import json

import pytest

from liquid_mlx.cli.bench.predict import official, predict, read_data


@pytest.fixture(scope="module")
def plan():
    data = read_data()
    return predict(official(data), data)


def test_the_plan_says_that_it_is_a_prediction(run, monkeypatch):
    monkeypatch.delenv("LIQUID_MODEL", raising=False)
    text = run("bench", "--plan").stdout
    assert "prediction, not a measurement" in text
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
        four, six, eight, half = (chip["seconds"][bits][0] for bits in plan["step_gb"])
        assert four < six < eight < half
        assert four * chip["gb_per_s"] == pytest.approx(
            plan["chips"][0]["seconds"]["4 bits"][0] * plan["chips"][0]["gb_per_s"], rel=0.02
        )


def test_a_plan_of_a_converted_model_reads_its_config_alone(run, converted, tmp_path):
    (tmp_path / "config.json").write_text((converted("gemma_tiny") / "config.json").read_text())
    assert "Seconds per image of" in run("bench", "--plan", "--model", tmp_path).stdout


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
