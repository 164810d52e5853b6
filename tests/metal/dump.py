"""Writes the kernels out as MLX hands them to Apple's compiler, for ``xcrun metal -c``.

python -m tests.metal.dump FOLDER
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx.kernels import Rotary, add_rms_norm
from liquid_mlx.kernels.dispatch import Backend
from liquid_mlx.kernels.group_norm import group_norm_silu
from liquid_mlx.kernels.sampler import sample_codes


def dump(folder: Path) -> list[Path]:
    """Write every kernel in every dtype to `folder`, each a complete Metal file."""
    folder.mkdir(parents=True, exist_ok=True)
    preamble = mlx_preamble()
    written = []
    for name, text in sorted(texts().items()):
        path = folder / f"{name}.metal"
        path.write_text(preamble + text)
        written.append(path)
    return written


def texts() -> dict[str, str]:
    """Function name -> generated text of each kernel, without MLX's preamble."""
    fast: Any = mx.fast
    real = fast.metal_kernel
    found: dict[str, str] = {}

    def recorder(**made: Any) -> Callable[..., list[mx.array]]:
        kernel = real(**made)

        def run(**called: Any) -> list[mx.array]:
            text = generated_text(kernel, called)
            found[re.findall(r"void (custom_kernel_\w+)\(", text)[0]] = text
            shapes, dtypes = called["output_shapes"], called["output_dtypes"]
            return [mx.zeros(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]

        return run

    fast.metal_kernel = recorder
    try:
        call_each_kernel("metal")
    finally:
        fast.metal_kernel = real
    return found


def call_each_kernel(backend: Backend) -> None:
    """Both kinds of row, guided or not; inputs of under 8 values, which MLX puts into another
    address space; GroupNorm with and without SiLU."""
    settings: Any = {
        "guidance": 7.0,
        "temperature": 1.0,
        "top_k": 2,
        "top_p": 0.9,
        "backend": backend,
    }
    for dtype in (mx.float32, mx.bfloat16, mx.float16):
        for n in (4, 512, 8192, 264192):
            logits, noise = mx.zeros((1, n), dtype=dtype), mx.zeros((1, n))
            sample_codes(logits, logits, noise, **settings)
            sample_codes(logits, None, noise, **settings)
        for channels, groups in ((2, 1), (128, 32)):
            x, weight = mx.zeros((1, 1, 1, channels), dtype=dtype), mx.zeros((channels,))
            for silu in (True, False):
                group_norm_silu(x, weight, weight, groups, 1e-6, silu=silu, backend=backend)
        for width in (4, 3072):
            x, weight = mx.zeros((1, width), dtype=dtype), mx.zeros((width,))
            for branch in (x, None):
                add_rms_norm(x, branch, weight, 1e-6, backend=backend)
            freqs = mx.ones((width // 4,))
            joined = mx.zeros((1, 3 * width // 2), dtype=dtype)
            Rotary(freqs, 0, 1, 1, dtype, backend=backend)(joined, 1, 1)


def generated_text(kernel: Callable[..., list[mx.array]], called: dict[str, Any]) -> str:
    """What MLX generates for a call of a kernel: it prints that while the call is traced, with or
    without Metal."""
    rest = {key: value for key, value in called.items() if key != "inputs"}

    def traced(*inputs: mx.array) -> list[mx.array]:
        return kernel(inputs=list(inputs), verbose=True, **rest)

    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "printed", "w+") as printed:
        saved = os.dup(1)
        try:
            os.dup2(printed.fileno(), 1)
            mx.export_function(str(Path(folder) / "traced.mlxfn"), traced, *called["inputs"])
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        printed.seek(0)
        found = re.search(r"```\n(.*)\n```", printed.read(), re.S)
    if not found:
        raise RuntimeError("this version of MLX does not print the text of a kernel")
    return found[1]


def mlx_preamble() -> str:
    """The header that MLX puts before each kernel, its own includes pasted in."""
    include = Path(mx.__file__).parent / "include"
    seen: set[str] = set()

    def paste(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (include / name).read_text().replace("#pragma once\n", "")
        return re.sub(r'#include "(mlx/[^"]+)"\n?', lambda m: paste(m[1]), text)

    return paste("mlx/backend/metal/kernels/utils.h") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.metal.dump",
        description="Write every kernel as a complete Metal file.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write")
    folder = parser.parse_args().folder
    print(f"{len(dump(folder))} kernels written to {folder}")


if __name__ == "__main__":
    main()
