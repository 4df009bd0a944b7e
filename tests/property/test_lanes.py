"""Any sequence of takes, ends, redeliveries and repeats: of a lane one command is out, in order, and none is lost."""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from kombu import Connection, Queue

from tests.support.servers import Server
from worker.broker import take as channel_take
from worker.broker.lanes import Fate
from worker.broker.scripts import LANES_LOOK, LANES_RELEASE

QUEUES = ("orders.cancel", "orders.submit")
LANES = st.sampled_from([None, "a", "b", "c"])


def message(
    queue: str, command_id: str, lane: object, account: str = "main", tag: str | None = None, **headers: Any
) -> str:
    """A command's message."""
    body = json.dumps([[], {"account": account}, {}]).encode()
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": queue, "id": command_id, "orders_lane": lane, "enqueued_at": 1_700_000_000_000, **headers},
        "properties": {
            "delivery_tag": tag or str(uuid4()),
            "body_encoding": "base64",
            "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": queue},
        },
    }
    return json.dumps(envelope)


class Taker:
    """A worker's channel, whose takes are answered one by one."""

    def __init__(self, url: str, **options: Any) -> None:
        options = {"queue_order_strategy": "priority", "gated_queues": QUEUES, **options}
        transport = "worker.broker.transport:Transport"
        self._connection = Connection(url, transport=transport, transport_options=options)
        consumer = self._connection.Consumer([Queue(name) for name in QUEUES], callbacks=[lambda *_: None])
        consumer.consume()
        self.channel: Any = consumer.channel
        if self.channel.client.connection is None:
            self.channel.client.connection = self.channel.client.connection_pool.get_connection()

    def take(self) -> tuple[str, str, str] | None:
        """Take a message: its queue, delivery tag and command id; None when there is none to take."""
        while True:
            self.channel._brpop_start()
            connection = self.channel.client.connection
            while (answer := self.channel._read(connection, 5)) in (channel_take.PUSH, channel_take.PUSH_OF_GROUPS):
                pass
            self.channel._in_poll = None
            assert isinstance(answer, list), answer
            remaining, _, _, _, *messages = answer
            if messages:
                ((index, raw, tag, *_),) = messages
                return self.channel._take_queues[index - 1], tag.decode(), json.loads(raw)["headers"]["id"]
            if not remaining:
                return None

    def close(self) -> None:
        self._connection.release()


