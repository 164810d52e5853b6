"""The kernels' CUDA text as MLX makes it, and NVIDIA's compiler from a wheel: no GPU is needed."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

TYPES = {
    mx.float32: "float",
    mx.float16: "__half",
    mx.bfloat16: "__nv_bfloat16",
    mx.int32: "int32_t",
    mx.uint32: "uint32_t",
}

# What MLX's own header brings, as far as custom kernels see it (mlx/backend/cuda/device/utils.cuh).
MLX_HEADER = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
typedef int int32_t;
typedef unsigned int uint32_t;
namespace mlx::core::cu {
struct Shape {
  int32_t sides[8];
  __device__ const int32_t& operator[](int i) const { return sides[i]; }
};
}
"""


def folders() -> tuple[Path, Path] | None:
    """Where NVRTC's library and CUDA's headers lie, if their wheels are installed."""
    package = importlib.util.find_spec("nvidia")
    for root in map(Path, (package and package.submodule_search_locations) or ()):
        for library in sorted(root.glob("*/lib/libnvrtc.so.1*")):
            for header in root.glob("*/include/cuda_bf16.h"):
                return library, header.parent
    return None


def cuda_kernel(record: Callable[[str, str, dict[str, Any]], None]) -> Callable[..., Any]:
    """A stand-in for `mx.fast.cuda_kernel` that records name and text, and returns zeros."""

    def make(**made: Any) -> Callable[..., list[mx.array]]:
        def run(**called: Any) -> list[mx.array]:
            record(*generated(made, called), called)
            shapes, dtypes = called["output_shapes"], called["output_dtypes"]
            return [mx.zeros(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]

        return run

    return make


def generated(made: dict[str, Any], called: dict[str, Any]) -> tuple[str, str]:
    """(name, text without MLX's header), as ``build_kernel`` of MLX's cuda/custom_kernel.cpp."""
    source = made["source"]
    template = called.get("template", ())
    values = [TYPES[v] if isinstance(v, mx.Dtype) else str(v) for _, v in template]
    name = re.sub(r"\W", "_", "_".join([made["name"], *values]))
    parameters = []
    for argument, array in zip(made["input_names"], called["inputs"], strict=True):
        parameters.append(f"const {TYPES[array.dtype]}* {argument}")
        if array.ndim and f"{argument}_shape" in source:
            parameters.append(f"const __grid_constant__ Shape {argument}_shape")
    for argument, dtype in zip(made["output_names"], called["output_dtypes"], strict=True):
        parameters.append(f"{TYPES[dtype]}* {argument}")
    constants = ""
    for key, value in template:
        if isinstance(value, mx.Dtype):
            constants += f"  using {key} = {TYPES[value]};\n"
        else:
            kind = "bool" if isinstance(value, bool) else "int"
            constants += f"  constexpr {kind} {key} = {str(value).lower()};\n"
    signature = f"__global__ void {name}(\n    " + ",\n    ".join(parameters) + ") {\n"
    body = signature + constants + source + "\n}\n"
    return name, made["header"] + "namespace mlx::core::cu {\n" + body + "}\n"


def compile_text(text: str, name: str, architecture: str) -> tuple[bytes, str]:
    """The binary for an architecture such as "sm_90", and what the compiler said.

    Raises:
        ValueError: the compiler does not take the text; its words are the message.
    """
    found = folders()
    assert found
    nvrtc, program = ctypes.CDLL(str(found[0])), ctypes.c_void_p()
    created = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), (MLX_HEADER + text).encode(), f"{name}.cu".encode(), 0, None, None
    )
    assert created == 0
    include = os.environ.get("CUDA_INCLUDE", str(found[1]))
    options = [f"--gpu-architecture={architecture}", f"--include-path={include}"]
    options += ["--device-as-default-execution-space", "--ptxas-options=-v"]
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    nvrtc.nvrtcAddNameExpression(program, f"mlx::core::cu::{name}".encode())
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    log = _bytes(nvrtc, program, "ProgramLog").decode(errors="replace")
    if failed:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
        raise ValueError(log)
    binary = _bytes(nvrtc, program, "CUBIN")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return binary, log


def _bytes(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, buffer) == 0
    return buffer.raw
