"""Messages and intents in one transaction, where broker and ledger are one server: what is sent, what an error does."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from celery import Task, signals

from producers import base_client, message_text
from producers.client import OrderClient
from producers.commands import COMMANDS, Cancel, Close, Command, Positions, Submit, Withdraw
from producers.errors import BrokerUnavailable
from producers.intents import OUTBOX_KEYS
from producers.lanes import Lane
from producers.redis.url import one_server
from producers.sending import MAX_TOGETHER
from producers.settings import QueueSettings
from tests.contract.conftest import configured
from tests.support.clients import ClientClass, client_class
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from tests.support.tcp_proxy import FaultyProxy

__all__ = ["client_class"]
CLOSE = Close(account="main", pair="USD_BTC_PERP", qty="0.10", price="1.5", direction="long", deadline=2)
CANCEL = Cancel(account="main", order_id='né"\\%(id)s')
COMMANDS_SENT: dict[str, Command] = {
    "close": CLOSE,
    "submit": Submit(account="main", pair="P", side="buy", qty="0.10", price="1.50", post_only=True),
    "cancel": CANCEL,
    "withdraw": Withdraw(account="main", asset="ETH", qty="1", address="0xabc", tag="100%"),
    "positions": Positions(account="main", contract_id=7),
}


@pytest.fixture
def server(server: Server) -> Server:
    server.flush()
    return server


def settings(server: Server | FaultyProxy, **more: Any) -> QueueSettings:
    return QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}", **more)


@pytest.fixture
def client(server: Server, client_class: ClientClass) -> Iterator[OrderClient]:
    with client_class(settings(server)) as sender:
        yield sender


def messages(server: Server, queue: str) -> list[str]:
    """The messages of a queue, oldest first."""
    with server.client(0) as broker:
        return list(reversed(broker.lrange(queue, 0, -1)))


def stored(server: Server, without: str = "delivery_tag") -> dict[str, Any]:
    """Every key of broker and ledger with its value; each message without its delivery tag."""
    found: dict[str, Any] = {}
    mark = re.compile(rf'"({without})": "[0-9a-f-]{{36}}"')
    with server.client(0) as broker, server.client(2) as ledger:
        for key in broker.keys("orders.*"):
            found[key] = [mark.sub("", each) for each in messages(server, key)]
        found |= {key: ledger.hgetall(key) for key in ledger.scan_iter()}
    return found


@contextmanager
def listened_to() -> Iterator[list[str]]:
    """Somebody listens to what Celery publishes, so Celery must publish it."""
    heard: list[str] = []

    def hear(sender: str, **_: Any) -> None:
        heard.append(sender)

    signals.before_task_publish.connect(hear)
    try:
        yield heard
    finally:
        signals.before_task_publish.disconnect(hear)


# -- what is sent ------------------------------------------------------------------------------------------------------

TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": 'a="b%",c=d'}


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("lane", [None, Lane("%s{}"), Lane("b", "pass")], ids=["no lane", "hold", "pass"])
@pytest.mark.parametrize("headers", [{}, TRACED], ids=["untraced", "traced"])
@pytest.mark.parametrize("name", COMMANDS_SENT)
def test_it_is_what_celery_would_send(
    server: Server, name: str, sealed: bool, lane: Lane | None, headers: Mapping[str, str], client_class: ClientClass
) -> None:
    """To the last byte, order of the fields included: other programs read messages and intents."""
    assert {COMMANDS[f"orders.{each}"] for each in COMMANDS_SENT} == {*COMMANDS.values()}
    found = []
    # Celery names the thread that publishes, to which nobody replies; for asyncio it is one of several.
    without = "delivery_tag" if client_class is OrderClient else "delivery_tag|reply_to"
    with client_class(settings(server), signer=fixed_key("payroll") if sealed else None) as sender:
        sent = sender._message(COMMANDS_SENT[name], f'payroll.né "\\%(id)s {name}', 1_790_000_000_000, lane)
        for way in (nullcontext([]), listened_to()):
            server.flush()
            with way as heard:
                sender._sender.send([sent], [headers])
            assert len(heard) == len(found)
            found.append(stored(server, without))
    ours, celerys = found
    assert ours == celerys
    assert [len(value) for value in ours.values()] == [1] * (1 + sent_with_intent(sent.task))


def test_any_name_of_a_machine_makes_a_message(
    server: Server, client: OrderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_text, "anon_nodename", lambda: 'gen1@né"\\%(id)s')
    client.enqueue(CANCEL)
    (text,) = messages(server, CANCEL.task)
    assert json.loads(text)["headers"]["origin"] == 'gen1@né"\\%(id)s'


def sent_with_intent(task: str) -> bool:
    return task in OUTBOX_KEYS


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    between = FaultyProxy(server.url())
    yield between
    between.close()


def test_it_is_one_transaction_intents_first(proxy: FaultyProxy, client_class: ClientClass) -> None:
    """On one connection: one round trip, and one visit to the server's disk, however many commands there are."""
    with client_class(settings(proxy)) as sender:
        sender.enqueue(CLOSE)
        proxy.received.clear()
        sender.enqueue_many([CANCEL, CLOSE, CLOSE, Positions(account="main"), CANCEL])
        words = re.findall(rb"\*\d+\r\n\$\d+\r\n(\S+)(?:\r\n\$\d+\r\n(\S+))?", proxy.received)
    assert [b" ".join(each).decode().strip() for each in words] == [
        "MULTI",
        "HSETNX orders:outbox:cancel",
        "HSETNX orders:outbox:close",
        "HSETNX orders:outbox:close",
        "HSETNX orders:outbox:cancel",
        "SELECT 0",
        "LPUSH orders.cancel",
        "LPUSH orders.close",
        "LPUSH orders.positions",
        "LPUSH orders.cancel",
        "SELECT 2",
        "EXEC",
    ]


