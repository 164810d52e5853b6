"""Which of the two implementations runs."""

from typing import Literal

import mlx.core as mx

Backend = Literal["metal", "mlx"]


def best_backend(backend: Backend | None) -> Backend:
    """The backend asked for, or the best one for the default device.

    Raises:
        ValueError: the name is unknown.
    """
    if backend is None:
        on_gpu = mx.metal.is_available() and mx.default_device().type == mx.DeviceType.gpu
        return "metal" if on_gpu else "mlx"
    if backend not in ("metal", "mlx"):
        raise ValueError(f"backend {backend!r} is unknown: use 'metal', 'mlx' or None")
    return backend
