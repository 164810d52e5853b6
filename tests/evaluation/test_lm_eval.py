"""lm-eval through its own evaluator, against plain log-softmax; skipped where it is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from liquid_mlx.model import Liquid
from tests.evaluation.harness import TASK, log_likelihood

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports


@pytest.fixture
def lm(tiny: Liquid) -> Any:
    pytest.importorskip("lm_eval")
    from liquid_mlx.evaluation.lm_eval_model import LiquidLM

    return LiquidLM(tiny, batch_size=3)


def test_a_local_task_runs_end_to_end(lm: Any, tiny: Liquid, tmp_path: Path) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    rows = [
        {
            "question": f"What colour has thing {i}?",
            "choices": ["red", "dark blue"],
            "label": i % 2,
        }
        for i in range(5)
    ]
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "colours.yaml").write_text(TASK.replace("TEST", str(data)))
    found = lm_eval.simple_evaluate(
        model=lm,
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    samples = found["samples"]["colours"]
    assert len(samples) == 5
    right = []
    for sample in samples:
        totals = []
        for (total, greedy), choice in zip(
            sample["filtered_resps"], rows[0]["choices"], strict=True
        ):
            context = tiny.prompts.text_ids(f"Question: {sample['doc']['question']}\nAnswer:")
            both = tiny.prompts.text_ids(f"Question: {sample['doc']['question']}\nAnswer: {choice}")
            expected = log_likelihood(tiny, context, both[len(context) :])
            assert total == pytest.approx(expected[0], abs=2e-4)
            assert greedy == expected[1]
            totals.append(total)
        right.append(int(np.argmax(totals)) == sample["doc"]["label"])
    assert found["results"]["colours"]["acc,none"] == pytest.approx(np.mean(right))


def test_rows_of_a_batch_are_scored_as_alone(lm: Any, tiny: Liquid) -> None:
    texts = [
        ("a", " b"),
        ("a dog and a cat", " are two animals that"),
        ("", "x y z"),
        ("q", " r s"),
    ]
    together = lm.loglikelihood([SimpleNamespace(args=pair) for pair in texts])
    alone = [lm.loglikelihood([SimpleNamespace(args=pair)])[0] for pair in texts]
    for (total, greedy), (other, same) in zip(together, alone, strict=True):
        assert total == pytest.approx(other, abs=1e-4)
        assert greedy == same


def test_a_whole_text_is_the_sum_of_its_tokens(lm: Any, tiny: Liquid) -> None:
    text = "a red circle above a blue star"
    ids, start = tiny.prompts.text_ids(text, start=False), tiny.prompts.text_ids("")
    expected, _ = log_likelihood(tiny, start, ids)
    (total,) = lm.loglikelihood_rolling([SimpleNamespace(args=(text,))])
    assert total == pytest.approx(expected, abs=2e-4)


def test_writing_stops_where_the_task_says(lm: Any, tiny: Liquid) -> None:
    context = "a red"
    (whole,) = lm.generate_until([SimpleNamespace(args=(context, {"max_gen_toks": 12}))])
    assert whole
    middle = whole[len(whole) // 2]
    asked = {"max_gen_toks": 12, "until": [middle]}
    (cut,) = lm.generate_until([SimpleNamespace(args=(context, asked))])
    assert cut == whole.split(middle)[0]


def test_the_harness_finds_the_model_by_name(lm: Any) -> None:
    from lm_eval.api.registry import get_model

    assert get_model("liquid") is type(lm)
    assert "liquid_mlx.evaluation.lm_eval_model" in sys.modules
