"""The commands of `orders` that run something: worker, simulator, demo.

`producers` finds them through the entry points ``orders.commands``. What a command needs is imported when it runs.
"""

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from producers.cli.output import emit, exit_on_error, failure, note
from producers.cli.plugins import JsonOption, command_app

_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

POOLS = ("threads", "prefork", "solo")
"""Those that are tested; what the others cost is in ``docs/celery.md``."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

worker, simulator, demo = (command_app() for _ in range(3))


@worker.command(context_settings={**_HELP, "ignore_unknown_options": True, "allow_extra_args": True})
def _worker(
    ctx: typer.Context,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, metavar="N", help="Commands at a time; 16 unless given.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", "-P", metavar="POOL", help="threads (default), prefork or solo.")
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option("--queues", "-Q", metavar="QUEUES", help="Such as orders.close,orders.cancel; all unless given."),
    ] = None,
    level: Annotated[
        str, typer.Option("--loglevel", "-l", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO",
    as_json: Annotated[
        bool, typer.Option("--json", help="The log as JSON lines, also at a terminal; errors before it as a document.")
    ] = False,
) -> None:
    """Run a worker: execute commands from the queues until Ctrl-C or SIGTERM, which let running ones end.

    It becomes `celery -A worker worker` with these options; any other option of that program may follow, such as
    -n w2@%h to name a second worker on this machine. Settings are checked first.

    Example: `orders worker -c 32 -Q orders.cancel,orders.close`
    """
    from worker.cli import celery_main as launch
    from worker.operations.doctor.diagnose import preflight

    for problem in _unfit(pool, queues, level):
        raise failure(problem, "Usage", where="orders worker", as_json=as_json)
    with exit_on_error("orders worker", as_json=as_json):
        problems = preflight()
    if as_json:
        os.environ["ORDERS_LOG__FORMAT"] = "json"
    for problem in problems:
        note(f"orders worker: {problem}")
    options = {"-c": concurrency, "-P": pool, "-Q": queues, "-l": level}
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    command = [sys.executable, str(launch.HERE), "-A", "worker", "worker", *given, *ctx.args]
    # The process becomes Celery's, so that signals and exit codes are Celery's own.
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell


def _unfit(pool: str | None, queues: str | None, level: str) -> Iterator[str]:
    """What Celery would end at with a traceback."""
    from worker.celery_app.queues import SERVED

    if pool not in (None, *POOLS):
        yield f"--pool must be {', '.join(POOLS[:-1])} or {POOLS[-1]}"
    if level.upper() not in LEVELS:
        yield f"--loglevel must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
    strange = [name for name in (queues or "").split(",") if name and name not in SERVED]
    if strange:
        yield f"--queues: there is no queue {', '.join(strange)}; there are {', '.join(SERVED)}"


@simulator.command()
def _simulator(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes a free one.")] = 9100,
    empty: Annotated[bool, typer.Option("--empty", help="No demo accounts.")] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen where other machines can reach it; it has no password.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a simulator of Everstrike and Bit-Z on this machine, until Ctrl-C.

    It checks signatures and clocks, keeps a book, and misbehaves when told to: it loses answers, or executes and then
    says something else. It prints the settings with which a worker talks to it. No real money is anywhere near.

    Example: `orders simulator --port 9100`
    """
    import logging

    from worker.simulator.server import serve

    where = "orders simulator"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    _be_free(host, port, as_json=as_json)
    try:
        serve(host, port, demo=not empty, allow_remote=allow_remote, on_ready=lambda url: _ready(url, empty, as_json))
    except ValueError as refusal:
        raise failure(str(refusal), "Usage", where=where, as_json=as_json) from None


def _be_free(host: str, port: int, *, as_json: bool) -> None:
    """Exit with a plain message when the address can't be listened on."""
    import socket

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            # As the server does: connections that just ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        message = f"can't listen on {host} port {port}: {error.strerror}. Choose another with --port, 0 for a free one"
        raise failure(message, "AddressUnavailable", where="orders simulator", as_json=as_json) from None


def _ready(url: str, empty: bool, as_json: bool) -> None:
    from worker.simulator import simulator as state

    environment: dict[str, str] = {}
    if not empty:
        for alias, venue, key, secret in (
            ("MAIN", "everstrike", state.DEMO_EVERSTRIKE_KEY, state.DEMO_EVERSTRIKE_SECRET),
            ("BITZ", "bitz", state.DEMO_BITZ_KEY, state.DEMO_BITZ_SECRET),
        ):
            values = {"VENUE": venue, "API_KEY": key, "SECRET_KEY": secret, "BASE_URL": url}
            environment.update({f"ORDERS_ACCOUNTS__{alias}__{name}": value for name, value in values.items()})
    if as_json:
        emit({"url": url, "environment": environment})
    else:
        print(f"Everstrike and Bit-Z are simulated on {url}; Ctrl-C ends it.")
        if environment:
            print("A worker talks to it with these settings (demo keys, which open nothing else):\n")
        for name, value in environment.items():
            print(f"export {name}={value}")
    sys.stdout.flush()


@demo.command()
def _demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running, to try things, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """See all of it work on this machine: a server, the simulator and a worker are started, and commands are sent.

    Settings in the environment are not used: no real account, broker or venue is touched. Exit code 0 when everything
    was as the contract says.
    """
    from worker.demo import run_demo

    raise typer.Exit(run_demo(keep=keep, json_output=as_json))
