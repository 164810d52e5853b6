"""The kernels under test: on the GPU where there is Metal, else in the runner."""

import mlx.core as mx
import pytest

from tests.metal import runner

ON_GPU = mx.metal.is_available()


@pytest.fixture
def schedules(monkeypatch):
    """`schedules(*seeds)`: run the kernels in these orders of threads (no choice on a GPU)."""

    def use(*seeds: int) -> None:
        if not ON_GPU:
            monkeypatch.setattr(mx.fast, "metal_kernel", runner.metal_kernel(*seeds))

    if not ON_GPU and runner.COMPILER is None:
        pytest.skip("no C++ compiler to run Metal kernels with")
    use(2)
    return use