def test_more_than_a_thousand_keep_their_order(server: Server, client: OrderClient) -> None:
    count = 2 * MAX_TOGETHER + 7
    sent = client.enqueue_many([Cancel(account="main", order_id=str(each)) for each in range(count)])
    assert [json.loads(each)["headers"]["id"] for each in messages(server, "orders.cancel")] == [
        each.command_id for each in sent
    ]
    with server.client(2) as ledger:
        assert {*ledger.hkeys(OUTBOX_KEYS["orders.cancel"])} == {each.command_id for each in sent}


@pytest.mark.parametrize("root", [None, 'the "root'])
def test_within_a_task_it_is_what_celery_would_send(
    server: Server, monkeypatch: pytest.MonkeyPatch, root: str | None
) -> None:
    """Another service's task that enqueues becomes the parent, and keeps what it has sent."""
    monkeypatch.setattr(base_client, "now_ms", lambda: 1_790_000_000_000)

    with OrderClient(settings(server)) as client:

        def order(self: Task) -> list[str]:
            self.request.root_id = root
            client.enqueue_many([(CANCEL, "a"), (CLOSE, "b")])
            return [each.id for each in self.request.children]

        task: Task = client._app.task(order, name="service.order", bind=True, shared=False)
        found = []
        for way in (nullcontext(), listened_to()):
            server.flush()
            with way:
                assert task.apply(task_id='the "parent').get(disable_sync_subtasks=False) == ["a", "b"]
            found.append(stored(server))
        assert found[0] == found[1]
    (headers,) = (json.loads(each)["headers"] for each in messages(server, "orders.cancel"))
    assert (headers["id"], headers["parent_id"]) == ("a", 'the "parent')
    assert headers["root_id"] == (root or 'the "parent')


