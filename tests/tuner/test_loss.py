"""Losses and gradients against PyTorch's, and what they may depend on."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from liquid_mlx.config import LiquidConfig
from liquid_mlx.tuner import loss as loss_module
from liquid_mlx.tuner.loss import Example, Loss, collate
from liquid_mlx.weights import load_backbone
from tests.conftest import DATA
from tests.tuner.projections import COUNT, projections

CASES = (
    "gemma_tiny",
    "gemma_untied_mqa",
    "gemma2_tiny",
    "gemma2_tiny_window",
    "llama_tiny",
    "qwen2_tiny",
)
SAMPLES = ("drawing", "question")


class Case:
    """A golden case ready to be trained whole, and PyTorch's numbers."""

    def __init__(self, folder, name):
        self.config = LiquidConfig.read(folder)
        if name.endswith("_window"):
            backbone = replace(self.config.backbone, sliding_window=8)
            self.config = replace(self.config, backbone=backbone)
        self.backbone = load_backbone(folder, self.config, "float32", fuse=False)
        self.stored = np.load(DATA / "gradients" / f"{name}.npz")

    def example(self, sample):
        return Example(self.stored[f"{sample}/ids"], self.stored[f"{sample}/target"])

    def gradients(self, batch, checkpoint=False):
        loss = Loss(self.backbone, self.config, trains_head=True, checkpoint=checkpoint)

        def total(batch):
            sums = loss(batch)
            return sums.sum(), sums

        (_, sums), gradients = nn.value_and_grad(self.backbone, total)(batch)
        return np.array(sums), dict(tree_flatten(gradients))

    def loss(self, *examples):
        return np.array(Loss(self.backbone, self.config)(collate(examples, self.config)))


@pytest.fixture(scope="module")
def cases(converted):
    return lambda name: Case(converted(name.removesuffix("_window")), name)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Call it for what MLX fuses on a GPU, which its CPU backend knows as well, not compiled."""

    def start():
        for module in ("nn.ops", "kernels.norm", "kernels.dispatch"):
            monkeypatch.setattr(f"liquid_mlx.{module}.on_gpu", lambda: True)
        monkeypatch.setattr(mx.metal, "is_available", lambda: True)
        mx.disable_compile()

    yield start
    mx.enable_compile()


@pytest.mark.parametrize("name", ["gemma2_tiny_window", "llama_tiny", "gemma_tiny"])
def test_gradients_through_fused_operations_equal_pytorchs(cases, name, as_on_a_gpu):
    case = cases(name)
    as_on_a_gpu()
    check(case, "drawing")


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_equal_pytorchs(cases, name, sample):
    check(cases(name), sample)


def check(case, sample):
    """Losses within 1e-5, gradients within 1e-3 of PyTorch's."""
    sums, gradients = case.gradients(collate([case.example(sample)], case.config))
    np.testing.assert_allclose(sums, case.stored[f"{sample}/loss"], rtol=1e-5)
    assert len(gradients) == sum(key.startswith(f"{sample}/grad") for key in case.stored)
    for parameter, gradient in gradients.items():
        expected = case.stored[f"{sample}/gradient/{parameter}"]
        off = projections(parameter, np.array(gradient)) - expected
        difference = np.linalg.norm(off[1:]) / COUNT**0.5  # estimates the norm of the difference
        assert difference <= 1e-3 * expected[0], parameter
        assert abs(off[0]) <= 1e-3 * expected[0], parameter


@pytest.mark.parametrize("name", ["gemma2_tiny_window", "qwen2_tiny"])
def test_a_padded_batch_is_the_sum_of_its_rows(cases, name):
    case = cases(name)
    examples = [case.example(sample) for sample in SAMPLES]
    alone = [case.gradients(collate([example], case.config)) for example in examples]
    together = case.gradients(collate(examples, case.config))
    np.testing.assert_allclose(together[0], alone[0][0] + alone[1][0], rtol=1e-5)
    for parameter, gradient in together[1].items():
        summed = alone[0][1][parameter] + alone[1][1][parameter]
        np.testing.assert_allclose(gradient, summed, atol=2e-5 * float(mx.abs(summed).max()))


