"""``liquid distributed``: what several machines can do together, and how fast they are joined."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import UsageError
from liquid_mlx.hub import resolve

from .. import options, together
from ..bench.machines import Host, plan, print_machines
from ..bench.predict import Geometry, official, read_data
from ..printer import print_fields, print_json
from ..terminal import Status

LATENCY, BANDWIDTH = 50.0, 3.0  # of an all-sum over Thunderbolt in us, and of a link in GB/s


def distributed(
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CHIP,GB", help="A machine: its chip (or GB/s), its memory."),
    ] = None,
    latency: Annotated[
        float, typer.Option(metavar="US", min=0, max=1e6, help="Of an all-sum, in microseconds.")
    ] = LATENCY,
    bandwidth: Annotated[
        float, typer.Option(metavar="GB/S", min=1e-3, max=1e6, help="Of a link.")
    ] = BANDWIDTH,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the links instead, under mlx.launch.")
    ] = False,
    model: options.OptionalModel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan what fits several machines, or measure their links. Default model: Liquid 7B."""
    if measure == bool(host):
        raise UsageError("Give the machines, each as --host NAME=CHIP,GB; or --measure.")
    if measure:
        _measure(as_json, quiet)
        return
    data = read_data()
    if model is None:
        geometry, name = official(data), "liquid-7b"
    else:
        geometry, name = Geometry.of(model, LiquidConfig.read(resolve(model))), model
    hosts = [Host.parse(text, data["chips"]) for text in host or []]
    least, most = data["efficiency"]["least"], data["efficiency"]["most"]
    found = plan(
        geometry,
        hosts,
        latency=latency / 1e6,
        bandwidth=bandwidth * 1e9,
        efficiency=(least + most) / 2,
        model=name,
    )
    if as_json:
        print_json(found, indent=2)
    else:
        print_machines(found)


def _measure(as_json: bool, quiet: bool) -> None:
    with Status(quiet) as status:
        team = together.start(status)
        if team.group is None:
            raise UsageError(
                "--measure needs several processes: start it with `mlx.launch --hostfile "
                "hosts.json -- liquid distributed --measure`."
            )
        from liquid_mlx.distributed.links import measure  # MLX, which a prediction does without

        links = measure(team.group)
    if not team.first:
        return
    values: dict[str, Any] = {
        "ranks": links.ranks,
        "latency_seconds": links.latency,
        "alone_seconds": links.alone,
        "bytes_per_second": links.bandwidth,
    }
    if as_json:
        print_json(values, indent=2)
        return
    print_fields(
        {
            "processes": str(links.ranks),
            "an all-sum": f"{links.latency * 1e6:.0f} us of a step ({links.alone * 1e6:.0f} alone)",
            "a link": f"{links.bandwidth / 1e9:.2f} GB/s",
        }
    )
