"""Thousands of odd and malformed answers, each from a real server to the real transport.

Each is read as the grammar says, or not at all; none raises or hangs; and the next request on the same transport gets
its own answer, whatever came before it.
"""

import re
import socket
import threading
from collections.abc import Iterator
from select import select

import h11
import pytest

from tests.unit.worker.venues.http import http_oracle
from tests.unit.worker.venues.http.http_answers import KINDS
from worker.venues.http.base import HttpLimits, NoResponse, SignedRequest
from worker.venues.http.base import Response as Answer
from worker.venues.http.transport import Transport

PATIENCE = 0.01
"""Seconds that the server waits for the client to have enough before it ends a connection; a longer wait shows more
connections that are used again, a shorter one none that are not."""


class OddServer:
    """Answers ``POST /odd/N`` with the Nth answer of a list, and ``POST /plain/N`` with N, on whatever connection."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while (asked := re.match(rb"POST /(\w+)/(\d+) ", connection.recv(65_536))) is not None:
                    number = int(asked[2])
                    if asked[1] == b"plain":
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(asked[2]), number))
                        continue
                    connection.sendall(self.answers[number])
                    if http_oracle.read(self.answers[number], ended=False) is None:
                        # Open for a moment, so that one that would be used again is.
                        select([connection], [], [], PATIENCE)
                        connection.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    """One for all of them."""
    running = OddServer()
    yield running
    running.close()


def ask(transport: Transport, url: str) -> Answer | NoResponse:
    """One exchange; again while nothing left."""
    while True:
        found = transport.send(url, lambda: SignedRequest("POST", url, {}, b"a=1"))
        if isinstance(found, Answer) or found.bytes_left:
            return found


def what_is_wrong(
    found: Answer | NoResponse, said: http_oracle.Said | None, after: Answer | NoResponse, own: bytes
) -> str:
    """With the reading of one answer; empty when nothing is."""
    if said is None and found != NoResponse(
        bytes_left=True, message=found.message if isinstance(found, NoResponse) else ""
    ):
        return f"read as {found}"
    if said is not None and not (isinstance(found, Answer) and (found.status, found.body) == (said.status, said.body)):
        return f"not read: {found}"
    if not isinstance(after, Answer) or (after.status, after.body) != (200, own):
        return f"the next request got {after}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_each_answer_is_read_to_the_letter_or_not_at_all(server: OddServer, kind: str) -> None:
    """Judged by the grammar, read in another way; and nothing of it reaches the next request."""
    server.answers = list(KINDS[kind]())
    transport = Transport(HttpLimits(read_timeout=5, max_idle=60))
    wrong = []
    for number, data in enumerate(server.answers):
        found = ask(transport, f"{server.url}/odd/{number}")
        after = ask(transport, f"{server.url}/plain/{number}")
        if told := what_is_wrong(found, http_oracle.read(data), after, b"%d" % number):
            wrong.append((data[:200], told))
    transport.close()
    assert not wrong, f"{len(wrong)} of {len(server.answers)}: {wrong[:10]}"


def test_there_are_well_over_a_thousand_of_them_and_of_both_sorts() -> None:
    """Neither judge that finds all well-formed, or none, would be one."""
    answers = {answer for kind in KINDS.values() for answer in kind()}
    good = sum(http_oracle.read(answer) is not None for answer in answers)
    assert len(answers) > 2000
    assert 500 < good < len(answers) - 1000


def read_by_h11(data: bytes) -> tuple[int, bytes]:
    """Status and body as h11 reads them, which is another's reader."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    ended, status, body = False, 0, b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            assert not ended
            reader.receive_data(b"")
            ended = True
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body


def test_another_reader_reads_the_same_in_what_is_read() -> None:
    """What is taken for an answer is one to others too, and the same: h11 is laxer, so it reads all of them, but for
    blanks before a chunk's extension, which RFC 9112, 7.1.1, allows, and for a trailer that speaks of another body's
    coding, which says nothing; and 101 is for no reader the end of an answer alone."""
    beyond = re.compile(rb" ;a|\r\n0\r\nTransfer-Encoding")
    for kind in KINDS.values():
        for data in kind():
            said = http_oracle.read(data)
            if said is not None and said.status != 101 and not beyond.search(data):
                assert read_by_h11(data) == (said.status, said.body), data[:300]
