"""How long it takes to archive and to verify a long journal.

``python -m tests.benchmarks.journal [ENTRIES]``, a million unless said otherwise, prints seconds and MB as JSON: of the
archive, and of a verification of the chain, with the archive, and with checkpoints.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.support.journal_attacks import JournalRig
from tests.support.servers import Server
from worker.ledger.chain import entry_sha
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY

TOKEN = b"worker-1:4242:6f1c2a9e3b7d4c58"


def fill(client: redis.Redis, count: int) -> None:
    """Entries such as a worker writes, of one day, chained."""
    start_ms, sha = int(time.time() // 86_400 * 86_400_000), b""
    for first in range(0, count, 10_000):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, first + 10_000):
                position = b"%d-0" % (start_ms + number)
                fields = [b"event", b"begin", b"id", b"7d2f5c1e-%024d" % number, b"token", TOKEN, b"outcome", b""]
                fields += [b"command", b"close", b"account", b"main", b"seq", b"%d" % (number + 1), b"sha", b""]
                sha = entry_sha(sha, position, fields)
                pipe.execute_command("XADD", JOURNAL_KEY, position, *fields[:-1], sha)
            pipe.execute()
    client.set(JOURNAL_HEAD_KEY, b"%d %b %b" % (count, sha, position))


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Seconds on the clock and of this process, and the most memory it has had, in MB."""
    started, used = time.perf_counter(), time.process_time()
    call()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"seconds": round(time.perf_counter() - started, 1), "cpu": round(time.process_time() - used, 1), "mb": most}


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with (
        Server("--appendonly", "no") as server,
        tempfile.TemporaryDirectory() as folder,
        redis.Redis(port=server.port, db=2) as client,
    ):
        fill(client, count)
        rig = JournalRig(client, Path(folder), journal_lines=count)
        found: dict[str, object] = {"entries": count, "archive": timed(rig.archive)}
        found["chain"] = timed(lambda: rig.verify(archive=False))
        found["chain, archive"] = timed(lambda: rig.verify(checkpoints=False))
        found["chain, archive, checkpoints"] = timed(rig.verify)
        found["tampered"] = rig.verify().tampered
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
