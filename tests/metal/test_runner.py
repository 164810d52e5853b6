"""What the runner finds: it must not pass a kernel that breaks these rules."""

import mlx.core as mx
import numpy as np
import pytest

from tests.metal import runner
from tests.metal.conftest import ON_GPU

pytestmark = pytest.mark.skipif(
    ON_GPU or runner.COMPILER is None, reason="the runner stands in for Metal where there is none"
)

REVERSE = """
  threadgroup float held[THREADS];
  const uint i = thread_position_in_threadgroup.x;
  held[i] = x[thread_position_in_grid.x];
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  out[thread_position_in_grid.x] = held[THREADS - 1 - i];
"""


def run(source, *schedules, groups=2, n=64, dtype=mx.float32):
    kernel = runner.metal_kernel(*schedules)(
        name="test", input_names=["x"], output_names=["out"], source=source, header=""
    )
    x = mx.arange(groups * n).astype(dtype)
    return kernel(
        inputs=[x],
        template=[("THREADS", n), ("T", dtype)],
        grid=(groups * n, 1, 1),
        threadgroup=(n, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[dtype],
    )[0]


def test_threads_exchange_values_through_threadgroup_memory():
    found = np.array(run(REVERSE, 0, 1, 2, 3))
    assert np.array_equal(found, np.arange(128).reshape(2, 64)[:, ::-1].reshape(-1))


def test_a_missing_barrier_is_found():
    with pytest.raises(runner.RunnerError, match="order of threads"):
        run(REVERSE.replace("metal::threadgroup_barrier", "(void)"), 0, 1, 2)


def test_a_barrier_that_some_threads_skip_is_found():
    divergent = REVERSE.replace(
        "metal::threadgroup_barrier", "if (i < 40) metal::threadgroup_barrier"
    )
    with pytest.raises(runner.RunnerError, match="do not reach"):
        run(divergent, 0)


def test_a_reduction_that_some_lanes_skip_is_found():
    some = "const uint i = thread_position_in_grid.x; out[i] = i % 2 ? metal::simd_max(i) : 0;"
    with pytest.raises(runner.RunnerError, match="only some lanes"):
        run(some, 0)


def test_writing_outside_an_output_is_found():
    with pytest.raises(runner.RunnerError, match="outside out"):
        run("out[thread_position_in_grid.x + 1] = 1;", 0)


def test_reductions_cover_one_simd_group():
    found = run(
        "out[thread_position_in_grid.x] = metal::simd_max(thread_position_in_grid.x);", 0, 2
    )
    assert np.array_equal(np.array(found), np.arange(128) // 32 * 32 + 31)


def test_lanes_exchange_values():
    shuffle = "out[i] = metal::simd_shuffle_xor(metal::simd_shuffle_xor(x[i], 1), 16);"
    found = np.array(run("const uint i = thread_position_in_grid.x; " + shuffle, 0, 1, 2))
    assert np.array_equal(found, np.arange(128) ^ 17)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_converts_as_mlx_does(dtype):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 4096, dtype=np.uint32)
    values = np.concatenate(
        [np.nan_to_num(bits.view(np.float32)), rng.normal(size=4096) * 1e-5, [65519, 65520]]
    )
    x = mx.array(np.append(values, [np.nan, np.inf, -np.inf, -0.0]).astype(np.float32))
    kernel = runner.metal_kernel(0)(
        name="convert", input_names=["x"], output_names=["out", "back"], header="",
        source="const uint i = thread_position_in_grid.x; out[i] = T(x[i]); back[i] = out[i];",
    )  # fmt: skip
    out, back = kernel(
        inputs=[x], template=[("T", dtype)], grid=(x.size, 1, 1), threadgroup=(32, 1, 1),
        output_shapes=[x.shape, x.shape], output_dtypes=[dtype, mx.float32],
    )  # fmt: skip
    expected = x.astype(dtype).astype(mx.float32)
    assert np.array_equal(np.array(out.astype(mx.float32)), np.array(expected), equal_nan=True)
    assert np.array_equal(np.array(back), np.array(expected), equal_nan=True)
