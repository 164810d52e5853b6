"""`python -m liquid_mlx.kernels --dump DIR` writes the kernels as files for `xcrun metal -c`."""

import argparse
from pathlib import Path

from liquid_mlx.kernels.dump import dump


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m liquid_mlx.kernels", description=__doc__)
    parser.add_argument("--dump", type=Path, required=True, metavar="DIR", help="where to write")
    folder = parser.parse_args().dump
    print(f"{len(dump(folder))} kernels written to {folder}")


if __name__ == "__main__":
    main()
