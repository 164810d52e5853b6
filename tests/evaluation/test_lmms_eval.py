"""lmms-eval's model class, through the harness's own registry and evaluator; skipped without it."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.errors import PromptError
from liquid_mlx.model import Liquid

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports
TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_visual: !function pictures.of
doc_to_text: "question"
doc_to_target: "answer"
generation_kwargs: {max_new_tokens: 6}
process_results: !function pictures.same
metric_list: [{metric: same, aggregation: mean, higher_is_better: true}]
"""
PICTURES = """
from PIL import Image

def of(doc):
    return [Image.new("RGB", (32, 32), doc["colour"])]

def same(doc, results):
    return {"same": float(results[0] == doc["answer"])}
"""
COLOURS = ("red", "blue", "green")


@pytest.fixture
def model(tiny: Liquid) -> Any:
    pytest.importorskip("lmms_eval")
    from liquid_mlx.evaluation.lmms_eval_model import LiquidLMM

    return LiquidLMM(tiny)


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (32, 32), colour)


def asked(model: Any, *args: Any, pictures: int = 1) -> SimpleNamespace:
    model.task_dict = {"t": {"test": [{"colour": colour} for colour in COLOURS]}}
    shown = (lambda doc: [picture(doc["colour"])] * pictures) if pictures else None
    return SimpleNamespace(args=(*args, shown, 1, "t", "test"))


def test_the_harness_is_told_of_the_model() -> None:
    (found,) = entry_points(group="lmms_eval.models", name="liquid")
    assert found.value == "liquid_mlx.evaluation:lmms_eval_manifest"


def test_the_registry_finds_the_class_by_name(model: Any) -> None:
    from lmms_eval.models import get_model

    assert get_model("liquid") is type(model)


def test_answers_are_those_of_the_library(model: Any, tiny: Liquid) -> None:
    settings = {"max_new_tokens": 5}
    with_picture, without = model.generate_until(
        [asked(model, "What is it?", settings), asked(model, "Hello", settings, pictures=0)]
    )
    assert with_picture == tiny.answer(picture("blue"), "What is it?", max_tokens=5).strip()
    said = tiny.chat([{"role": "user", "content": "Hello"}], max_tokens=5)
    assert without == said.strip()


def test_answers_stop_where_the_task_says(model: Any) -> None:
    (whole,) = model.generate_until([asked(model, "What?", {"max_new_tokens": 8})])
    middle = whole[len(whole) // 2]
    (cut,) = model.generate_until([asked(model, "What?", {"max_new_tokens": 8, "until": [middle]})])
    assert cut == whole.split(middle)[0].strip()


def test_likelihoods_are_those_of_the_library(model: Any, tiny: Liquid) -> None:
    ((score, greedy),) = model.loglikelihood([asked(model, "What is it?", "red")])
    assert score == pytest.approx(tiny.score(picture("blue"), "What is it?", "red"), abs=1e-6)
    own = tiny.answer(picture("blue"), "What is it?").strip()
    assert greedy == (own == "red")


def test_two_pictures_at_once_end_in_a_sentence(model: Any) -> None:
    with pytest.raises(PromptError, match="2 pictures"):
        model.generate_until([asked(model, "Which is larger?", {}, pictures=2)])


def test_a_local_task_runs_end_to_end(model: Any, tiny: Liquid, tmp_path: Path) -> None:
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    question = "What colour is it?"
    right = [tiny.answer(picture(c), question, max_tokens=6).strip() for c in COLOURS]
    rows = [
        {"question": question, "colour": colour, "answer": text if i else "something else"}
        for i, (colour, text) in enumerate(zip(COLOURS, right, strict=True))
    ]
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "colours.yaml").write_text(TASK.replace("DATA", str(data)))
    (tmp_path / "pictures.py").write_text(PICTURES)
    found = simple_evaluate(
        model=model,
        tasks=["colours"],
        task_manager=TaskManager("INFO", include_path=str(tmp_path)),
        bootstrap_iters=0,
        batch_size=1,
        cli_args=SimpleNamespace(process_with_media=True, output_path=None, predict_only=False),
    )
    same = {k: v for k, v in found["results"]["colours"].items() if k.startswith("same,")}
    assert np.isclose(next(iter(same.values())), 2 / 3)
