"""``liquid bench``: how fast a model is on this machine, and how fast it would be on others."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .. import options


def bench(
    model: options.ModelOrPicture = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Predict for each Apple chip; without --model, Liquid 7B."),
    ] = False,
    dtype: options.Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model on this machine, or predict its speed on Apple's chips."""
    if plan:
        from ..bench.predict import Geometry, official, predict, read_data, table

        data = read_data()
        if model is None:
            geometry = official(data)
        else:
            from liquid_mlx.config import LiquidConfig
            from liquid_mlx.hub import resolve

            geometry = Geometry.of(model, LiquidConfig.read(resolve(model)))
        found = predict(geometry, data)
        print(json.dumps(found, indent=2) if as_json else table(found))
        return

    from liquid_mlx import load

    from ..bench.measure import measure, report
    from ..terminal import Status

    name = model or "demo"
    with Status(quiet) as status:
        status.show(f"loading {name}")
        results = measure(load(name, dtype=dtype), status.show)
    print(json.dumps(results, indent=2) if as_json else report(results))