def test_threads_send_their_own(server: Server, client: OrderClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = [each.command_id for each in pool.map(lambda _: client.enqueue(CANCEL), range(80))]
    found = [json.loads(each)["headers"]["id"] for each in messages(server, "orders.cancel")]
    assert sorted(found) == sorted(sent)


FORKS = """
import os, sys
from producers import Cancel, OrderClient, QueueSettings
client = OrderClient(QueueSettings(redis_url=sys.argv[1]))
cancel = Cancel(account="main", order_id="1")
client.enqueue(cancel, "before")
child = os.fork()
client.enqueue(cancel, f"of {os.getpid()}")
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.enqueue(cancel, "after")
"""


def test_a_child_process_sends_its_own(server: Server) -> None:
    """On a connection of its own, and under its own name."""
    subprocess.run([sys.executable, "-c", FORKS, server.url()], check=True, timeout=60)
    first, *of_both, last = (json.loads(each)["headers"] for each in messages(server, "orders.cancel"))
    assert (first["id"], last["id"]) == ("before", "after")
    assert len(of_both) == 2
    assert [re.search(r"\d+", each["id"])[0] for each in of_both] == [
        re.search(r"\d+", each["origin"])[0] for each in of_both
    ]


def test_both_survive_the_servers_death(own_server: Server, client_class: ClientClass) -> None:
    """A transaction over two databases is read from the server's file as it was written."""
    with client_class(settings(own_server)) as sender:
        sender.enqueue(CANCEL, "1")
    before = stored(own_server)
    own_server.kill()
    own_server.start()
    assert stored(own_server) == before
    assert len(before) == 2


def test_a_connection_that_died_unused_costs_nothing(own_server: Server, client_class: ClientClass) -> None:
    """Nothing was sent on it, so the message on another connection is the only one."""
    with client_class(settings(own_server)) as sender:
        sender.enqueue(CANCEL, "1")
        own_server.kill()
        own_server.start()
        sender.enqueue(CANCEL, "2")
    assert len(messages(own_server, "orders.cancel")) == 2


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may kill, or take rights from."""
    with Server() as started:
        yield started


# -- what an error leaves ----------------------------------------------------------------------------------------------


@contextmanager
def of_another_type(server: Server, database: int, key: str) -> Iterator[None]:
    with server.client(database) as client:
        client.set(key, "no list, and no hash")
        yield
        client.delete(key)


@contextmanager
def without(server: Server, *rights: str) -> Iterator[None]:
    """The sender's login lacks some rights."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "sender", *rights)
        yield
        client.execute_command("ACL", "SETUSER", "sender", "+@all")


@contextmanager
def as_replica(server: Server) -> Iterator[None]:
    """What was the master has become a replica."""
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def full(server: Server) -> Iterator[None]:
    with server.client() as client, configured(client, maxmemory="1"):
        yield


Trouble = Callable[[Server], AbstractContextManager[None]]
TROUBLES: dict[str, tuple[Trouble, str, tuple[int, int]]] = {
    "the queue is no list": (lambda on: of_another_type(on, 0, "orders.close"), "WRONGTYPE", (0, 1)),
    "the outbox is no hash": (lambda on: of_another_type(on, 2, OUTBOX_KEYS[CLOSE.task]), "WRONGTYPE", (1, 0)),
    "no memory": (full, "OOM|maxmemory", (0, 0)),
    "a replica": (as_replica, "read only replica", (0, 0)),
    "no EXEC": (lambda on: without(on, "-exec"), "'exec'", (0, 0)),
    "no LPUSH": (lambda on: without(on, "-lpush"), "'lpush'", (0, 0)),
    "no HSETNX": (lambda on: without(on, "-hsetnx"), "'hsetnx'", (0, 0)),
    "no SELECT": (lambda on: without(on, "-select"), "'select'", (0, 0)),
}
"""By name: what is wrong, what the sender is told, and how many messages and intents there are all the same."""


@pytest.mark.parametrize("name", TROUBLES)
def test_a_refusal_is_told_and_the_same_id_sent_again(own_server: Server, name: str, client_class: ClientClass) -> None:
    """Nothing is taken for sent. What got through all the same is of the id that the sender tries again with."""
    trouble, told, left = TROUBLES[name]
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "sender", "on", ">secret", "~*", "&*", "+@all")
    url = f"redis://sender:secret@127.0.0.1:{own_server.port}"
    with client_class(QueueSettings(redis_url=url)) as sender:
        sender.enqueue(CLOSE, "0")
        own_server.flush()
        with trouble(own_server):
            with pytest.raises(BrokerUnavailable, match=told) as caught:
                sender.enqueue(CLOSE, "1")
            counts = number_of(own_server, "orders.close", 0), number_of(own_server, OUTBOX_KEYS[CLOSE.task], 2)
            assert (caught.value.command_ids, counts) == (("1",), left)
        assert "secret" not in str(caught.value)
        sender.enqueue(CLOSE, *caught.value.command_ids)
    found = messages(own_server, "orders.close")
    assert [json.loads(each)["headers"]["id"] for each in found] == ["1"] * (left[0] + 1)
    assert number_of(own_server, OUTBOX_KEYS[CLOSE.task], 2) == 1


