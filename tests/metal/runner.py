"""Runs Metal kernels on the CPU, for machines without Metal.

`metal_kernel` stands in for `mx.fast.metal_kernel`: the text that MLX generates (signature and
unmodified source) is compiled as C++ against shim.h, and runtime.cpp runs every thread as a fiber,
in order, in reverse or shuffled. That shows what the algorithm computes, not what Apple's compiler
and GPU make of it.
"""

import ctypes
import hashlib
import itertools
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np

from tests.metal.dump import generated_text

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = [
    "-std=c++17",
    "-w",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",
]
POISON = 0xA5
GUARD = 256  # bytes on either side of each buffer that must stay as they were

real_metal_kernel = mx.fast.metal_kernel
folder = tempfile.TemporaryDirectory(prefix="liquid-kernels-")

ATTRIBUTES = {
    "simdgroup_index_in_threadgroup": "run::thread_index() / 32",
    "thread_index_in_simdgroup": "run::thread_index() % 32",
    "thread_position_in_threadgroup": "run::in_threadgroup()",
    "thread_position_in_grid": "run::in_grid()",
    "threadgroup_position_in_grid": "run::group()",
    "threadgroups_per_grid": "run::groups()",
}


class RunnerError(Exception):
    """The kernel does not compile, or broke a rule while it ran."""


class Runner:
    """One kernel; `schedules` are the orders of threads that each call goes through."""

    def __init__(self, schedules: tuple[int, ...], made: dict) -> None:
        self.schedules = schedules
        self.made = made
        self.kernel = real_metal_kernel(**made)
        self.ready: dict[tuple, tuple[ctypes.CDLL, list[str]]] = {}

    def __call__(self, *, inputs, output_shapes, output_dtypes, grid, threadgroup, template=()):
        called = {
            "inputs": inputs,
            "output_shapes": output_shapes,
            "output_dtypes": output_dtypes,
            "grid": grid,
            "threadgroup": threadgroup,
            "template": list(template),
        }
        key = (str(template), str([(a.dtype, a.ndim, a.size < 8) for a in inputs]))
        if key not in self.ready:
            self.ready[key] = compiled(generated_text(self.kernel, called))
        library, names = self.ready[key]
        assert np.prod(threadgroup) <= 1024
        results = [self.run(library, names, called, seed) for seed in self.schedules]
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                if a.tobytes() != b.tobytes():
                    raise RunnerError(f"{self.made['name']}: the order of threads shows")
        return [to_mlx(a, d) for a, d in zip(results[0], output_dtypes, strict=True)]

    def run(self, library, names, called, seed):
        values, guarded = {}, []
        for name, array in zip(self.made["input_names"], called["inputs"], strict=True):
            values[name] = guard(to_numpy(array))
            values[f"{name}_shape"] = guard(np.array(array.shape, dtype=np.int32))
        outputs = []
        shapes_dtypes = zip(called["output_shapes"], called["output_dtypes"], strict=True)
        for name, (shape, dtype) in zip(self.made["output_names"], shapes_dtypes, strict=True):
            like = to_numpy(mx.zeros((1,), dtype=dtype)).dtype
            values[name] = guard(np.full(int(np.prod(shape)) * like.itemsize, POISON, np.uint8))
            outputs.append((name, shape, like))
        guarded = [values[name] for name in names]
        pointers = (ctypes.c_void_p * len(names))(*[g.ctypes.data + GUARD for g in guarded])
        sizes = [(ctypes.c_uint * 3)(*called[key]) for key in ("grid", "threadgroup")]
        library.set_buffers(pointers)
        message = runtime().launch(library.enter, *sizes, ctypes.c_uint(seed))
        if message:
            raise RunnerError(f"{self.made['name']}: {message.decode()}")
        for name, g in zip(names, guarded, strict=True):
            if not np.all(np.concatenate([g[:GUARD], g[-GUARD:]]) == POISON):
                raise RunnerError(f"{self.made['name']} writes outside {name}")
        return [values[n][GUARD:-GUARD].view(like).reshape(shape) for n, shape, like in outputs]


def metal_kernel(*schedules: int):
    """A stand-in for `mx.fast.metal_kernel` that runs each call in the schedules given."""

    def make(**made) -> Runner:
        return Runner(schedules, made)

    return make


def compiled(text: str) -> tuple[ctypes.CDLL, list[str]]:
    """The library for a generated text, and which array goes into each of its buffers."""
    text, instance = (
        re.split(r"\ntemplate \[\[host_name", text)[0],
        re.search(r"decltype\((.+)\)", text),
    )
    names, arguments = [], []
    name = re.search(r"\[\[kernel\]\] void (\w+)\(", text)[1]
    signature = text.split(f"void {name}(")[1].split(") {\n")[0]
    for parameter in signature.split(",\n"):
        kind, argument, attribute = re.fullmatch(
            r"\s*(.+?) (\w+) \[\[(.+?)\]\]", parameter
        ).groups()
        if not attribute.startswith("buffer"):
            arguments.append(ATTRIBUTES[attribute])
            continue
        pointer = f"({kind.rstrip('*&')}*)buffers[{len(names)}]"
        arguments.append("*" + pointer if kind.endswith("&") else pointer)
        names.append(argument)
    # a variable in threadgroup memory: all fibers see the same one
    counter = itertools.count()
    text = re.sub(
        r"^(\s*)threadgroup (\w+) (\w+)(\[[\w *]+\]);",
        lambda m: f"{m[1]}auto& {m[3]} = run::shared<{m[2]}{m[4]}, {next(counter)}>();",
        text,
        flags=re.M,
    )
    call = f"{instance[1] if instance else name}({', '.join(arguments)})"
    source = f"""#include "{HERE}/shim.h"
{text}
static void** buffers;
extern "C" VISIBLE void set_buffers(void** to) {{ buffers = to; }}
extern "C" VISIBLE void enter() {{ {call}; }}
"""
    runtime()
    return library(source, "-O1"), names


@cache
def runtime() -> ctypes.CDLL:
    """The scheduler, one for all kernels."""
    loaded = library(f'#include "{HERE}/runtime.cpp"\n', "-O2", ctypes.RTLD_GLOBAL)
    loaded.launch.restype = ctypes.c_char_p
    return loaded


@cache
def library(source: str, optimise: str, mode: int = ctypes.RTLD_LOCAL) -> ctypes.CDLL:
    path = Path(folder.name) / hashlib.sha256(source.encode()).hexdigest()[:20]
    path.with_suffix(".cpp").write_text(source)
    command = [COMPILER, *FLAGS, optimise, "-o", f"{path}.so", f"{path}.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunnerError(done.stderr[:4000])
    return ctypes.CDLL(f"{path}.so", mode=mode)


def guard(array: np.ndarray) -> np.ndarray:
    """The array's bytes between two stretches of poison."""
    wall = np.full(GUARD, POISON, np.uint8)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.concatenate([wall, data, wall])


def to_numpy(array: mx.array) -> np.ndarray:
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def to_mlx(array: np.ndarray, dtype: mx.Dtype) -> mx.array:
    result = mx.array(array)
    return result.view(dtype) if dtype == mx.bfloat16 else result
