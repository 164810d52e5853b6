"""Which implementation runs where gradients are wanted."""

from __future__ import annotations

import mlx.core as mx
import pytest

from liquid_mlx.kernels import differentiable
from liquid_mlx.kernels.dispatch import best_backend


def test_no_kernel_runs_where_gradients_flow(monkeypatch):
    monkeypatch.setattr("liquid_mlx.kernels.dispatch.on_gpu", lambda: True)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    assert best_backend(None) == "metal"
    with differentiable():
        assert best_backend(None) == "mlx"
        with differentiable():
            pass
        assert best_backend(None) == "mlx"
        assert best_backend("metal") == "metal"  # asked for by name it runs all the same
    assert best_backend(None) == "metal"
    with pytest.raises(RuntimeError), differentiable():
        raise RuntimeError
    assert best_backend(None) == "metal"
