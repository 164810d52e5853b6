"""Training: it learns, it is exact about its order, and it can be taken up anywhere."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from liquid_mlx import CheckpointError, UsageError
from liquid_mlx.config import LiquidConfig
from liquid_mlx.tuner import checkpoint
from liquid_mlx.tuner.checkpoint import Run
from liquid_mlx.tuner.examples import Recipe
from liquid_mlx.tuner.lora import AdapterSettings, trained
from liquid_mlx.tuner.records import Source
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import DivergedError
from tests.tuner.conftest import lora, records, same, settings, trainer

RUNS = {
    "lora": lora(),
    "dropout": lora(dropout=0.3),
    "dora": lora(kind="dora"),
    "embeddings": lora(embeddings=True),
    "full": lora(kind="full", layers=-1, embeddings=True),
    "lion": settings(optimizer="lion"),
}


def run(folder, values, until=None):
    one = trainer(folder, values)
    steps = list(one.run(until))
    return one, steps


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_has_the_weights_of_one_that_was_not_interrupted(tiny, tmp_path, name):
    whole, steps = run(tiny, RUNS[name])
    first, _ = run(tiny, RUNS[name], until=2)
    about = Run(str(tiny), RUNS[name], "data")
    checkpoint.save(tmp_path, first, about)
    second = trainer(tiny, RUNS[name])
    checkpoint.resume(second, checkpoint.read(tmp_path), about, tmp_path)
    assert second.step == 2
    assert list(second.run()) == steps[2:]
    assert same(second.state(), whole.state())


def test_the_loss_falls(tiny):
    values = settings(iters=40, batch_size=4)
    config = LiquidConfig.read(tiny)
    one = trainer(tiny, values, [Source("few", 1.0, records(config, 2)[:4])])
    losses = [step.loss for step in one.run()]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_losses_of_codes_and_of_text_are_told_apart(tiny):
    one, steps = run(tiny, settings(iters=3, batch_size=9))
    for step in steps:
        parts = [loss for loss in (step.code_loss, step.text_loss) if loss is not None]
        assert min(parts) <= step.loss <= max(parts)
    assert one.validate([]) == (None, None)


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_batches_of_codes_or_of_text_alone_end(tiny, kind):
    """In them the other kind's targets are an empty array, whose sum once ran on forever."""
    config = LiquidConfig.read(tiny)
    some = [record for record in records(config, 3) if record.where.startswith(kind)]
    values = settings(iters=2, recipe=Recipe(t2i_ratio=1), adapter=AdapterSettings(embeddings=True))
    one = trainer(tiny, values, [Source("one kind", 1.0, some)])
    steps = list(one.run())
    losses = [(step.code_loss, step.text_loss) for step in steps]
    losses.append(one.validate(next(one._order.batches())))
    # Behind a picture stands <eoi>, which is text.
    assert [code is None for code, _ in losses] == [kind == "text"] * 3
    assert all(text is not None for _, text in losses)
    assert all(step.targets > 0 and step.grad_norm > 0 for step in steps)


def test_accumulated_batches_are_one_large_batch(tiny):
    large, _ = run(tiny, settings(batch_size=4, iters=2))
    small, _ = run(tiny, settings(batch_size=1, grad_accum=4, iters=2))
    ours, theirs = trained(large.backbone), trained(small.backbone)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=2e-2, atol=2e-4)


def test_seeds_decide_about_everything(tiny):
    one, steps = run(tiny, settings(seed=1, iters=2))
    again, same_steps = run(tiny, settings(seed=1, iters=2))
    other, _ = run(tiny, settings(seed=2, iters=2))
    assert steps == same_steps
    assert same(one.state(), again.state())
    assert not same(one.state(), other.state())


def test_global_random_numbers_are_neither_read_nor_changed(tiny):
    mx.random.seed(7)
    expected = mx.random.uniform(shape=(4,)).tolist()
    mx.random.seed(7)
    run(tiny, lora(dropout=0.5), until=1)
    assert mx.random.uniform(shape=(4,)).tolist() == expected


def test_frozen_weights_do_not_move(tiny):
    one = trainer(tiny, lora(layers=2))
    before = {name: np.array(a) for name, a in _all(one.backbone).items()}
    list(one.run(2))
    moving = trained(one.backbone)
    for name, array in _all(one.backbone).items():
        assert np.array_equal(array, before[name]) == (name not in moving), name


def _all(backbone):
    from liquid_mlx.weights import flat

    return flat(backbone)


