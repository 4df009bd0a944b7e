"""`orders archive`: keep a copy of the journal on another machine, and tell at once when it was tampered with."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.output import exit_on_error, failure
from producers.cli.plugins import JsonOption, command_app
from producers.cli.settings import queue_settings
from producers.redaction import redacted_url
from producers.redis.client import open_client
from producers.signing import PrivateKey, SigningError
from worker.clock import SystemClock
from worker.ledger.raw_journal import RawJournal
from worker.operations.archive.archiver import Archiver, disk_error
from worker.operations.archive.checkpoints import CheckpointWriter
from worker.operations.archive.metrics import serve_metrics
from worker.operations.archive.writer import ArchiveBroken, ArchiveWriter

archive = command_app()
WHERE = "orders archive"


@archive.command()
def _archive(
    folder: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder of the archive.")],
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", metavar="FILE", help="Where signed checkpoints are added.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--sign-with", metavar="KEYFILE", help="The private key that signs checkpoints.")
    ] = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", metavar="PORT", min=0, max=65535, help="Serve metrics here; 0: nowhere.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Follow the journal into daily files in DIR, until Ctrl-C or SIGTERM; it may be killed and started again anywhere.

    Run it on another machine, with a login that can only read the journal, and keep the checkpoints in a third place.
    It never writes to the server. Signs of tampering are logged as errors and noted in the archive, which goes on.
    Exit code 1 if there was one.

    Example: `orders archive --to /archive --checkpoints /mnt/safe/checkpoints.jsonl --sign-with archive.key`
    """
    if (checkpoints is None) != (key is None):
        raise failure("--checkpoints and --sign-with need each other", "Usage", where=WHERE, as_json=as_json)
    if folder.exists() and not folder.is_dir():
        raise failure(f"--to {folder}: it is not a folder", "Usage", where=WHERE, as_json=as_json)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    with exit_on_error(WHERE, as_json=as_json):
        stop, url = _stop_on_signals(), queue_settings().ledger_url
    try:
        signer = CheckpointWriter(checkpoints, PrivateKey.from_file(key)) if checkpoints and key else None
        with open_client(url, decode_responses=False) as client, ArchiveWriter(folder) as writer:
            archiver = Archiver(RawJournal(client), writer, SystemClock(), signer)
            _run(archiver, redacted_url(url), metrics_port, stop)
    except (ArchiveBroken, SigningError, ValueError) as error:
        raise failure(str(error), "Usage", where=WHERE, as_json=as_json) from None
    except OSError as error:
        raise failure(disk_error(error), "Usage", where=WHERE, as_json=as_json) from None
    raise typer.Exit(ExitCode.FAILED if archiver.state.tampered else ExitCode.ACCEPTED)


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set. Called before anything is written: whoever sees a file of the archive may
    end this process in order."""
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    return stop


def _run(archiver: Archiver, url: str, metrics_port: int, stop: threading.Event) -> None:
    if metrics_port:
        try:
            serve_metrics(archiver.state, metrics_port)
        except OSError as error:
            raise ValueError(f"--metrics-port {metrics_port}: {disk_error(error)}") from None
    first = archiver.state.last_seq + 1
    logging.getLogger("orders.archive").info("archiving the journal at %s from entry %d on", url, first)
    archiver.run(stop)
