"""`python -m worker.simulator`: the simulated venues on one port, with demo accounts unless `--empty`."""

import argparse
import logging
import os
from pathlib import Path

from worker.simulator.server import DEFAULT_HOST, DEFAULT_PORT, serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.simulator", description=__doc__)
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--empty", action="store_true", help="no demo accounts")
    parser.add_argument("--allow-remote", action="store_true", help="listen on an address other machines can reach")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--ready-fd", type=int, help="write the URL to this open file descriptor once it listens")
    parser.add_argument("--ready-file", type=Path, help="write the URL to this file once it listens")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when the standard input ends")
    return parser


def main() -> None:
    """Read the arguments and serve; write the URL where the arguments say."""
    parser = _parser()
    args = parser.parse_args()
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")

    def ready(url: str) -> None:
        if args.ready_fd is not None:
            os.write(args.ready_fd, f"{url}\n".encode())
            os.close(args.ready_fd)
        if args.ready_file is not None:
            # Renamed into place, so that a reader never sees a part of the file.
            draft = args.ready_file.with_name(f"{args.ready_file.name}.{os.getpid()}")
            draft.write_text(f"{url}\n", encoding="utf-8")
            draft.replace(args.ready_file)

    try:
        serve(
            args.host,
            args.port,
            demo=not args.empty,
            allow_remote=args.allow_remote,
            on_ready=ready,
            stop_with_stdin=args.stop_with_stdin,
        )
    except ValueError as refusal:
        parser.error(str(refusal))


if __name__ == "__main__":
    main()
