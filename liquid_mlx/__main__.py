"""``python -m liquid_mlx``: the ``liquid`` command."""

from liquid_mlx.cli.entry import main

main()
