"""One model over several processes of this machine: ``python -m benchmarks.several.model``.

The mid model (see ``decode``) with random weights in bfloat16, drawn in float32 with guidance, over
the ring backend. For each way and number of processes: bytes of weights that a rank reads and its
peak memory at loading, against one process; whether the codes are the same; how often ranks
exchange something for a code; in tensor parallel the share of a code's time by which it is shorter
without exchanges; and that time against what ``liquid distributed`` predicts from the links that
were measured and the bytes a second that each process reads alone: where all ranks work at the same
time, while the others do so, since they share this machine's memory.

All of this is timed in turn, a few codes of each in every round, by the same processes: what else
the machine does then falls on everything. The table has the middle of all rounds.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
from liquid_mlx.distributed.ranks import Team, join
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.params import ImageParams
from liquid_mlx.weights import flat, load_backbone, shard_for

ROOT = Path(__file__).parents[2]
PORT = 33400
FIRST = 2  # codes of a drawing that are not timed


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


@contextmanager
def exchanging(**operations: Any) -> Iterator[None]:
    """``mx.distributed`` with other operations."""
    plain = {name: getattr(mx.distributed, name) for name in operations}
    try:
        for name, operation in operations.items():
            setattr(mx.distributed, name, operation)
        yield
    finally:
        for name, operation in plain.items():
            setattr(mx.distributed, name, operation)


class Exchanges:
    """Counts exchanges as they are made; ``made`` so far."""

    made = 0

    def counted(self) -> AbstractContextManager[None]:
        def counting(plain: Callable[..., mx.array]) -> Callable[..., mx.array]:
            def exchange(*arguments: Any, **options: Any) -> mx.array:
                self.made += 1
                return plain(*arguments, **options)

            return exchange

        names = ("all_sum", "send")
        return exchanging(**{name: counting(getattr(mx.distributed, name)) for name in names})


class Drawing:
    """Draws with a whole model, or with a rank's part of it."""

    def __init__(self, backbone: Backbone):
        whole = config()
        self.backbone, self.offset = backbone, whole.image_offset
        self.head = backbone.head(self.offset, self.offset + whole.vqgan.n_embed, exact=True)
        self.prefixes = [prefill(backbone, ids) for ids in (PROMPT, UNCONDITIONAL)]

    def steps(self, codes: int) -> Iterator[mx.array]:
        """The codes so far, each time there is one more."""
        draw = Draw([0], ImageParams(guidance=7.0, temperature=0.99, top_k=4096, top_p=0.96))
        for step in draw_codes(self.backbone, self.head, self.offset, self.prefixes, draw, codes):
            mx.eval(step.codes)
            yield step.codes

    def codes(self, codes: int) -> tuple[list[Any], int]:
        """All codes, and the exchanges of one of them."""
        counter = Exchanges()
        with counter.counted():
            steps = [(found, counter.made) for found in self.steps(codes)]
        made = [exchanges for _, exchanges in steps]
        return steps[-1][0].tolist(), int(np.median(np.diff(made[FIRST:-1])))

    def seconds(self, codes: int) -> float:
        """Of a code."""
        times = [time.perf_counter() for _ in self.steps(codes + FIRST)]
        return float(np.median(np.diff(times[FIRST - 1 :])))


def one_round(
    team: Team, way: str, part: Drawing, whole: Drawing, codes: int
) -> dict[str, float | list[float]]:
    """Seconds of a code in every way, and of what the links do; the slowest rank's."""
    assert team.group is not None
    config = part.backbone.config
    links = measure(team.group, hidden=config.hidden_size, inner=config.intermediate_size)
    alone = 0.0
    if way == "tensor":  # all at once
        team.gather(None)
        alone = whole.seconds(codes)
    for rank in range(team.size):
        if way == "pipeline" and rank == team.rank:  # one after the other
            alone = whole.seconds(codes)
        team.gather(None)
    found: dict[str, float | list[float]] = {
        "alone": team.gather(alone),
        "step": max(team.gather(part.seconds(codes))),
        "latency": links.latency if way == "tensor" else links.alone,  # where one waits anyway
        "bandwidth": links.bandwidth,
    }
    if way == "tensor":  # all that a rank computes, and no exchange: the ids are wrong
        with exchanging(all_sum=lambda x, **_: x):
            apart = part.seconds(codes)
        found["apart"] = max(team.gather(apart))
    return found


