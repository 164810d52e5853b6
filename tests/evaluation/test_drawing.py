"""Prompt sets: official names, pictures that do not depend on interruptions, own judgement."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation import drawing
from liquid_mlx.evaluation.figures import Groups
from liquid_mlx.evaluation.prompt_sets import SETS, Task, keep_settings, read_set
from liquid_mlx.images import read_settings
from liquid_mlx.model import Liquid

NAMES = {
    "genai": ["00001.jpg", "00002.jpg", "00003.jpg"],
    "mjhq": ["animals/abc.png", "art/def.png"],
    "geneval": [
        *("00000/metadata.jsonl", "00000/samples/00000.png", "00000/samples/00001.png"),
        *("00001/metadata.jsonl", "00001/samples/00000.png", "00001/samples/00001.png"),
    ],
    "dpg": ["0.png", "partiprompts7.png"],
    "custom": ["00001-0.png", "00002-0.png", "00003-0.png"],
}
EACH = {"geneval": 2}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", SETS)
def test_files_are_named_as_the_scorer_of_a_set_wants(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path, name: str
) -> None:
    tasks = read_set(name, sets[name], EACH.get(name))
    assert not drawing.draw_set(tiny, tasks, tmp_path / "out")
    assert list(files(tmp_path / "out")) == sorted(NAMES[name])


def test_geneval_s_metadata_are_the_line_that_its_script_writes(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path
) -> None:
    drawing.draw_set(tiny, read_set("geneval", sets["geneval"], 1), tmp_path)
    rows = [json.loads(line) for line in sets["geneval"].read_text().splitlines()]
    for index, row in enumerate(rows):
        assert (tmp_path / f"{index:05}" / "metadata.jsonl").read_text() == json.dumps(row)
        settings = read_settings(tmp_path / f"{index:05}" / "samples" / "00000.png")
        assert settings["prompt"] == row["prompt"]


def test_four_pictures_of_a_dpg_prompt_share_a_file_two_a_row(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path
) -> None:
    drawing.draw_set(tiny, read_set("dpg", sets["dpg"]), tmp_path, seed=5)
    size = tiny.config.sizes[0]
    whole = np.asarray(Image.open(tmp_path / "partiprompts7.png"))
    assert whole.shape == (2 * size.height, 2 * size.width, 3)
    for j in range(4):
        (alone,) = tiny.generate_image("a blue star", seed=5 + 4 + j)
        y, x = j // 2 * size.height, j % 2 * size.width
        part = whole[y : y + size.height, x : x + size.width].astype(int)
        assert np.abs(part - np.asarray(alone.image)).max() <= 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["geneval", "custom"])
def test_killed_at_any_moment_and_shared_out_anew_a_set_becomes_the_same(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path, name: str
) -> None:
    tasks = read_set(name, sets[name], EACH.get(name))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    drawing.draw_set(tiny, tasks, whole, batch_size=2)
    rng = random.Random(name)
    for ranks in (1, 2, 3):  # killed once each, with another share of the tasks
        left = rng.randrange(1, 12)

        def stop(done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Killed

        with pytest.raises(Killed):
            drawing.draw_set(tiny, tasks[:: -1 if ranks == 3 else ranks], parts, batch_size=2,
                             progress=stop)  # fmt: skip
    for rank in range(2):
        drawing.draw_set(tiny, tasks[rank::2], parts, batch_size=4)
    assert files(parts).keys() == files(whole).keys()
    for path in whole.rglob("*.png"):
        pixels = [np.asarray(Image.open(p), int) for p in (path, parts / path.relative_to(whole))]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_what_is_drawn_is_not_drawn_again(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = read_set("custom", sets["custom"])
    drawing.draw_set(tiny, tasks, tmp_path / "out")
    monkeypatch.setattr(Liquid, "stream_images", None)
    assert drawing.draw_set(tiny, tasks, tmp_path / "out") == []


def test_a_prompt_that_is_too_long_fails_alone(tiny: Liquid, tmp_path: Path) -> None:
    long = "word " * tiny.config.backbone.max_position_embeddings
    (tmp_path / "prompts.txt").write_text(f"a dog\n{long}\na star\n")
    tasks = read_set("custom", tmp_path / "prompts.txt")
    failed = drawing.draw_set(tiny, tasks, tmp_path / "out")
    assert [task.index for task, _ in failed] == [1]
    assert list(files(tmp_path / "out")) == ["00001-0.png", "00003-0.png"]


def test_a_folder_begun_with_other_settings_is_refused(tmp_path: Path) -> None:
    keep_settings(tmp_path / "out", {"seed": 1, "model": "demo"})
    keep_settings(tmp_path / "out", {"seed": 1, "model": "demo"})
    with pytest.raises(FileError, match="begun with seed 1, not 2"):
        keep_settings(tmp_path / "out", {"seed": 2, "model": "demo"})


@pytest.mark.parametrize("name", ["..", "a/b", "", "/etc/x"])
def test_names_of_a_set_do_not_leave_its_folder(tmp_path: Path, name: str) -> None:
    file = tmp_path / "meta_data.json"
    for data in (
        {name: {"category": "a", "prompt": "b"}},
        {"x": {"category": name, "prompt": "b"}},
    ):
        file.write_text(json.dumps(data))
        with pytest.raises(FileError, match="not the name of a file"):
            read_set("mjhq", file)


@pytest.mark.parametrize("name", SETS)
def test_what_is_no_set_of_prompts_ends_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "odd").write_text("" if name in ("genai", "custom") else "[]")
    for path in (tmp_path / "odd", tmp_path / "missing"):
        with pytest.raises(FileError):
            read_set(name, path)


def judged(liquid: Liquid, tasks: list[Task], folder: Path) -> Groups:
    rows = [row for _, row in drawing.judge(liquid, list(enumerate(tasks)), folder)]
    return drawing.judged(tasks, rows).exact()


def test_a_model_judges_its_pictures_by_choice_and_by_likelihood(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path
) -> None:
    tasks = read_set("genai", sets["genai"])
    drawing.draw_set(tiny, tasks, tmp_path / "out")
    figures = judged(tiny, tasks, tmp_path / "out")
    shares, likelihoods = [], []
    for task in tasks:
        path = tmp_path / "out" / task.files[0]
        shares.append(tiny.choose(path, drawing.QUESTION.format(task.prompt), ["Yes", "No"])["Yes"])
        shared, rest = tiny.prompts.caption(tiny.encode(path))
        reply = tiny.prompts.reply(task.prompt)
        total = 0.0
        ids = [*shared, *rest]
        for token in [*reply, None]:
            logits = np.array(tiny.logits(ids)[-1])[: tiny.config.image_offset].astype(float)
            logs = logits - np.logaddexp.reduce(logits)
            stop = sorted(tiny.engine.stop)
            total += np.logaddexp.reduce(logs[stop]) if token is None else logs[token]
            ids.append(token or 0)
        likelihoods.append(total / (len(reply) + 1))
    assert figures["all"]["yes"] == pytest.approx(np.mean(shares), rel=1e-5)
    assert figures["all"]["log_likelihood"] == pytest.approx(np.mean(likelihoods), rel=1e-4)
    assert figures["counting"]["yes"] == pytest.approx(shares[1], rel=1e-5)
    assert figures["basic"] == figures["all"]


def test_a_prompt_s_best_picture_counts_for_best_yes(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path
) -> None:
    tasks = read_set("dpg", sets["dpg"])[:1]
    drawing.draw_set(tiny, tasks, tmp_path / "out")
    found = judged(tiny, tasks, tmp_path / "out")["all"]
    assert found["best_yes"] is not None
    assert found["yes"] is not None
    assert found["best_yes"] > found["yes"]


def test_judging_what_is_not_drawn_names_the_picture(
    tiny: Liquid, sets: dict[str, Path], tmp_path: Path
) -> None:
    tasks = read_set("genai", sets["genai"])
    drawing.draw_set(tiny, tasks, tmp_path / "out")
    (tmp_path / "out/00002.jpg").unlink()
    shutil.rmtree(tmp_path / "sets")
    with pytest.raises(Exception, match=re.escape("00002.jpg")):
        judged(tiny, tasks, tmp_path / "out")
