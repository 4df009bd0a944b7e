"""How long each page of the desk takes with 10,000 entries in the journal and 1,000 unknowns: ``python -m
tests.benchmarks.desk``. The desk is a process of its own, asked over HTTP on this machine."""

import re
import tempfile
import time
from html import unescape
from pathlib import Path

import requests

from tests.browser.desk_rig import DeskNode
from tests.support.desk_data import fill
from tests.support.node import running
from tests.support.servers import Server
from worker.ledger.connection import connect

UNKNOWN, SETTLED, HELD = 1000, 4000, 50
ROUNDS = 20
LIMIT_MS = 100


def main() -> None:
    """Fill a ledger, ask for each page again and again, and print the figures."""
    with tempfile.TemporaryDirectory() as folder, Server("--appendfsync", "no") as server:
        with connect(server.url(2)) as client:
            ids = fill(client, unknown=UNKNOWN, settled=SETTLED, held=HELD, now_ms=time.time_ns() // 1_000_000)
            entries = client.xlen("orders:journal")
        desk = DeskNode(Path(folder), {"ORDERS_REDIS_URL": server.url()})
        with running(desk), requests.Session() as session:
            home = session.get(desk.links[-1], timeout=20).text
            nav = home[: home.find("</nav>")]
            paths = [unescape(path) for path in re.findall(r'<a href="(/[^"]*)"', nav)]
            paths += [f"/unknowns?page={UNKNOWN // 50}", f"/command?id={ids[0]}", "/command?id=done-00000"]
            paths += [
                "/commands?outcome=unknown&account=main",
                "/commands?id=done-00000",
                "/held/command?id=held-00001",
            ]
            print(
                f"{entries:,} entries in the journal, {UNKNOWN:,} unknown, {HELD} held; {ROUNDS} requests each, in ms"
            )
            print(f"{'page':<42} {'median':>7} {'most':>7}")
            for path in paths:
                times = sorted(_milliseconds(session, desk.url + path) for _ in range(ROUNDS))
                note = "" if times[-1] <= LIMIT_MS else f"  more than {LIMIT_MS}"
                print(f"{path:<42} {times[ROUNDS // 2]:>7.0f} {times[-1]:>7.0f}{note}")


def _milliseconds(session: requests.Session, url: str) -> float:
    started = time.perf_counter()
    answer = session.get(url, timeout=20)
    answer.raise_for_status()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
