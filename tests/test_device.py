"""Settings that MLX reads from the environment are made before it can read them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "import liquid_mlx, os; print(os.environ['MLX_ENABLE_TF32'])"


@pytest.mark.parametrize(("chosen", "expected"), [(None, "0"), ("1", "1")])
def test_float32_products_are_not_rounded_unless_the_user_says_so(chosen, expected):
    environment = {k: v for k, v in os.environ.items() if k != "MLX_ENABLE_TF32"}
    if chosen is not None:
        environment["MLX_ENABLE_TF32"] = chosen
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == expected
