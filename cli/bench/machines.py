"""Predictions for several machines: what fits how, and how long an image takes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from liquid_mlx.distributed.shards import shares_by_memory
from liquid_mlx.errors import SettingsError

from ..printer import print_table
from ..terminal import duration, one_line
from .predict import HALF, ROWS, WEIGHTS, Geometry

USABLE = 0.75  # of a Mac's memory: what Metal recommends as the most to work with
OTHERS = 1.5e9  # bytes of image tokenizer, its decoding and MLX's own, on every machine


@dataclass(frozen=True)
class Host:
    """A machine: its memory in bytes, and the bytes a second at which it reads weights."""

    name: str
    memory: float
    speed: float

    @classmethod
    def parse(cls, text: str, chips: Sequence[dict[str, Any]]) -> Host:
        """Read ``NAME=CHIP,GB``, where CHIP is one of ``chips`` or its GB/s."""
        name, _, rest = text.partition("=")
        chip, _, memory = rest.rpartition(",")
        known = {one["chip"].lower(): one["gb_per_s"] for one in chips}
        try:
            speed = float(known.get(chip.strip().lower(), chip)) * 1e9
            size = float(memory) * 1e9
        except ValueError:
            speed = size = 0.0
        if not name or not 0 < speed < 1e15 or not 0 < size < 1e15:
            raise SettingsError(
                f"{text[:60]!r} is no machine: write NAME=CHIP,GB such as mini.local=M4,16, where "
                "CHIP is one of `liquid bench --plan`, or its GB/s of memory bandwidth."
            )
        return cls(name.strip(), size, speed)


@dataclass(frozen=True)
class Way:
    """One way of running: bytes on each machine, and what an image takes."""

    way: str
    width: str
    gb: list[float]
    fits: bool
    seconds: float
    reading: float  # seconds of it for reading weights
    sums: int  # all-sums, or transfers, for a code
    exchanging: float  # seconds of it for these
    options: str  # of `liquid generate`
    images_at_once: int = 1


def ways(
    geometry: Geometry,
    hosts: Sequence[Host],
    *,
    latency: float,
    bandwidth: float,
    efficiency: float,
) -> list[Way]:
    """Every way of using these machines, for every width of weights; the quickest that fits first.

    Args:
        latency: seconds of one all-sum of a step's few kilobytes, as ``measure`` has it.
        bandwidth: bytes a second of a link.
        efficiency: the share of its bandwidth at which a machine reads weights.
    """
    found = []
    for width, bits in WEIGHTS.items():
        found += [
            *_each_alone(geometry, hosts, width, bits, efficiency),
            *_tensor(geometry, hosts, width, bits, latency, bandwidth, efficiency),
            *_pipeline(geometry, hosts, width, bits, latency, bandwidth, efficiency),
        ]
    return sorted(found, key=lambda way: (not way.fits, way.seconds / way.images_at_once))


def _fits(hosts: Sequence[Host], sizes: Sequence[float]) -> bool:
    return all(size <= USABLE * h.memory for h, size in zip(hosts, sizes, strict=True))


def _way(hosts: Sequence[Host], sizes: Sequence[float], **values: Any) -> Way:
    seconds = values["reading"] + values["exchanging"]
    gb = [round(size / 1e9, 2) for size in sizes]
    return Way(gb=gb, fits=_fits(hosts, sizes), seconds=seconds, **values)


def _each_alone(
    geometry: Geometry, hosts: Sequence[Host], width: str, bits: float, efficiency: float
) -> list[Way]:
    """Data parallel: each machine draws images of its own; at the slowest one's pace."""
    size = geometry.weight_bytes(bits) + OTHERS
    slowest = min(host.speed for host in hosts) * efficiency
    reading = geometry.picture * geometry.step_bytes(bits) / slowest
    return [
        _way(
            hosts,
            [size] * len(hosts),
            way="data parallel" if len(hosts) > 1 else "alone",
            width=width,
            reading=reading,
            sums=0,
            exchanging=0.0,
            options="",
            images_at_once=len(hosts),
        )
    ]


def _tensor(
    geometry: Geometry,
    hosts: Sequence[Host],
    width: str,
    bits: float,
    latency: float,
    bandwidth: float,
    efficiency: float,
) -> list[Way]:
    """Every machine has a part of every layer: two all-sums a layer, and two for each id."""
    config, n = geometry.backbone, len(hosts)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if n == 1 or heads % n or (kv_heads % n and n % kv_heads):
        return []
    body = geometry.body * bits / 8
    size = geometry.weight_bytes(bits) / n + geometry.code_bytes(bits) + OTHERS
    read = geometry.step_bytes(bits) - body + body / n
    slowest = min(host.speed for host in hosts) * efficiency
    sums = 2 * config.num_hidden_layers + 2  # the id that was drawn, and its embedding
    moved = 2 * (n - 1) / n * ROWS * config.hidden_size * HALF
    return [
        _way(
            hosts,
            [size] * n,
            way="tensor parallel",
            width=width,
            reading=geometry.picture * read / slowest,
            sums=sums,
            exchanging=geometry.picture * sums * (latency + moved / bandwidth),
            options="--tensor-parallel",
        )
    ]