@pytest.mark.parametrize("name", ["gemma2_tiny", "llama_tiny"])
def test_checkpointed_layers_have_the_same_gradients(cases, name):
    case = cases(name)
    batch = collate([case.example("drawing")], case.config)
    plain, again = case.gradients(batch), case.gradients(batch, checkpoint=True)
    np.testing.assert_array_equal(plain[0], again[0])
    assert plain[1].keys() == again[1].keys()
    for parameter, gradient in plain[1].items():
        np.testing.assert_allclose(gradient, again[1][parameter], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gemma_tiny", "gemma2_tiny_window"])
def test_only_what_stands_before_a_target_changes_the_loss(cases, name):
    case = cases(name)
    ids = case.example("question").ids
    target = np.zeros(len(ids), bool)
    last = len(ids) - 6
    target[last - 3 : last + 1] = True
    before = case.loss(Example(ids, target))
    behind = ids.copy()
    behind[last + 1 :] = (behind[last + 1 :] + 1) % 500
    np.testing.assert_array_equal(case.loss(Example(behind, target)), before)
    inside = ids.copy()
    inside[last - 4] = (inside[last - 4] + 1) % 500
    assert case.loss(Example(inside, target))[1] != before[1]


def test_a_target_that_changes_changes_the_loss(cases):
    case = cases("llama_tiny")
    example = case.example("question")
    other = example.ids.copy()
    other[-1] = (other[-1] + 1) % 500
    assert case.loss(example)[1] != case.loss(Example(other, example.target))[1]


def test_padding_behind_a_row_is_seen_by_nothing(cases):
    case = cases("gemma2_tiny_window")
    batch = collate([case.example(sample) for sample in SAMPLES], case.config)
    loss = Loss(case.backbone, case.config)
    before = np.array(loss(batch))
    tokens = np.array(batch["tokens"])
    ends = [len(case.example(sample)) - 1 for sample in SAMPLES]
    for row, end in enumerate(ends):
        assert end < tokens.shape[1]
        tokens[row, end:] = 99
    np.testing.assert_array_equal(np.array(loss({**batch, "tokens": mx.array(tokens)})), before)


def test_the_loss_leaves_the_model_as_it_was(cases):
    case = cases("gemma_tiny")
    before = dict(tree_flatten(case.backbone.parameters()))
    case.gradients(collate([case.example("drawing")], case.config))
    after = dict(tree_flatten(case.backbone.parameters()))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def test_logits_made_piece_by_piece_have_the_same_loss_and_gradients(cases, monkeypatch):
    case = cases("gemma2_tiny")
    case.backbone.model.embed_tokens.freeze()
    batch = collate([case.example("drawing")] * 3, case.config)

    def gradients():
        loss = Loss(case.backbone, case.config)
        return nn.value_and_grad(case.backbone, lambda batch: loss(batch).sum())(batch)

    whole, expected = gradients()
    monkeypatch.setattr(loss_module, "MOST_LOGITS", 1)
    pieces, found = gradients()
    np.testing.assert_allclose(whole, pieces, rtol=1e-6)
    for (name, one), (_, other) in zip(tree_flatten(expected), tree_flatten(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)


def test_targets_are_counted_by_kind(cases):
    case = cases("gemma_tiny")
    batch = collate([case.example(sample) for sample in SAMPLES], case.config)
    codes = (case.example("drawing").target & (case.example("drawing").ids >= 512)).sum()
    assert batch["counts"].tolist() == [codes, 2 + case.example("question").target.sum()]
    assert all(len(batch[f"{kind}_at"]) % 64 == 0 for kind in ("code", "text"))
