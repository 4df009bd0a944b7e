"""`orders archive`, a real process with a login that can only read the journal, while commands are executed."""

import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.signing import PrivateKey
from tests.integration.conftest import Orders
from tests.support.node import ROOT, outer_environment
from tests.support.stack import Stack
from tests.support.waiting import until

CLOSE = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.25"}
ACL = (ROOT / "compose" / "server" / "users.acl.in").read_text(encoding="utf-8")
RIGHTS = re.sub(r".*\nuser archive on #@password@ (.*?)\n\n.*", r"\1", ACL, flags=re.DOTALL).split()
"""What compose's login for the archive may do."""
PROGRAM = "from producers.cli.app import main; main()"
START_SECONDS = 60


class ArchiveProcess:
    """The process, its folder and its login."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.ledger = stack.ledger
        self.folder, self.log = folder / "archive", folder / "log"
        self.checkpoints, self.key_file = folder / "safe" / "checkpoints.jsonl", folder / "archive.key"
        self.key = PrivateKey.generate("archive", "2026-11")
        self.key_file.write_text(self.key.to_file_text())
        self.ledger.execute_command("ACL", "SETUSER", "archive", "on", ">only-read", *RIGHTS)
        where = self.ledger.connection_pool.connection_kwargs
        url = f"redis://archive:only-read@{where.get('host', '127.0.0.1')}:{where['port']}/{where['db']}"
        self.environment = {**outer_environment(), "ORDERS_LEDGER_URL": url}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, most_bytes: int = resource.RLIM_INFINITY) -> None:
        """Start it; no file of its may grow beyond ``most_bytes``."""
        words = ("archive", "--to", str(self.folder), "--checkpoints", str(self.checkpoints))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *words, "--sign-with", str(self.key_file)],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY)),
            )

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def entries(self) -> int:
        """How many entries are archived."""
        return sum(path.read_bytes().count(b'{"position"') for path in self.folder.glob("*.jsonl"))

    def has_all(self) -> bool:
        return self.entries() == self.ledger.xlen("orders:journal")

    def verify(self, orders: Orders) -> tuple[int, set[str], int]:
        """Exit code, the layers that tell of tampering, and how many entries archive and server have alike."""
        where = ("--archive", str(self.folder), "--checkpoints", str(self.checkpoints))
        ran = orders("journal", "--verify", *where, "--checkpoint-key", self.key.public().to_text(), "--json")
        told = {each["layer"] for each in ran.document["findings"] if each["tampered"]}
        assert ran.document["ok"] is not bool(told)
        return ran.code, told, ran.document["compared"]


@pytest.fixture
def archive(stack: Stack, tmp_path: Path) -> Iterator[ArchiveProcess]:
    stack.ledger.flushdb()
    made = ArchiveProcess(stack, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end()
    stack.ledger.execute_command("ACL", "DELUSER", "archive")


def test_an_archive_that_is_killed_again_and_again_has_all_of_the_journal(
    stack: Stack, orders: Orders, archive: ArchiveProcess
) -> None:
    for _ in range(3):
        archive.start()
        sent = [stack.send("orders.close", **CLOSE) for _ in range(10)]
        until(lambda: archive.entries() > 0, archive.log.read_text, START_SECONDS)
        archive.end()
        stack.all_ended(sent)
    archive.start()
    until(archive.has_all, archive.log.read_text, START_SECONDS)
    until(archive.checkpoints.exists, archive.log.read_text, START_SECONDS)
    assert archive.end(signal.SIGTERM) == 0
    count = archive.ledger.xlen("orders:journal")
    assert archive.verify(orders) == (0, set(), count)
    assert "archive" not in {each["username"] for each in archive.ledger.acl_log()}
    archive.ledger.xdel("orders:journal", archive.ledger.xrange("orders:journal")[5][0])
    assert archive.verify(orders) == (1, {"chain", "archive"}, count - 1)
    told = orders("journal", "--verify")
    assert (told.code, "TAMPERED  chain: entries 6 to 6 are missing" in told.out) == (1, True)


def test_a_full_disk_is_told_and_waited_out(stack: Stack, orders: Orders, archive: ArchiveProcess) -> None:
    archive.start(most_bytes=2000)
    stack.all_ended([stack.send("orders.close", **CLOSE) for _ in range(10)])
    until(lambda: "nothing is archived: " in archive.log.read_text(), archive.log.read_text, START_SECONDS)
    assert archive.process is not None
    resource.prlimit(archive.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until(archive.has_all, archive.log.read_text, START_SECONDS)
    assert archive.end(signal.SIGTERM) == 0
    assert archive.verify(orders)[:2] == (0, set())
    lines = re.findall(r"(?:ERROR|INFO) (.*)", archive.log.read_text())
    assert [line.partition(":")[0] for line in lines] == [
        "archiving the journal at redis",
        "nothing is archived",
        "archiving again",
    ]


def test_tampering_is_told_at_once_and_by_the_exit_code(stack: Stack, archive: ArchiveProcess) -> None:
    archive.start()
    stack.all_ended([stack.send("orders.close", **CLOSE)])
    until(archive.has_all, archive.log.read_text, START_SECONDS)
    until(archive.checkpoints.exists, archive.log.read_text, START_SECONDS)
    archive.ledger.delete("orders:journal", "orders:journal:head")
    stack.all_ended([stack.send("orders.close", **CLOSE)])
    until(lambda: "ERROR tampered: entry 1 at " in archive.log.read_text(), archive.log.read_text, START_SECONDS)
    assert archive.end(signal.SIGTERM) == 1
    assert not re.search(r"Traceback|\b(sig|private)\b", archive.log.read_text())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("archive --to {0} --checkpoints {0}/c", "need each other"),
        ("archive --to {0} --checkpoints {0}/c --sign-with {0}/none", "can't be read"),
        ("archive --to {0}/file/below", "file"),
        ("archive --to {0}/file", "is not a folder"),
        ("journal --archive {0}", "need --verify"),
        ("journal --verify --follow", "omit ID and --follow"),
        ("journal some-id --verify", "omit ID and --follow"),
        ("journal --verify --checkpoints {0}/c", "needs --archive"),
        ("journal --verify --archive {0} --checkpoints {0}/file --checkpoint-key nonsense", "a key begins with"),
        ("journal --verify --archive {0}/none", "No such file"),
        ("journal --verify --from yesterday", "must be an entry's position"),
    ],
)
def test_bad_usage_is_told(stack: Stack, orders: Orders, tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "file").touch()
    ran = orders(*words.format(tmp_path).split(), "--json")
    assert (ran.code, told in ran.message) == (2, True), ran.message


def test_an_operator_signs_with_the_key_of_this_machine(
    stack: Stack, orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.ledger.flushdb()
    key = PrivateKey.generate("anna", "2026-11")
    (tmp_path / "anna.key").write_text(key.to_file_text())
    (tmp_path / "keys.toml").write_text(f'[operators]\nanna = "{key.public().to_text()}"\n')
    (tmp_path / "keys.toml").chmod(0o600)
    monkeypatch.setenv("ORDERS_OPERATOR_KEY_FILE", str(tmp_path / "anna.key"))
    monkeypatch.setenv("ORDERS_AUTH__KEYS_FILE", str(tmp_path / "keys.toml"))
    refused = orders("halt", "--reason", "fire", "--who", "ceo@bank", "--json")
    assert (refused.code, "who can't sign as ceo@bank" in refused.message) == (2, True)
    stack.venue.fault("cut_before", path="withdraw")
    unknown = stack.send("orders.withdraw", account="main", asset="ETH", qty="1", address="0xabc")
    assert stack.ended(unknown).report["outcome"] == "unknown"
    orders("resolve", unknown, "--not-executed", "--reason", "asked", "--yes")
    orders("halt", "--reason", "fire")
    assert "anna (signed by anna)" in orders("halt", "--list").out
    orders("resume")
    words = [each["word"] for each in orders("journal", "--json").document["entries"] if "word" in each]
    assert words == ["signed by anna"] * 3
    assert "settled by the word of anna: signed by anna" in orders("show", unknown).err
    assert "[signed by anna]" in orders("journal", unknown).out
