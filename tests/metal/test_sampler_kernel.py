"""The sampler's Metal kernel against its twin and against the numpy reference."""

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import sample_codes
from tests.kernels.compare import check_rows
from tests.kernels.rows import batches

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}

# 30 settings each, and per dtype 20,070 rows in all
ROWS = [
    (8, 320),
    (512, 250),
    (1000, 64),
    pytest.param(8192, 25, marks=pytest.mark.slow),
    pytest.param(16384, 10, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "rows"), ROWS)
def test_kernel_draws_what_twin_and_reference_draw(schedules, record_property, n, rows, dtype):
    differ_twin = differ_reference = 0
    for *arrays, settings in batches(np.random.default_rng(n + 1), n, rows, DTYPES[dtype]):
        kernel = sample_codes(*arrays, **settings, backend="metal")
        differ_reference += check_rows(kernel, *arrays, settings)
        twin = sample_codes(*arrays, **settings, backend="mlx")
        differ_twin += int((kernel != twin).sum())
    record_property("rows", 30 * rows)
    record_property("differ from twin", differ_twin)
    record_property("differ from reference", differ_reference)
    # float32 may decide the other way within the bounds of `check_rows`: rarely
    assert differ_twin <= 1
    assert differ_reference <= 1


@pytest.mark.parametrize(
    ("n", "dtype"),
    list(zip([1, 3, 7, 9, 33, 255, 257, 1025, 16385], 3 * list(DTYPES), strict=True)),
)
def test_any_length_in_several_orders_of_threads(schedules, n, dtype):
    schedules(0, 1, 2, 3)
    for *arrays, settings in list(batches(np.random.default_rng(n), n, 3, DTYPES[dtype]))[::3]:
        check_rows(sample_codes(*arrays, **settings, backend="metal"), *arrays, settings)


EDGES = {  # logits, settings, the id that the noise favours, the id drawn
    "-0 equals 0": ([-1.0, -0.0, 0.0], {"temperature": 0.0}, 2, 1),
    "-0 ties with the k-th": ([0.0, -0.0, -1.0], {"top_k": 1}, 1, 1),
    "NaN is never drawn": ([float("nan"), 0.0, 1.0], {}, 0, 2),
    "+inf hides the noise": ([0.0, float("inf"), float("inf")], {"top_p": 0.5}, 2, 1),
    "no temperature below 1e-5": ([0.0, 2e-5], {"temperature": 1e-6}, 0, 0),
    "the last tie in the top p": ([2.0] + 7 * [0.0], {"top_p": 0.8}, 5, 5),
    "the first tie behind it": ([2.0] + 7 * [0.0], {"top_p": 0.8}, 6, 0),
    "the lowest id wins": (70 * [0.5], {"temperature": 0.0}, 69, 0),
}


@pytest.mark.parametrize("edge", EDGES)
def test_rules_at_the_edges(schedules, edge):
    row, changed, favoured, expected = EDGES[edge]
    settings = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, **changed}
    noise = mx.where(mx.arange(len(row)) == favoured, 1 - 1e-6, 0.5)[None]
    for backend in ("metal", "mlx"):
        ids = sample_codes(mx.array([row]), None, noise, **settings, backend=backend)
        assert ids.tolist() == [expected], backend


@pytest.mark.slow
def test_text_vocabulary(schedules):
    for *arrays, settings in list(batches(np.random.default_rng(5), 264_192, 1, mx.bfloat16))[::4]:
        check_rows(sample_codes(*arrays, **settings, backend="metal"), *arrays, settings)


def test_slices_of_one_array_are_read_in_place(schedules):
    rng = np.random.default_rng(0)
    logits = mx.array(rng.normal(size=(6, 40)).astype(np.float32))
    noise = mx.array(rng.uniform(0.001, 0.999, (3, 40)).astype(np.float32))
    settings = {"guidance": 5.0, "temperature": 1.0, "top_k": 7, "top_p": 0.9}
    ids = sample_codes(logits[:3], logits[3:], noise, **settings, backend="metal")
    check_rows(ids, logits[:3], logits[3:], noise, settings)


def test_new_settings_need_no_new_kernel(schedules, monkeypatch):
    texts = []
    inner = mx.fast.metal_kernel

    def counting(**made):
        kernel = inner(**made)

        def run(**called):
            texts.append((made["source"], str(called["template"])))
            return kernel(**called)

        return run

    monkeypatch.setattr(mx.fast, "metal_kernel", counting)
    for temperature, top_k, top_p in ((0.0, 0, 1.0), (0.7, 3, 0.9), (1.3, 0, 0.5)):
        settings = {"guidance": 2.0, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        noise = mx.full((2, 64), 0.5)
        sample_codes(mx.zeros((2, 64)), mx.ones((2, 64)), noise, **settings, backend="metal")
    assert len(texts) == 3 + 1  # once to see how many threads it may have
    assert len(set(texts)) == 1
