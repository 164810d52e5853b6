"""lm-eval's own client for completions against a running server; skipped where it is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.harness import TASK, log_likelihood

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the harness and what it imports
]
CHOICES = ["red", "dark blue", "green"]


@pytest.mark.parametrize("together", [1, 4])
def test_log_likelihoods_of_a_task_are_those_of_the_library(served, liquid, tmp_path, together):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    rows = [
        {"question": f"What colour has thing {i}?", "choices": CHOICES, "label": i % 3}
        for i in range(6)
    ]
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "colours.yaml").write_text(TASK.replace("TEST", str(data)))
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": served.model,
            "base_url": f"{served.url}/v1/completions",
            "tokenizer": served.folder,
            "tokenized_requests": True,
            "batch_size": together,
        },
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    tokenize = AutoTokenizer.from_pretrained(served.folder)
    samples = found["samples"]["colours"]
    assert len(samples) == len(rows)
    right = []
    for sample in samples:
        text = f"Question: {sample['doc']['question']}\nAnswer:"
        totals = []
        for (total, greedy), choice in zip(sample["filtered_resps"], CHOICES, strict=True):
            context = tokenize.encode(text, add_special_tokens=False)
            both = tokenize.encode(f"{text} {choice}", add_special_tokens=False)
            at = len(context)
            expected, same = log_likelihood(liquid, both[:at], both[at:])
            assert total == pytest.approx(expected, abs=1e-4)
            assert greedy == same
            totals.append(total)
        right.append(int(np.argmax(totals)) == sample["doc"]["label"])
    assert found["results"]["colours"]["acc,none"] == pytest.approx(np.mean(right))
