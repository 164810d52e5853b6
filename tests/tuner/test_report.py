"""Logs, curves and strips of previews."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from liquid_mlx.tuner.report import CELL, Log, curve, strip
from liquid_mlx.tuner.trainer import Step


def step(number, loss=1.0, **values):
    own = {"code_loss": loss, "text_loss": None, "tokens": 5, "targets": 3}
    return Step(number, loss, **{**own, "learning_rate": 0.1, "grad_norm": 1.0, **values})


def test_a_resumed_log_goes_on_behind_its_own_step(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for number in range(1, 6):
        log.step(step(number), 0.1)
    log.validation(4, (None, 2.0))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # killed while it wrote
    again = Log(tmp_path / "log.jsonl", 3)
    again.step(step(4), 0.1)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert Log(tmp_path / "log.jsonl").rows == []


def test_the_curve_falls_where_the_loss_does(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for number in range(1, 101):
        log.step(step(number, 5 - number / 25), 0.1)
    curve(tmp_path / "loss.png", log.rows)
    pixels = np.asarray(Image.open(tmp_path / "loss.png")).astype(int)
    line = np.abs(pixels - (31, 119, 180)).sum(-1) < 30
    heights = [np.flatnonzero(line[:, x]).mean() for x in (60, 400, 740)]
    assert heights[0] < heights[1] < heights[2]
    curve(tmp_path / "empty.png", [])
    assert Image.open(tmp_path / "empty.png").size == (800, 400)


def test_a_strip_has_a_row_for_each_step_and_a_column_for_each_prompt(tmp_path):
    files = []
    for i, colour in enumerate(("red", "blue", "lime", "black")):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (300, 200), colour).save(files[-1])
    strip(tmp_path / "s.png", ["one", "zwei ü 中"], [(0, files[:2]), (50, files[2:])])
    sheet = Image.open(tmp_path / "s.png")
    assert sheet.size == (64 + 2 * (CELL + 4), 16 + 2 * (CELL + 4))
    centres = [
        sheet.getpixel((64 + column * (CELL + 4) + 40, 16 + row * (CELL + 4) + 40))
        for row in range(2)
        for column in range(2)
    ]
    assert centres == [(255, 0, 0), (0, 0, 255), (0, 255, 0), (0, 0, 0)]
    strip(tmp_path / "long.png", ["one"], [(i, files[:1]) for i in range(100)])
    assert Image.open(tmp_path / "long.png").height < 30 * CELL
