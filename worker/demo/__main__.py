"""``python -m worker.demo``: the demo without the ``orders`` program."""

import argparse

from worker.demo import run_demo


def main() -> int:
    """Read the arguments and run the demo."""
    parser = argparse.ArgumentParser(prog="python -m worker.demo", description="The order execution worker at work.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, with Flower, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    return run_demo(keep=arguments.keep, json_output=arguments.json)


if __name__ == "__main__":
    raise SystemExit(main())
