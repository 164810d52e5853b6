"""One model over several processes of this machine: ``python -m benchmarks.several.model``.

The mid model (see ``decode``) with random weights in bfloat16, drawn in float32 with guidance, over
the ring backend. For one process, and for each way and number of processes: bytes of weights that a
rank reads and its peak memory at loading, against one process; whether the codes are the same; how
often ranks exchange something for a code; and a code's time against what ``liquid distributed``
predicts from the links that were measured and the bytes a second that a process reads alone: where
all ranks work at the same time, beside as many others, since they share this machine's memory.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from benchmarks.decode import PROMPT, UNCONDITIONAL
from benchmarks.loops.geometry import MID
from benchmarks.loops.side_by_side import machine
from liquid_mlx.cli.bench.machines import Host, ways
from liquid_mlx.cli.bench.predict import WEIGHTS, Geometry
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
    made = 0

    def counted(plain: Callable[..., mx.array]) -> Callable[..., mx.array]:
        def exchange(*arguments: Any, **options: Any) -> mx.array:
            nonlocal made
            made += 1
            return plain(*arguments, **options)

        return exchange

    for name in ("all_sum", "send"):
        setattr(mx.distributed, name, counted(getattr(mx.distributed, name)))
    times, exchanges = [time.perf_counter()], [0]
    draw = Draw([0], ImageParams(guidance=7.0, temperature=0.99, top_k=4096, top_p=0.96))
    for step in draw_codes(backbone, head, whole.image_offset, prefixes, draw, codes):
        mx.eval(step.codes)
        times.append(time.perf_counter())
        exchanges.append(made)
    width = 2 * whole.backbone.hidden_size
    links = measure(team.group, width=width) if team.group is not None else None
    found = {
        "bytes": backbone.bytes_read or (folder / "model.safetensors").stat().st_size,
        "peak": peak,
        "exchanges": statistics.median(np.diff(exchanges[2:-1])),
        "step": statistics.median(np.diff(times[2:])),
        "latency": links.latency if links else 0.0,
        "bandwidth": links.bandwidth if links else 0.0,
        "codes": step.codes.tolist(),
    }
    ranks = team.gather(found)
    if team.first:
        print(json.dumps(ranks))


def run(folder: Path, way: str, size: int, codes: int) -> list[dict[str, Any]]:
    """What every rank measured; ``alone`` are processes of their own, at the same time."""
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{PORT + rank}"] for rank in range(size)]))
    command = [sys.executable, "-m", "benchmarks.several.model", "--work", str(folder), way]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    together = way != "alone"
    if together:
        environment["MLX_HOSTFILE"] = str(hosts)
    processes = [
        subprocess.Popen(
            [*command, "--codes", str(codes)],
            cwd=ROOT,
            env={**environment, **({"MLX_RANK": str(rank)} if together else {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate()[0] for process in processes]
    return [rank for output in outputs if output for rank in json.loads(output)]


def predicted(way: str, step: float, ranks: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of a code as ``liquid distributed`` has them, and those of exchanging.

    Args:
        step: seconds of a code where a process works alone.
    """
    geometry = Geometry.of("mid", config())
    speed = geometry.step_bytes(WEIGHTS["bfloat16"]) / step
    hosts = [Host(str(rank), 1e12, speed) for rank in range(len(ranks))]
    links = {"latency": ranks[0]["latency"], "bandwidth": ranks[0]["bandwidth"]}
    for found in ways(geometry, hosts, efficiency=1.0, **links):
        if (found.way, found.width) == (f"{way} parallel", "bfloat16"):
            return found.seconds / geometry.picture, found.exchanging / geometry.picture
    raise ValueError(way)


def row(way: str, one: dict[str, Any], step: float, ranks: Sequence[dict[str, Any]]) -> str:
    """A line of the table: the largest of the ranks, against one process."""
    size = max(rank["bytes"] for rank in ranks) / one["bytes"]
    peak = max(rank["peak"] for rank in ranks) / one["peak"]
    took = statistics.median(rank["step"] for rank in ranks)
    whole, exchanging = predicted(way, step, ranks)
    same = "yes" if all(rank["codes"] == one["codes"] for rank in ranks) else "no"
    return (
        f"| {way}, {len(ranks)} | {size:.3f} | {peak:.3f} | {same} | {ranks[0]['exchanges']:.0f} | "
        f"{ranks[0]['latency'] * 1e6:.0f} | {took * 1e3:.1f} | {exchanging / took:.0%} | "
        f"{whole * 1e3:.1f} | {whole / took:.2f} |"
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
            "| way, processes | bytes a rank | peak at load | same codes | exchanges | us each "
            "| ms a code | their share | predicted ms | predicted / measured |"
        )
        print("|" + "---|" * 10)
        for size in options.ranks:
            beside = run(folder, "alone", size, options.codes)
            working = {
                "tensor": statistics.median(other["step"] for other in beside),
                "pipeline": one["step"],  # one rank after the other
            }
            for way, step in working.items():
                ranks = run(folder, way, size, options.codes)
                print(row(way, one, step, ranks), flush=True)


if __name__ == "__main__":
    main()
