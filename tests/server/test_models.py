"""Several models under their names: adapters share the weights of the model that they belong to."""

from __future__ import annotations

import gc
import json
import time

import mlx.core as mx
import pytest

from liquid_mlx import load
from liquid_mlx.memory import weight_bytes
from liquid_mlx.server.app import Options
from liquid_mlx.server.models import Models
from tests.server.conftest import serving
from tests.server.test_faults import CHAT, HELLO


@pytest.fixture(scope="module")
def adapter(liquid, tmp_path_factory):
    """The folder of an adapter that changes what the model says."""
    layer = liquid.engine.backbone.model.layers[0].mlp.down_proj
    outputs, inputs = layer.shape
    keys = mx.random.split(mx.random.key(0))
    factors = {
        "lora_a": mx.random.normal((inputs, 4), key=keys[0]),
        "lora_b": mx.random.normal((4, outputs), key=keys[1]),
    }
    folder = tmp_path_factory.mktemp("adapter")
    config = {"fine_tune_type": "lora", "lora_parameters": {"scale": 2.0}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    named = {f"model.layers.0.mlp.down_proj.{name}": one for name, one in factors.items()}
    mx.save_safetensors(str(folder / "adapters.safetensors"), named)
    return str(folder)


def said(served, model):
    answer = served.post(CHAT, {**HELLO, "model": model, "max_tokens": 16})
    assert answer.status_code == 200
    return answer.json()["choices"][0]["message"]["content"]


def test_an_adapter_answers_under_its_name_and_its_base_as_before(folder, adapter, liquid):
    changed = load(folder, dtype="float32", adapter=adapter)
    with serving([folder], Options(), adapters=[f"style={adapter}"]) as running:
        expected = [one.chat(HELLO["messages"], max_tokens=16) for one in (liquid, changed)]
        assert expected[0] != expected[1]
        for _ in range(2):
            assert [said(running, running.model), said(running, "style")] == expected
        assert [one["id"] for one in running.get("/v1/models").json()["data"]][1] == "style"


def test_an_adapter_takes_no_second_copy_of_the_weights(folder, adapter):
    models = Models([folder], "float32", None, [f"a={adapter}", f"b={adapter}"])
    base = models.get(models.names[0])
    gc.collect()  # of what other tests have left
    before = mx.get_active_memory()
    for name in "ab":
        models.get(name)
    more = mx.get_active_memory() - before
    assert 0 < more < 0.05 * weight_bytes(base.liquid.engine.backbone, mx.float32)
    models.close()


def test_a_base_stays_as_long_as_its_adapter_is_used(folder, adapter):
    models = Models([folder], "float32", 0.2, [f"style={adapter}"])
    gc.collect()
    before = mx.get_active_memory()
    models.get("style").jobs = 1
    time.sleep(0.25)
    models.drop_idle()
    assert set(models.loaded) == set(models.names)
    models.get("style").jobs = 0
    time.sleep(0.25)
    for _ in range(2):  # first the adapter, then what it lay over
        models.drop_idle()
    assert models.loaded == {}
    assert mx.get_active_memory() <= before  # and not only once Python looks for cycles
    models.close()
