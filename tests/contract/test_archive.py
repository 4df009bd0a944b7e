"""The archive of the journal: what it keeps over kills, restarts, midnight and full disks, and what it tells."""

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from tests.support.journal_attacks import JournalRig, cut, edit, rechained
from tests.support.servers import Server
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY
from worker.operations.archive.lines import files, parse
from worker.operations.archive.writer import ArchiveBroken, ArchiveWriter

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that tests may restart."""
    with Server() as started:
        yield started


@pytest.fixture
def rig(own_server: Server, tmp_path: Path) -> Iterator[JournalRig]:
    own_server.flush()
    with redis.Redis(port=own_server.port, db=2) as client:
        yield JournalRig(client, tmp_path)


def restart_without_last_writes(server: Server, rig: JournalRig) -> None:
    """The server comes back as it was when :meth:`JournalRig.save` was called."""
    rig.restore()
    server.kill()
    server.start()
    rig.journal.close()


def texts(rig: JournalRig) -> list[tuple[bool, str]]:
    return [(each.tampered, each.text.split(":")[0]) for each in rig.verify().found]


def archived(rig: JournalRig) -> list[bytes]:
    """The lines of the archive that are entries."""
    lines = [line for path in files(rig.archive_folder) for line in path.read_bytes().splitlines()]
    return [line for line in lines if isinstance(parse(line), tuple)]


def test_an_archive_that_was_killed_at_any_byte_goes_on(rig: JournalRig) -> None:
    rig.write(3, note='quote " back\\slash é \x7f')
    rig.archive()
    (path,) = files(rig.archive_folder)
    whole, entries = path.read_bytes(), archived(rig)
    for length in (*range(0, len(whole) - 300, 7), *range(len(whole) - 300, len(whole))):
        path.write_bytes(whole[:length])
        rig.archive()
        assert archived(rig) == entries
        assert path.read_bytes().endswith(b"\n")
    rig.checkpoints.unlink()
    rig.archive()
    assert not rig.verify().tampered


def test_a_gap_after_a_restart_is_told_as_one(own_server: Server, rig: JournalRig) -> None:
    """The entries that the server lost stay in the archive; the journal goes on from what the server has."""
    rig.write(3)
    rig.save()
    rig.write(2)
    rig.archive()
    restart_without_last_writes(own_server, rig)
    for _ in range(2):  # the second process has nothing new
        state = rig.archive().state
    rig.write(4)
    assert (state.tampered, rig.archive().state.tampered) == (0, 0)
    assert len(archived(rig)) == 9
    assert texts(rig) == [(False, "noted when it was seen")]
    assert "a gap after a restart of the server: it lost its last 2 entries" in rig.verify().found[0].text
    rig.rewrite(cut, recompute=True)
    assert rig.verify().tampered


def test_a_server_that_goes_back_without_a_restart_was_tampered_with(rig: JournalRig) -> None:
    rig.write(3)
    rig.save()
    rig.write(2)
    rig.archive()
    rig.restore()
    rig.write(1)
    assert rig.archive().state.tampered
    assert any(tampered for tampered, _ in texts(rig))


def test_a_restart_that_loses_more_than_the_last_writes_is_a_backup_put_back(
    own_server: Server, rig: JournalRig
) -> None:
    rig.write(3)
    rig.rewrite(
        lambda entries: [(b"1700000000000-%d" % n, fields) for n, (_, fields) in enumerate(entries)], recompute=True
    )
    rig.save()
    rig.write(1)
    later = rig.entries()[-1]
    rig.rewrite(lambda entries: [*entries, (b"%d-7" % (int(later[0][:13]) + 120_000), later[1])], recompute=True)
    rig.archive()
    restart_without_last_writes(own_server, rig)
    assert rig.archive().state.tampered == 2  # the entry is gone, and the stream ends earlier


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (lambda rig: rig.client.xdel(JOURNAL_KEY, rig.entries()[1][0]), "an entry was deleted in the stream"),
        (lambda rig: rig.client.delete(JOURNAL_KEY, JOURNAL_HEAD_KEY), "the stream is gone"),
        (lambda rig: rig.client.delete(JOURNAL_KEY, JOURNAL_HEAD_KEY) and rig.write(1), "comes after entry 4"),
        (lambda rig: rig.rewrite(cut, recompute=True), "it was put back"),
        (lambda rig: rig.client.set(JOURNAL_HEAD_KEY, b"9 ab 1-0") and rig.write(1), "entries 5 to 9"),
        (lambda rig: rig.client.set(JOURNAL_HEAD_KEY, b"4 ab 1-0") and rig.write(1), "does not follow entry 4"),
    ],
    ids=["deleted", "all gone", "begun again", "cut off", "missing", "changed"],
)
def test_a_running_archive_tells_at_once(
    rig: JournalRig, attack: object, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.write(4)
    archiver = rig.archiver()
    with archiver.writer:
        archiver.step(0)
        archiver.look_at_stream()
        assert not caplog.records
        attack(rig)  # type: ignore[operator]
        for _ in range(2):
            archiver.step(0)
            archiver.look_at_stream()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(told in error for error in errors), errors
    assert archiver.state.tampered == len(errors) == len(set(errors))
    assert rig.verify(checkpoints=False).tampered


def test_what_was_trimmed_while_the_archive_was_away_is_a_gap(rig: JournalRig) -> None:
    rig.write(3)
    rig.archive()
    rig.write(5)
    rig.client.xtrim(JOURNAL_KEY, maxlen=3, approximate=False)
    assert (rig.archive().state.gaps, rig.verify().tampered) == (1, 0)
    assert (False, "noted when it was seen") in texts(rig)


def test_each_utc_day_has_a_file_and_each_file_its_checkpoints(rig: JournalRig) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = int(today.timestamp() * 1000)
    rig.write(6)
    times = [midnight - DAY_MS - 1, midnight - DAY_MS, midnight - 1, midnight, midnight + 1, midnight + 2]
    rig.rewrite(
        lambda entries: [(b"%d-0" % ms, fields) for ms, (_, fields) in zip(times, entries, strict=True)], recompute=True
    )
    rig.archive()
    assert [len(path.read_bytes().splitlines()) for path in files(rig.archive_folder)] == [2, 3, 4]  # with the server's
    found = rig.verify()
    assert (found.compared, found.tampered, found.checkpoints) == (6, 0, 3)
    for path in files(rig.archive_folder):
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b'"main"', b'"mine"'))
        assert {each.layer for each in rig.verify().found if each.tampered} == {"archive", "checkpoint"}
        path.write_bytes(kept)
    files(rig.archive_folder)[0].unlink()
    assert (rig.verify().tampered, "an old one that was removed?" in rig.verify().found[-1].text) == (0, True)


def test_a_failed_write_leaves_whole_lines_and_may_be_repeated(
    rig: JournalRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of a line."""
    rig.write(3)
    archiver = rig.archiver()
    with archiver.writer as writer:
        archiver.step(0)
        rig.write(3)
        real = os.fsync

        def full(handle: int) -> None:
            os.write(handle, b'{"position":')
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            archiver.step(0)
        monkeypatch.setattr(os, "fsync", real)
        assert (rig.archive_folder / writer.name).read_bytes().endswith(b"\n")
        assert archiver.step(0) == 3
        archiver.checkpoint()
    assert (len(archived(rig)), rig.verify().tampered) == (6, 0)


def test_two_archives_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path), pytest.raises(ArchiveBroken, match="another process"):
        ArchiveWriter(tmp_path)


def test_entries_that_were_known_before_can_be_left_out(rig: JournalRig) -> None:
    """An incident that was looked into must not hide the next one."""
    rig.write(6)
    rig.archive()
    rig.rewrite(edit, recompute=False)
    seen = rig.entries()[-1][0]
    assert rig.verify().tampered
    assert not rig.verify(start=seen).tampered
    rig.write(6)
    rig.archive()
    rig.rewrite(lambda entries: entries[:6] + rechained(edit(entries[6:])))
    assert rig.verify(start=seen).tampered
