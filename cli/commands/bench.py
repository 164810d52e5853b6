"""``liquid bench``: how fast a model is on this machine, and how fast it would be on others."""

from __future__ import annotations

from typing import Annotated

import typer

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import UsageError
from liquid_mlx.hub import resolve

from .. import options
from ..bench.predict import Geometry, official, predict, print_plan, read_data
from ..printer import print_fields, print_json
from ..terminal import Status


def bench(
    model: options.OptionalModel = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Predict for Apple chips; default model: Liquid 7B."),
    ] = False,
    dtype: options.Dtype = None,
    share: Annotated[
        bool, typer.Option("--share", help="Print one line, for the table in docs/speed.md.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model on this machine, or predict its speed on Apple's chips."""
    if share and (plan or as_json):
        raise UsageError(f"--share and {'--plan' if plan else '--json'} cannot be combined.")
    if plan:
        data = read_data()
        if model is None:
            geometry = official(data)
        else:
            geometry = Geometry.of(model, LiquidConfig.read(resolve(model)))
        found = predict(geometry, data)
        if as_json:
            print_json(found, indent=2)
        else:
            print_plan(found)
        return
    from ..bench import measure as measuring  # MLX, which neither help nor a prediction needs

    with Status(quiet) as status:
        results = measuring.measure(
            options.load_model(model or "demo", status, dtype=dtype), status.show
        )
    if as_json:
        print_json(results, indent=2)
    elif share:
        print(measuring.share(results), flush=True)
    else:
        print_fields(measuring.report(results))
