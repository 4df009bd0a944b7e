"""The commands of `orders` that run something: worker, simulator, demo.

`producers` finds them through the entry points ``orders.commands``. What a command needs is imported when it runs.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any

import typer

from producers.cli.forms import json_option
from producers.cli.output import emit, exit_on_error, failure, note
from producers.cli.plugins import JsonOption, command_app

_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

POOLS = ("threads", "prefork", "solo")
"""The pools that are tested; ``docs/celery.md`` has the problems of the others."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

REDIS_PORT = 6379
"""Where programs look for a server by default (``ORDERS_REDIS_URL``)."""

worker, simulator, demo = (command_app() for _ in range(3))


@worker.command(context_settings={**_HELP, "ignore_unknown_options": True, "allow_extra_args": True})
def _worker(
    ctx: typer.Context,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, metavar="N", help="Commands at a time; default: 16.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", "-P", metavar="POOL", help="threads (default), prefork or solo.")
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option("--queues", "-Q", metavar="QUEUES", help="Such as orders.close,orders.cancel; default: all."),
    ] = None,
    level: Annotated[
        str, typer.Option("--loglevel", "-l", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO",
    as_json: Annotated[
        bool,
        json_option("Log JSON lines, also at a terminal; print an error before that as a document."),
    ] = False,
) -> None:
    """Run a worker: execute commands from the queues until Ctrl-C or SIGTERM, which let running commands end.

    The process becomes `celery -A worker worker` with these options. Any other option of that program may follow, such
    as -n w2@%h to name a second worker on this machine. The settings are checked first.

    Example: `orders worker -c 32 -Q orders.cancel,orders.close`
    """
    from worker.cli import celery_main
    from worker.operations.doctor.diagnose import preflight

    for problem in _usage_problems(pool, queues, level):
        raise failure(problem, "Usage", where="orders worker", as_json=as_json)
    with exit_on_error("orders worker", as_json=as_json):
        problems = preflight()
    if as_json:
        os.environ["ORDERS_LOG__FORMAT"] = "json"
    for problem in problems:
        note(f"orders worker: {problem}")
    options = {"-c": concurrency, "-P": pool, "-Q": queues, "-l": level}
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    command = [sys.executable, str(celery_main.HERE), "-A", "worker", "worker", *given, *ctx.args]
    # The process becomes Celery's, so that signals and exit codes are Celery's own.
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell


def _usage_problems(pool: str | None, queues: str | None, level: str) -> Iterator[str]:
    """Arguments at which Celery would end with a traceback."""
    from worker.celery_app.queues import SERVED

    if pool not in (None, *POOLS):
        yield f"--pool must be {', '.join(POOLS[:-1])} or {POOLS[-1]}"
    if level.upper() not in LEVELS:
        yield f"--loglevel must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
    unknown = [name for name in (queues or "").split(",") if name and name not in SERVED]
    if unknown:
        yield f"--queues: unknown queue {', '.join(unknown)}; the queues are {', '.join(SERVED)}"


@simulator.command()
def _simulator(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 selects a free port.")] = 9100,
    empty: Annotated[bool, typer.Option("--empty", help="Start without demo accounts.")] = False,
    with_server: Annotated[
        bool,
        typer.Option("--with-server", help="Also run a Redis-compatible server on this machine; its data is deleted."),
    ] = False,
    server_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="The port of that server.")
    ] = REDIS_PORT,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Allow an address that other machines can reach; there is no password."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a simulator of Everstrike, Bit-Z, Kraken Futures and OKX on this machine, until Ctrl-C.

    It checks signatures and clocks, records what it executes, and can inject faults: lose a response, or execute a
    request and answer something else. It prints the settings for a worker; `orders init --simulator` writes them to a
    file. No real money is involved.

    Example: `orders simulator --port 9100`
    """
    import logging

    from worker.simulator.server import serve

    where = "orders simulator"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    _require_free_address(host, port, as_json=as_json)
    try:
        with _server(server_port, as_json=as_json) if with_server else nullcontext(""):
            serve(
                host, port, demo=not empty, allow_remote=allow_remote, on_ready=lambda url: _ready(url, empty, as_json)
            )
    except ValueError as refusal:
        raise failure(str(refusal), "Usage", where=where, as_json=as_json) from None


@contextmanager
def _server(port: int, *, as_json: bool) -> Iterator[str]:
    """The embedded server of the demo on a fixed port; yields its URL, and deletes its data."""
    from worker.demo.environment import DemoEnvironment
    from worker.demo.process import ProcessFailed

    _require_free_address("127.0.0.1", port, as_json=as_json, option="--server-port")
    environment = DemoEnvironment()
    try:
        url = environment.start_server(port)
        note(f"A Redis-compatible server runs at {url}, for trying: its data is deleted when the simulator ends.")
        yield url
    except ProcessFailed as error:
        raise failure(str(error), "Unreachable", where="orders simulator", as_json=as_json) from None
    finally:
        environment.stop()
        environment.remove()


def _require_free_address(host: str, port: int, *, as_json: bool, option: str = "--port") -> None:
    """Exit with a message if the address cannot be listened on."""
    import socket

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            # As the server does: recently closed connections do not block the address.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        more = ", or 0 for a free one" if option == "--port" else ""
        message = f"can't listen on {host} port {port}: {error.strerror}. Choose another {option}{more}"
        raise failure(message, "AddressUnavailable", where="orders simulator", as_json=as_json) from None


def _ready(url: str, empty: bool, as_json: bool) -> None:
    from importlib.util import find_spec

    from worker.simulator.simulator import DEMO_ACCOUNTS

    environment: dict[str, str] = {}
    for demo in () if empty else DEMO_ACCOUNTS.values():
        # Without the extra a worker does not start with such an account.
        if not demo.setting.startswith("ccxt:") or find_spec("ccxt") is not None:
            environment |= demo.settings(url)
    if as_json:
        emit({"url": url, "environment": environment})
    else:
        print(f"Simulating Everstrike, Bit-Z, Kraken Futures and OKX at {url}; Ctrl-C stops it.")
        if environment:
            print("`orders init --simulator` writes the settings of an account to a file.")
            print("Settings for a worker (these demo keys work nowhere else):\n")
        for name, value in environment.items():
            print(f"export {name}={value}")
    sys.stdout.flush()


@demo.command()
def _demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running until Ctrl-C, to experiment.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run everything on this machine: start a server, the simulator and a worker, and send commands.

    Settings in the environment are ignored: no real account, broker or venue is used. Exit code 0 if every outcome is
    as the contract says.
    """
    from worker.demo import run_demo

    raise typer.Exit(run_demo(keep=keep, json_output=as_json))
