"""NVIDIA's compiler takes every kernel's text. Nothing runs: that needs a GPU."""

from __future__ import annotations

import re

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import cuda, dispatch
from liquid_mlx.kernels.dispatch import best_backend
from tests.cuda import nvrtc
from tests.metal.dump import call_each_kernel

REGISTERS = 65536  # of a multiprocessor: more than that a launch cannot have
needs_nvrtc = pytest.mark.skipif(
    nvrtc.folders() is None,
    reason="needs pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12",
)


@pytest.fixture
def texts(monkeypatch):
    """(name, text, call) of every kernel, dtype and kind of row."""
    found = {}
    monkeypatch.setattr(dispatch, "_fitting", {})
    monkeypatch.setattr(
        mx.fast,
        "cuda_kernel",
        nvrtc.cuda_kernel(lambda name, text, call: found.update({text: (name, call)})),
    )
    call_each_kernel("cuda")
    return [(name, text, call) for text, (name, call) in found.items()]


def test_no_word_of_metal_is_left(texts):
    names = " ".join(name for name, _, _ in texts)
    for kernel in ("sample_held", "sample_streamed", "group_moments", "add_rms_norm", "rotate"):
        assert f"liquid_{kernel}" in names
    for _, text, _ in texts:
        own = re.sub(r"//.*", "", text.removeprefix(cuda.HEADER))
        assert not re.search(r"\b(threadgroup|thread|device|METAL)\b", own)


def test_a_gpu_that_is_not_apples_takes_cuda(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    for metal, other, chosen in (
        (True, False, "metal"),
        (False, True, "cuda"),
        (False, False, "mlx"),
    ):
        monkeypatch.setattr(mx.metal, "is_available", lambda value=metal: value)
        monkeypatch.setattr(mx.cuda, "is_available", lambda value=other: value)
        assert best_backend(None) == chosen


@needs_nvrtc
@pytest.mark.slow
def test_the_compiler_takes_every_text_and_its_threads_have_registers(texts):
    for name, text, call in texts:
        binary, log = nvrtc.compile_text(text, name, "sm_90")
        assert binary
        (used,) = re.findall(r"Used (\d+) registers", log)
        assert int(used) * np.prod(call["threadgroup"]) <= REGISTERS, name


@needs_nvrtc
def test_the_compiler_refuses_a_wrong_text(texts):
    name, text, _ = next(found for found in texts if "rms_norm" in found[0])
    nvrtc.compile_text(text, name, "sm_80")
    with pytest.raises(ValueError, match="undefined"):
        nvrtc.compile_text(text.replace("held[j] *", "other *"), name, "sm_80")
