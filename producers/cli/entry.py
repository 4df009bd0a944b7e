"""The console script `orders`: importing the program takes a moment, in which Ctrl-C must not end in a traceback."""

import sys


def main() -> None:
    """Import the program and run it."""
    try:
        from producers.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("orders: interrupted before it began\n")
        raise SystemExit(130) from None
    run()