def work(folder: Path, way: str, codes: int, rounds: int) -> None:
    """One rank: load, draw, and print what was measured; rank 0 prints that of all."""
    team, whole, layers = join(), config(), None
    if way == "pipeline":
        count = whole.backbone.num_hidden_layers
        layers = [count * (r + 1) // team.size - count * r // team.size for r in range(team.size)]
    mx.reset_peak_memory()
    shard = shard_for(whole, team.group, layers) if team.group is not None else None
    part = Drawing(load_backbone(folder, whole, "float32", shard))
    peak = mx.get_peak_memory()
    drawn, exchanges = part.codes(24)
    found = {
        "bytes": part.backbone.bytes_read or (folder / "model.safetensors").stat().st_size,
        "peak": peak,
        "exchanges": exchanges,
        "codes": drawn,
    }
    if team.group is not None:
        other = Drawing(load_backbone(folder, whole, "float32"))
        found["rounds"] = []
        for _ in range(rounds):
            found["rounds"].append(one_round(team, way, part, other, codes))
            if team.first:
                print(json.dumps(found["rounds"][-1]), file=sys.stderr)
    ranks = team.gather(found)
    if team.first:
        print(json.dumps(ranks))


def run(folder: Path, way: str, size: int, *options: object) -> list[dict[str, Any]]:
    """What every rank measured."""
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{PORT + rank}"] for rank in range(size)]))
    command = [sys.executable, "-m", "benchmarks.several.model", *map(str, options)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if size > 1:
        environment["MLX_HOSTFILE"] = str(hosts)
    processes = [
        subprocess.Popen(
            [*command, "--work", str(folder), way],
            cwd=ROOT,
            env={**environment, **({"MLX_RANK": str(rank)} if size > 1 else {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    ranks: list[dict[str, Any]] = json.loads("".join(p.communicate()[0] for p in processes))
    return ranks


def predicted(way: str, found: dict[str, Any]) -> float:
    """Seconds of a code as ``liquid distributed`` has them, by what was measured in a round."""
    geometry = Geometry.of("mid", config())
    size = geometry.step_bytes(WEIGHTS["bfloat16"])
    hosts = [Host(str(rank), 1e12, size / alone) for rank, alone in enumerate(found["alone"])]
    links = {"latency": found["latency"], "bandwidth": found["bandwidth"]}
    for one in ways(geometry, hosts, efficiency=1.0, **links):
        if (one.way, one.width) == (f"{way} parallel", "bfloat16"):
            return one.seconds / geometry.picture
    raise ValueError(way)


def row(way: str, one: dict[str, Any], ranks: Sequence[dict[str, Any]]) -> str:
    """A line of the table: the largest of the ranks, against one process."""
    rounds = ranks[0]["rounds"]

    def middle(value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(value, rounds))

    size = max(rank["bytes"] for rank in ranks) / one["bytes"]
    peak = max(rank["peak"] for rank in ranks) / one["peak"]
    same = "yes" if all(rank["codes"] == one["codes"] for rank in ranks) else "no"
    share = "" if way != "tensor" else f"{middle(lambda r: 1 - r['apart'] / r['step']):.0%}"
    alone = middle(lambda r: max(r["alone"]))
    right = [predicted(way, found) / found["step"] for found in rounds]
    return (
        f"| {way}, {len(ranks)} | {size:.3f} | {peak:.3f} | {same} | {ranks[0]['exchanges']} | "
        f"{middle(lambda r: r['latency']) * 1e6:.0f} | {alone * 1e3:.1f} | "
        f"{middle(lambda r: r['step']) * 1e3:.1f} | {share} | "
        f"{middle(lambda r: predicted(way, r)) * 1e3:.1f} | "
        f"{statistics.median(right):.2f} ({min(right):.2f} to {max(right):.2f}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--codes", type=int, default=8, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.work:
        work(Path(options.work[0]), options.work[1], options.codes, options.rounds)
        return
    amount = ("--codes", options.codes, "--rounds", options.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        (one,) = run(folder, "alone", 1)
        print(f"mid, {options.rounds} rounds of {options.codes} codes; {machine()}")
        print(f"one process: {one['bytes'] / 1e6:.0f} MB read, peak {one['peak'] / 1e6:.0f} MB\n")
        print(
            "| way, processes | bytes a rank | peak at load | same codes | exchanges | us each "
            "| ms a code alone | together | share of exchanges | predicted | predicted / measured |"
        )
        print("|" + "---|" * 11)
        for size in options.ranks:
            for way in ("tensor", "pipeline"):
                print(row(way, one, run(folder, way, size, *amount)), flush=True)


if __name__ == "__main__":
    main()
