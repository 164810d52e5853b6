"""``python -m liquid_mlx.cli`` is ``liquid``."""

from .entry import main

main()
