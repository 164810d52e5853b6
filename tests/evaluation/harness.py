"""What the tests of lm-eval share: a local task, and log-likelihoods computed plainly."""

from __future__ import annotations

import numpy as np

from liquid_mlx.model import Liquid

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: TEST}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc}]
"""


def log_likelihood(liquid: Liquid, context: list[int], text: list[int]) -> tuple[float, bool]:
    """Of ``text`` behind ``context``, and whether it is what greedy decoding gives."""
    logits = np.array(liquid.logits(context + text[:-1]))[len(context) - 1 :].astype(float)
    logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    picked = logs[np.arange(len(text)), text]
    return float(picked.sum()), bool((logits.argmax(-1) == text).all())
