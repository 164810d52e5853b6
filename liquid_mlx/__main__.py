"""``python -m liquid_mlx``: the ``liquid`` command."""

from liquid_mlx.cli.main import main

main()