def number_of(server: Server, key: str, database: int) -> int:
    """How many members a list or a hash has; a key of another type has none."""
    with server.client(database) as client:
        count = {"list": client.llen, "hash": client.hlen}.get(client.type(key))
        return int(count(key)) if count else 0


def test_a_lost_reply_is_told_and_the_same_id_sent_again(
    server: Server, proxy: FaultyProxy, client_class: ClientClass
) -> None:
    """The message is there, which the sender can't know; the second one is of the same id, which is executed once. A
    reply that comes late is nobody's."""
    with client_class(settings(proxy)) as sender:
        sender.enqueue(CANCEL, "0")
        proxy.replies_pass.clear()
        with pytest.raises(BrokerUnavailable, match="no answer in time") as caught:
            sender.enqueue(CANCEL, "1")
        proxy.replies_pass.set()
        for command_id in (*caught.value.command_ids, "2"):
            sender.enqueue(CANCEL, command_id)
    ids = [json.loads(each)["headers"]["id"] for each in messages(server, "orders.cancel")]
    assert ids == ["0", "1", "1", "2"]
    assert number_of(server, OUTBOX_KEYS[CANCEL.task], 2) == 3


# -- where it is done --------------------------------------------------------------------------------------------------

SENTINELS = "sentinel://:p@h1:1,h2:2/{}?master={}"


@pytest.mark.parametrize(
    ("urls", "databases"),
    [
        (["redis://h:1/0", "redis://h:1/2"], (0, 2)),
        (["redis://u:p@h", "redis://u:p@h/2", "redis://u:p@h/1"], (0, 2, 1)),
        (["rediss://h/0?ssl_ca_certs=/a", "rediss://h/0?ssl_ca_certs=/a"], (0, 0)),
        ([SENTINELS.format(0, "m"), SENTINELS.format(2, "m")], (0, 2)),
        ([SENTINELS.format(0, "m"), SENTINELS.format(2, "n")], None),
        (["redis://h/0", "rediss://h/2"], None),
        (["redis://h/0", "redis://h:2/2"], None),
        (["redis://u:p@h/0", "redis://v:p@h/2"], None),
        (["redis://h/0", "redis://h/x"], None),
        (["redis://h/0?db=1", "redis://h/2?db=1"], None),
        (["amqp://h/0", "amqp://h/2"], None),
        (["redis+socket:///s", "redis+socket:///s"], None),
    ],
)
def test_one_server_is_told_by_what_is_written(urls: Sequence[str], databases: Sequence[int] | None) -> None:
    assert one_server(*urls) == databases


@pytest.mark.parametrize(
    "more",
    [{"ledger_url": "redis://localhost:{}/2"}, {"intent_replicas": 1}, {"intents": False}],
    ids=["two servers", "replicas", "no intents"],
)
def test_elsewhere_celery_publishes(own_server: Server, more: dict[str, Any], client_class: ClientClass) -> None:
    """Where one transaction can't hold both, or the intents must have replicas first. Celery alone declares queues."""
    written = {key: value.format(own_server.port) if isinstance(value, str) else value for key, value in more.items()}
    refused = "intent_replicas" in more
    with (
        client_class(settings(own_server, **written)) as sender,
        pytest.raises(BrokerUnavailable, match="0 of 1 replicas") if refused else nullcontext(),
    ):
        sender.enqueue(CANCEL, "1")
    with own_server.client(0) as broker:
        keys = {*broker.scan_iter("*orders.cancel")}
    assert keys == (set() if refused else keys | {"orders.cancel", "_kombu.binding.orders.cancel"})
    assert number_of(own_server, OUTBOX_KEYS[CANCEL.task], 2) == ("intents" not in more)
