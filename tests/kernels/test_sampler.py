"""The plain-MLX twin of the sampler against the numpy reference."""

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import sample_codes
from liquid_mlx.kernels.dispatch import best_backend
from liquid_mlx.kernels.sampler import layout
from tests.kernels.compare import check_rows
from tests.kernels.rows import batches

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
PLAIN = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "rows"), [(2, 40), (8, 40), (512, 24), (1000, 16), (8192, 8)])
def test_twin_draws_what_the_reference_draws(n, rows, dtype):
    differ = 0
    for *arrays, settings in batches(np.random.default_rng(n), n, rows, DTYPES[dtype]):
        differ += check_rows(sample_codes(*arrays, **settings, backend="mlx"), *arrays, settings)
    assert differ <= 1  # decided by a rounding


def test_noise_decides_and_repeats():
    logits = mx.zeros((64, 512))
    noise = mx.random.uniform(shape=(64, 512), key=mx.random.key(1))
    ids = sample_codes(logits, None, noise, **PLAIN)
    assert ids.dtype == mx.uint32
    assert np.array_equal(ids, sample_codes(logits, None, noise, **PLAIN))
    assert np.array_equal(ids, np.argmax(np.array(noise), axis=-1))


def test_guidance_of_at_most_one_ignores_the_unconditional_row():
    logits, noise = mx.array([[0.0, 5.0, 1.0]]), mx.full((1, 3), 0.5)
    for guidance in (0.0, 1.0):
        settings = {**PLAIN, "guidance": guidance}
        ids = sample_codes(logits, mx.array([[9.0, 0.0, 0.0]]), noise, **settings)
        assert ids.item() == 1


def test_rows_of_nan_and_minus_infinity_give_id_0():
    nothing = mx.array([[float("nan")] * 5, [-float("inf")] * 5])
    noise = mx.random.uniform(0.1, 0.9, (2, 5), key=mx.random.key(0))
    for temperature in (0.0, 1.0):
        for top_k, top_p in ((0, 1.0), (2, 0.5)):
            settings = {"guidance": 1.0, "temperature": temperature, "top_k": top_k, "top_p": top_p}
            assert sample_codes(nothing, None, noise, **settings).tolist() == [0, 0]


def test_masked_ids_are_never_drawn_with_guidance():
    rng = np.random.default_rng(3)
    masked = np.where(np.arange(16) % 2, -np.inf, 0).astype(np.float32)
    conditional = mx.array(rng.normal(size=(500, 16)).astype(np.float32) + masked)
    unconditional = mx.array(rng.normal(size=(500, 16)).astype(np.float32) + masked)
    noise = mx.array(rng.uniform(0.001, 0.999, (500, 16)).astype(np.float32))
    ids = sample_codes(conditional, unconditional, noise, **{**PLAIN, "guidance": 7.0})
    assert np.all(np.array(ids) % 2 == 0)


@pytest.mark.parametrize(
    ("conditional", "unconditional", "noise"),
    [
        (mx.zeros((3,)), None, mx.zeros((3,))),
        (mx.zeros((1, 0)), None, mx.zeros((1, 0))),
        (mx.zeros((1, 3), dtype=mx.int32), None, mx.zeros((1, 3))),
        (mx.zeros((2, 3)), mx.zeros((1, 3)), mx.zeros((2, 3))),
        (mx.zeros((2, 3)), mx.zeros((2, 3), dtype=mx.float16), mx.zeros((2, 3))),
        (mx.zeros((2, 3)), None, mx.zeros((1, 3))),
        (mx.zeros((2, 3)), None, mx.zeros((2, 3), dtype=mx.float16)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(conditional, unconditional, noise):
    with pytest.raises(ValueError):
        sample_codes(conditional, unconditional, noise, **PLAIN)


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="opencl"):
        best_backend("opencl")


@pytest.mark.parametrize("n", [1, 8, 31, 256, 257, 1000, 8192, 8193, 16384, 300_000])
def test_layout_covers_every_value(n):
    threads, values = layout(n)
    assert threads % 32 == 0
    assert 32 <= threads <= 1024
    assert threads * (values - 1) < n <= threads * values
    assert values <= 16 or n > 16384
