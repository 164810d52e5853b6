"""One model over several processes of this machine: ``python -m benchmarks.several.model``.

The mid model (see ``decode``) with random weights in bfloat16, drawn in float32 with guidance, over
the ring backend. For one process, and for each way and number of processes: bytes of weights that a
rank reads and its peak memory at loading, against one process; whether the codes are the same;
all-sums a code, and what they take as measured (``liquid_mlx.distributed.links``), against a step;
and the step as it is predicted from one process's: its share of the weights, and the all-sums.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from benchmarks.decode import PROMPT, UNCONDITIONAL
from benchmarks.loops.geometry import MID
from benchmarks.loops.side_by_side import machine
from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.distributed.links import measure
from liquid_mlx.distributed.ranks import join
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.params import ImageParams
from liquid_mlx.weights import flat, load_backbone, shard_for

ROOT = Path(__file__).parents[2]
PORT = 33400


def config() -> LiquidConfig:
    """The mid model, with an image tokenizer that is never run."""
    vqgan = VQGANConfig(32, (1, 1), 1, (), 64, 4, 4, MID.codes)
    special = {"boi": 4, "eoi": 5, "unconditional": 9}
    backbone = BackboneConfig.from_dict(MID.config)
    return LiquidConfig(backbone, vqgan, MID.image_offset, special, (Size(32, 32),))


def write_model(folder: Path) -> None:
    """Random weights of the mid model in bfloat16."""
    random = {
        name: (mx.random.normal(empty.shape, key=mx.random.key(i)) * 0.02).astype(mx.bfloat16)
        for i, (name, empty) in enumerate(flat(Backbone(config().backbone)).items())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), random)


def work(folder: Path, way: str, codes: int) -> None:
    """One rank: load, draw, and print what was measured; rank 0 prints that of all."""
    team = join()
    whole = config()
    layers = None
    if way == "pipeline":
        count = whole.backbone.num_hidden_layers
        layers = [count * (r + 1) // team.size - count * r // team.size for r in range(team.size)]
    mx.reset_peak_memory()
    shard = shard_for(whole, team.group, layers) if team.group is not None else None
    backbone = load_backbone(folder, whole, "float32", shard)
    peak = mx.get_peak_memory()
    head = backbone.head(whole.image_offset, whole.image_offset + whole.vqgan.n_embed, exact=True)
    prefixes = [prefill(backbone, ids) for ids in (PROMPT, UNCONDITIONAL)]
    sums, plain = 0, mx.distributed.all_sum

    def counted(*arguments: Any, **options: Any) -> mx.array:
        nonlocal sums
        sums += 1
        return plain(*arguments, **options)

    mx.distributed.all_sum = counted
    times = [time.perf_counter()]
    draw = Draw([0], ImageParams(guidance=7.0, temperature=0.99, top_k=4096, top_p=0.96))
    for step in draw_codes(backbone, head, whole.image_offset, prefixes, draw, codes):
        mx.eval(step.codes)
        times.append(time.perf_counter())
    mx.distributed.all_sum = plain
    width = 2 * whole.backbone.hidden_size
    links = measure(team.group, width=width) if team.group is not None else None
    found = {
        "bytes": backbone.bytes_read or (folder / "model.safetensors").stat().st_size,
        "peak": peak,
        "sums": sums / codes,
        "step": statistics.median(np.diff(times[2:])),
        "latency": links.latency if links else 0.0,
        "codes": step.codes.tolist(),
    }
    ranks = team.gather(found)
    if team.first:
        print(json.dumps(ranks))


def run(folder: Path, way: str, size: int, codes: int) -> list[dict[str, Any]]:
    """What every rank measured."""
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{PORT + rank}"] for rank in range(size)]))
    command = [sys.executable, "-m", "benchmarks.several.model", "--work", str(folder), way]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if size > 1:
        environment["MLX_HOSTFILE"] = str(hosts)
    processes = [
        subprocess.Popen(
            [*command, "--codes", str(codes)],
            cwd=ROOT,
            env={**environment, **({"MLX_RANK": str(rank)} if size > 1 else {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate()[0] for process in processes]
    found: list[dict[str, Any]] = json.loads(outputs[0])
    return found


def row(way: str, one: dict[str, Any], ranks: Sequence[dict[str, Any]]) -> str:
    """A line of the table: the largest of the ranks, against one process."""
    size = max(rank["bytes"] for rank in ranks) / one["bytes"]
    peak = max(rank["peak"] for rank in ranks) / one["peak"]
    step = statistics.median(rank["step"] for rank in ranks)
    first = ranks[0]
    exchanged = first["sums"] * first["latency"]
    # In a pipeline the ranks work one after the other; else each does its part at the same time.
    share = 1.0 if way == "pipeline" else size
    predicted = one["step"] * share + exchanged
    same = "yes" if all(rank["codes"] == one["codes"] for rank in ranks) else "no"
    return (
        f"| {way}, {len(ranks)} | {size:.3f} | {peak:.3f} | {same} | {first['sums']:.1f} | "
        f"{first['latency'] * 1e6:.0f} | {step * 1e3:.1f} | {exchanged / step:.0%} | "
        f"{predicted * 1e3:.1f} | {predicted / step:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--codes", type=int, default=48)
    options = parser.parse_args()
    if options.work:
        work(Path(options.work[0]), options.work[1], options.codes)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        (one,) = run(folder, "alone", 1, options.codes)
        print(f"mid, {options.codes} codes; {machine()}")
        print(
            f"one process: {one['bytes'] / 1e6:.0f} MB read, peak {one['peak'] / 1e6:.0f} MB, "
            f"{one['step'] * 1e3:.1f} ms a code\n"
        )
        print(
            "| way, processes | bytes a rank | peak at load | same codes | all-sums | us each "
            "| ms a code | their share | predicted ms | predicted / measured |"
        )
        print("|" + "---|" * 10)
        for size in options.ranks:
            for way in ("tensor", "pipeline"):
                print(row(way, one, run(folder, way, size, options.codes)), flush=True)


if __name__ == "__main__":
    main()