class LaneMachine(RuleBasedStateMachine):
    """Messages in three lanes and in none, on two queues, and a worker that takes them."""

    server: Server
    taker: Taker

    @initialize()
    def start(self) -> None:
        self.client = redis.Redis(port=self.server.port)
        self.client.flushdb()
        self.made = self.tags = 0
        self.lane: dict[str, str | None] = {}
        self.unseen: dict[tuple[str, str], list[str]] = defaultdict(list)
        """By lane and queue: ids in the order of sending that were never taken."""
        self.pending: dict[str, int] = defaultdict(int)
        """Messages by id that are on a queue, or wait for their lanes."""
        self.out: dict[str, str] = {}
        """Messages that are out: id by delivery tag."""
        self.held: dict[str, str] = {}
        """Id by lane."""
        self.ended: set[str] = set()

    def next_tag(self) -> str:
        """Delivery tags sort in the same order each time that the same steps are taken."""
        self.tags += 1
        return f"{self.tags:06}"

    @rule(lane=LANES, queue=st.sampled_from(QUEUES))
    def send(self, lane: str | None, queue: str) -> None:
        self.made += 1
        command_id = str(self.made)
        self.client.lpush(queue, message(queue, command_id, lane, tag=self.next_tag()))
        self.lane[command_id] = lane
        self.pending[command_id] += 1
        if lane:
            self.unseen[lane, queue].append(command_id)

    @precondition(lambda self: self.lane)
    @rule(data=st.data(), queue=st.sampled_from(QUEUES))
    def send_again(self, data: st.DataObject, queue: str) -> None:
        """The same id once more; it may have ended."""
        command_id = data.draw(st.sampled_from(sorted(self.lane)))
        self.client.lpush(queue, message(queue, command_id, self.lane[command_id], tag=self.next_tag()))
        self.pending[command_id] += 1

    @rule()
    def take(self) -> None:
        taken = self.taker.take()
        if taken is None:
            # Every message that is left waits for a command that has its lane. That is another one, unless the message
            # is a repeat that came to the lane before its command had it.
            for command_id in +_counted(self.pending):
                lane = self.lane[command_id]
                assert lane, f"{command_id} has no lane and is not taken"
                assert self.held[lane] != command_id or self.waits_in_lane(command_id)
            return
        queue, tag, command_id = taken
        lane = self.lane[command_id]
        assert tag.startswith(f"lane:main/{lane} ") == bool(lane)
        self.pending[command_id] -= 1
        self.out[tag] = command_id
        if lane is None:
            return
        assert self.held.setdefault(lane, command_id) == command_id, "two commands of a lane are out"
        first_time = [queue for (name, queue), ids in self.unseen.items() if name == lane and command_id in ids]
        for queue in first_time:
            # A repeat on another queue may come before the message that was sent first.
            earlier = self.unseen[lane, queue][: self.unseen[lane, queue].index(command_id)]
            assert not earlier or self.repeated(command_id), f"{command_id} was taken before {earlier}"
            self.unseen[lane, queue].remove(command_id)

    def waits_in_lane(self, command_id: str) -> bool:
        lists = [f"{queue}.lane:main/{self.lane[command_id]}" for queue in QUEUES]
        return any(
            json.loads(raw)["headers"]["id"] == command_id for key in lists for raw in self.client.lrange(key, 0, -1)
        )

    def repeated(self, command_id: str) -> bool:
        return self.pending[command_id] > 0 or list(self.out.values()).count(command_id) > 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.out)))
        command_id = self.out.pop(tag)
        self.taker.channel.qos.remove({tag: Fate.ENDED})
        self.ended.add(command_id)
        lane = self.lane[command_id]
        if lane and self.held.get(lane) == command_id:
            del self.held[lane]

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        """Its worker dies, or gives it back: it holds its lane."""
        tag = data.draw(st.sampled_from(sorted(self.out)))
        self.taker.channel.qos.restore_by_tag(tag)
        self.pending[self.out.pop(tag)] += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def end_in_doubt(self, data: st.DataObject) -> None:
        """The outcome is unknown: the lane stays held, though no message is there any more."""
        tag = data.draw(st.sampled_from(sorted(self.out)))
        self.out.pop(tag)
        self.taker.channel.qos.remove({tag: Fate.KEPT})

    @precondition(lambda self: self.held)
    @rule()
    def sweep(self) -> None:
        """Somebody settles what was in doubt, or its message was lost: the sweep lets such lanes go on."""
        self._sweep(lambda holder: not self.pending[holder])

    def _sweep(self, is_settled: Callable[[str], bool]) -> None:
        rows = [part.decode() for part in self.client.eval(LANES_LOOK.source, 0, "", "unacked", -1, 100)]
        for lane, holder, tag, takes, *_, there in zip(*[iter(rows)] * 8, strict=True):
            name = lane.partition("/")[2]
            # A command that was called, and not taken yet, has the lane too.
            assert self.held.get(name, holder) == holder
            assert (there == "1") == (tag in self.out)
            if there == "0" and is_settled(holder) and holder not in self.out.values():
                released = self.client.eval(LANES_RELEASE.source, 0, "", "unacked", lane, holder, tag, takes, "1")
                assert released == 1
                del self.held[name]

    def teardown(self) -> None:
        """When everything ends, nothing is left."""
        if not hasattr(self, "held"):
            return
        for tag in [*self.out]:
            self.taker.channel.qos.remove({tag: Fate.ENDED})
            command_id = self.out.pop(tag)
            if self.held.get(self.lane[command_id] or "") == command_id:
                del self.held[self.lane[command_id] or ""]
        while True:
            if self.held:
                self.sweep()
            taken = self.taker.take()
            if taken is None and self.held:
                # Repeats of a command that is in doubt may wait in its lane.
                self._sweep(lambda _: True)
                taken = self.taker.take()
            if taken is None:
                break
            self.taker.channel.qos.remove({taken[1]: Fate.ENDED})
            self.pending[taken[2]] -= 1
            if self.held.get(self.lane[taken[2]] or "") == taken[2]:
                del self.held[self.lane[taken[2]] or ""]
        assert not +_counted(self.pending)
        left = [key for key in self.client.scan_iter() if not key.startswith(b"_kombu")]
        assert not left, left
        self.client.close()


def _counted(pending: dict[str, int]) -> Counter[str]:
    return Counter(pending)


@pytest.fixture(scope="module")
def lane_machine() -> Iterator[type[LaneMachine]]:
    with Server() as server:
        taker = Taker(server.url(0))
        yield type("Lanes", (LaneMachine,), {"server": server, "taker": taker})
        taker.close()


def test_lanes_under_any_sequence_of_steps(lane_machine: type[LaneMachine]) -> None:
    run_state_machine_as_test(
        lane_machine,
        settings=settings(phases=(Phase.generate,), max_examples=60, stateful_step_count=40, database=None),
    )


@pytest.mark.parametrize("spoil", [None, "another type"])
@pytest.mark.parametrize("key", ["orders.lane:main/a", "orders.lane:main/a.waiting"])
@pytest.mark.parametrize("is_called", [False, True], ids=["held", "called"])
def test_a_lane_outlives_its_keys(
    lane_machine: type[LaneMachine], key: str, spoil: str | None, *, is_called: bool
) -> None:
    """Should anybody delete one, or put something in its place: the messages come in their order, and none is left."""
    taker, came = lane_machine.taker, []

    def spoil_key() -> None:
        client.delete(key)
        if spoil:
            client.set(key, spoil)

    with redis.Redis(port=lane_machine.server.port) as client:
        client.flushdb()
        client.lpush("orders.submit", *(message("orders.submit", str(number), "a") for number in range(5)))
        while len(came) < 5:
            if (taken := taker.take()) is None:
                client.eval(LANES_LOOK.source, 0, "", "unacked", 0, 100)
                taken = taker.take()
            assert taken is not None
            came.append(taken[2])
            if len(came) == 1:
                assert taker.take() is None  # the others wait in the lane
                steps = [spoil_key, lambda tag=taken[1]: taker.channel.qos.remove({tag: Fate.ENDED})]
                for step in reversed(steps) if is_called else steps:
                    step()
            else:
                taker.channel.qos.remove({taken[1]: Fate.ENDED})
        assert came == ["0", "1", "2", "3", "4"]
        assert taker.take() is None
        assert not client.exists("orders.submit", "orders.submit.lane:main/a", "unacked")
