"""The ``liquid`` command."""


def main() -> None:
    """Run the application."""
