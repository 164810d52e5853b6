"""What a training's log says, as a plot: ``python -m training.measures.log LOG PLOT.svg``."""

import json
import re
import sys
from pathlib import Path
from statistics import mean

from liquid_mlx.evaluation.plots import Point, curves


def lines_of(log: str) -> dict[str, list[Point]]:
    """The checks that a log prints, by step: right codes, and questions on and off the grid."""
    found: dict[str, list[Point]] = {"codes": [], "on the grid": [], "off the grid": []}
    step = 0
    for line in log.splitlines():
        if at := re.match(r"step (\d+)/", line):
            step = int(at[1])
        elif line.startswith("check: "):
            check = json.loads(line.removeprefix("check: "))
            found["codes"].append((step, check["codes"]))
            for name, key in (("on the grid", "grid"), ("off the grid", "free")):
                found[name].append((step, mean(check[key].values())))
    return found


if __name__ == "__main__":
    plot = curves(lines_of(Path(sys.argv[1]).read_text()), "step", "right, as a share")
    Path(sys.argv[2]).write_text(plot.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