def _pipeline(
    geometry: Geometry,
    hosts: Sequence[Host],
    width: str,
    bits: float,
    latency: float,
    bandwidth: float,
    efficiency: float,
) -> list[Way]:
    """Machines one after the other: a code passes all, then its hidden state and id go round."""
    config, n = geometry.backbone, len(hosts)
    if n == 1 or n > config.num_hidden_layers:
        return []
    body = geometry.body * bits / 8
    rest = (geometry.weight_bytes(bits) - body) / n + geometry.code_bytes(bits)
    room = [max(1, int(USABLE * host.memory - rest - OTHERS)) for host in hosts]
    shares = shares_by_memory(config.num_hidden_layers, room)
    layer = body / config.num_hidden_layers
    head = geometry.step_bytes(bits) - body
    slowest = min(host.speed for host in hosts)
    reading = head / slowest
    reading += sum(layer * s / host.speed for s, host in zip(shares, hosts, strict=True))
    steps = n - 1 + 3  # from one to the next, the last one's hidden state, the id, its embedding
    moved = ROWS * config.hidden_size * HALF
    return [
        _way(
            hosts,
            [rest + layer * share + OTHERS for share in shares],
            way="pipeline parallel",
            width=width,
            reading=geometry.picture * reading / efficiency,
            sums=steps,
            exchanging=geometry.picture * steps * (latency + moved / bandwidth),
            options=f"--pipeline-parallel {','.join(map(str, shares))}",
        )
    ]


def launch_lines(hosts: Sequence[Host], way: Way, model: str) -> list[str]:
    """The commands that set the machines up once, and that draw."""
    names = ",".join(host.name for host in hosts)
    draw = ["liquid", "generate", "-p", "a red circle", "--model", model, *way.options.split()]
    return [
        f"mlx.distributed_config --hosts {shlex.quote(names)} --over thunderbolt --backend ring "
        "--output-hostfile hosts.json",
        f"mlx.launch --hostfile hosts.json -- {shlex.join(draw)}",
    ]


def plan(
    geometry: Geometry,
    hosts: Sequence[Host],
    *,
    latency: float,
    bandwidth: float,
    efficiency: float,
    model: str,
) -> dict[str, Any]:
    """All ways, with the assumptions that they rest on."""
    found = ways(geometry, hosts, latency=latency, bandwidth=bandwidth, efficiency=efficiency)
    best = found[0]
    return {
        "model": geometry.name,
        "prediction": True,
        "hosts": [asdict(host) for host in hosts],
        "latency": latency,
        "bandwidth": bandwidth,
        "efficiency": efficiency,
        "usable_memory": USABLE,
        "rows": ROWS,
        "codes": geometry.picture,
        "ways": [asdict(way) for way in found],
        "commands": launch_lines(hosts, best, model) if best.fits else [],
    }


def print_machines(found: dict[str, Any]) -> None:
    """Print a plan as a table, with its assumptions above and the commands below."""
    print(f"{one_line(found['model'])}, an image of {found['codes']} codes with guidance.")
    print("This is a prediction, not a measurement. It assumes that")
    print(f"- a machine reads weights at {found['efficiency']:.0%} of its memory bandwidth,")
    print(f"- {found['usable_memory']:.0%} of its memory can be used,")
    print(f"- an all-sum takes {found['latency'] * 1e6:.0f} us, and a link carries")
    print(
        f"  {found['bandwidth'] / 1e9:.1f} GB/s (`liquid distributed --measure` measures both).\n"
    )
    rows = [
        [
            way["way"],
            way["width"],
            " + ".join(f"{size:.1f}" for size in way["gb"]),
            "yes" if way["fits"] else "no",
            duration(way["seconds"] / way["images_at_once"]),
            str(way["sums"]),
            f"{way['exchanging'] / way['seconds']:.0%}" if math.isfinite(way["seconds"]) else "",
        ]
        for way in found["ways"]
    ]
    header = ["way", "weights", "GB", "fits", "an image takes", "exchanges a code", "their share"]
    print_table(header, rows, right=range(2, 7))
    for command in found["commands"]:
        print(f"\n{one_line(command)}")
    if not found["commands"]:
        print("\nNothing fits these machines: add one, or memory.")