def test_the_learning_rate_rises_and_falls(tiny):
    _, steps = run(tiny, settings(iters=10, warmup=0.3, learning_rate=1e-3, batch_size=1))
    rates = [step.learning_rate for step in steps]
    assert rates[0] > 0
    assert np.argmax(rates) == 3
    assert rates[3] == pytest.approx(1e-3)
    assert rates[-1] < 2e-4
    _, steps = run(tiny, settings(iters=4, warmup=0, schedule="constant", batch_size=1))
    assert {round(step.learning_rate, 9) for step in steps} == {1e-2}


def test_long_gradients_are_shortened(tiny):
    one, steps = run(tiny, settings(optimizer="sgd", max_grad_norm=1e-6, iters=1, warmup=0))
    start = trainer(tiny, settings())
    moved = [
        float(mx.abs(array - trained(start.backbone)[name]).max())
        for name, array in trained(one.backbone).items()
    ]
    assert steps[0].grad_norm > 1e-3
    assert max(moved) <= 1.01e-8


def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_weights(tiny):
    one = trainer(tiny, settings(iters=3))
    list(one.run(1))
    before = one.state()
    name, array = next(iter(trained(one.backbone).items()))
    one.backbone.load_weights([(name, array * float("inf"))], strict=False)
    with pytest.raises(DivergedError, match="lower --lr"):
        list(one.run())
    assert one.step == 1
    assert same(
        {k: v for k, v in one.state().items() if k.startswith("optim")},
        {k: v for k, v in before.items() if k.startswith("optim")},
    )


def test_a_state_of_another_run_is_refused(tiny, converted, tmp_path):
    one, _ = run(tiny, settings(), until=1)
    about = Run(str(tiny), settings(), "data")
    checkpoint.save(tmp_path, one, about)
    saved = checkpoint.read(tmp_path)
    with pytest.raises(CheckpointError, match="data have changed"):
        checkpoint.resume(one, saved, Run(str(tiny), settings(), "other"), tmp_path)
    for change in ({"learning_rate": 0.5}, {"adapter": AdapterSettings(rank=2)}):
        other = settings(**change)
        word = "rank" if "adapter" in change else "learning_rate"
        with pytest.raises(CheckpointError, match=word):
            checkpoint.resume(one, saved, Run(str(tiny), other, "data"), tmp_path)
    strange = trainer(converted("gemma2_tiny"), settings())
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.resume(strange, saved, about, tmp_path)


@pytest.mark.parametrize("adapter", [{"dropout": 0.2}, {"kind": "dora"}, {"embeddings": True}])
def test_a_step_is_one_graph_as_compiling_it_needs(tiny, tmp_path, adapter):
    one = trainer(tiny, lora(**adapter))
    batch = one._batch(next(one._order.batches()))
    names = list(trained(one.backbone))
    fields = sorted(batch)

    def step(*arrays):
        parameters = tree_unflatten(list(zip(names, arrays, strict=False)))
        rest = dict(zip(fields, arrays[len(names) :], strict=False))
        losses, found = one._gradients(parameters, rest, arrays[-1])
        return [losses, *(array for _, array in tree_flatten(found))]

    inputs = [*trained(one.backbone).values(), *(batch[f] for f in fields), mx.random.key(3)]
    plain = step(*inputs)
    mx.eval(plain)
    # Exported, a function is traced like a compiled one: nothing in it may be evaluated.
    mx.export_function(str(tmp_path / "step.mlxfn"), step, *inputs)
    for ours, theirs in zip(
        plain, mx.import_function(str(tmp_path / "step.mlxfn"))(*inputs), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["cut", "empty", "no step", "settings", "another file"])
def test_a_damaged_state_is_told(tiny, tmp_path, damage):
    one = trainer(tiny, settings())
    checkpoint.save(tmp_path, one, Run(str(tiny), settings(), "data"))
    path = tmp_path / checkpoint.STATE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "another file":
        path.write_bytes((tmp_path / "adapters.safetensors").read_bytes())
    else:
        values = {"step": 1, "model": "m", "data": "d", "settings": settings().to_dict()}
        if damage == "no step":
            values["step"] = "first"
        else:
            values["settings"]["iters"] = -5
        mx.save_safetensors(str(path), one.state(), {"liquid": json.dumps(values)})
    with pytest.raises(CheckpointError, match=r"damaged|truncated"):
        checkpoint.read(tmp_path)


def test_settings_survive_their_file():
    own = settings(adapter=AdapterSettings(kind="dora", rank=3), iters=7)
    assert TrainSettings.from_dict(json.loads(json.dumps(own.to_dict()))) == own


def test_a_batch_that_machines_cannot_share_is_refused(tiny):
    class Pair:
        def rank(self):
            return 0

        def size(self):
            return 2

    from liquid_mlx.tuner.trainer import Trainer

    one = trainer(tiny, settings())
    with pytest.raises(UsageError, match="2 machines"):
        Trainer(one.backbone, one.config, settings(batch_size=3), one._order, Pair())
