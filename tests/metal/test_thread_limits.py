"""Where a pipeline takes fewer threads than a kernel would like, the same comes out."""

from __future__ import annotations

import warnings

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.kernels import dispatch, group_norm, group_norm_silu, sample_codes, sampler
from tests.kernels.rows import batches
from tests.kernels.test_group_norm import example
from tests.metal.conftest import ON_GPU

LIMITS = (896, 640, 512, 384, 96)


@pytest.fixture
def limited(schedules, monkeypatch):
    """``limited(n)``: pipelines take up to n threads; returns the sizes of threadgroups run."""
    inner = mx.fast.metal_kernel
    monkeypatch.setattr(dispatch, "_fitting", {})

    def use(most: int) -> list[int]:
        launched: list[int] = []

        def make(**made):
            kernel = inner(**made)

            def run(**called):
                size = int(np.prod(called["threadgroup"]))
                if size > most:
                    raise ValueError(
                        f"Thread group size ({size}) is greater than  the maximum allowed "
                        f"threads per threadgroup ({most})."
                    )
                launched.append(size)
                return kernel(**called)

            return run

        monkeypatch.setattr(mx.fast, "metal_kernel", make)
        return launched

    return use


@pytest.mark.parametrize("n", [5, 1025, pytest.param(8192, marks=pytest.mark.slow), 16400])
def test_the_sampler_draws_the_same_whatever_it_may_have(limited, n):
    rows = 4 if n < 8000 else 1
    chosen = list(batches(np.random.default_rng(n), n, rows, mx.bfloat16))[:: 4 if n < 8000 else 12]
    limited(1024)
    expected = [sample_codes(*a, **settings, backend="metal").tolist() for *a, settings in chosen]
    for most in LIMITS:
        launched = limited(most)
        got = [sample_codes(*a, **settings, backend="metal").tolist() for *a, settings in chosen]
        assert got == expected, most
        assert max(launched) <= most


@pytest.mark.parametrize(("shape", "groups"), [((2, 5, 7, 32), 32), ((1, 33, 17, 512), 32)])
def test_group_norm_is_the_same_to_the_last_bit(limited, shape, groups):
    x, weight, bias = example(shape)
    limited(1024)
    expected = np.array(group_norm_silu(x, weight, bias, groups, 1e-6, backend="metal"))
    for most in LIMITS:
        launched = limited(most)
        got = np.array(group_norm_silu(x, weight, bias, groups, 1e-6, backend="metal"))
        np.testing.assert_array_equal(got, expected)
        assert max(launched) <= most


def test_each_kernel_is_tried_once(limited):
    launched = limited(512)
    logits, noise = mx.zeros((2, 8192)), mx.full((2, 8192), 0.5)
    settings = {"guidance": 3.0, "temperature": 1.0, "top_k": 5, "top_p": 1.0}
    for _ in range(3):
        sample_codes(logits, logits, noise, **settings, backend="metal")
    assert launched == [512] * 4


def test_the_twin_goes_on_where_no_number_of_threads_will_do(limited):
    limited(16)
    logits, noise = mx.arange(40.0)[None], mx.full((1, 40), 0.5)
    settings = {"guidance": 1.0, "temperature": 1.0, "top_k": 3, "top_p": 1.0}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        ids = [sample_codes(logits, None, noise, **settings, backend="metal") for _ in range(3)]
    assert [i.tolist() for i in ids] == [[39]] * 3
    assert ["Plain MLX does its work" in str(w.message) for w in warned] == [True]


@pytest.mark.skipif(ON_GPU, reason="the stand-in runs in the CPU's runner")
def test_a_picture_is_the_same_whatever_the_kernels_may_have(limited, converted, monkeypatch):
    liquid = load(converted("gemma_tiny"), dtype="float32")

    def draw() -> bytes:
        (picture,) = liquid.generate_image("a red circle", seed=5, guidance=3.0)
        return picture.codes.tobytes() + picture.image.tobytes()

    for module in (sampler, group_norm):
        monkeypatch.setattr(module, "best_backend", lambda backend: "metal")
    drawn = set()
    for most in (896, 384):
        limited(most)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn.add(draw())
    assert len(drawn) == 1
