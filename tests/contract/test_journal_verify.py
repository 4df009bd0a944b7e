"""What tells which tampering: the chain at the server, the archive beside it, the signed checkpoints beside that."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from producers.signing import PrivateKey
from tests.support.journal_attacks import Attack, JournalRig, cut, edit, insert, shift, swap, without_fifth
from tests.support.servers import Server
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY
from worker.operations.archive.lines import files

OUTSIDE = {b"event": b"resolve", b"id": b"id-1", b"token": b"", b"outcome": b"not_sent", b"who": b"ceo"}


@pytest.fixture
def rig(server: Server, tmp_path: Path) -> Iterator[JournalRig]:
    server.flush()
    with redis.Redis(port=server.port, db=2) as client:
        yield JournalRig(client, tmp_path)


def delete_last(rig: JournalRig) -> None:
    rig.client.xdel(JOURNAL_KEY, rig.entries()[-1][0])


def go_back(rig: JournalRig) -> None:
    rig.restore()
    rig.write(2, after="the backup")


def in_both(rig: JournalRig) -> None:
    rig.rewrite(edit, recompute=True)
    rig.rewrite_archive(edit)


def cut_both(rig: JournalRig) -> None:
    rig.rewrite(cut, recompute=True)
    rig.rewrite_archive(cut)


def remove_archive(rig: JournalRig) -> None:
    rig.client.delete(JOURNAL_KEY, JOURNAL_HEAD_KEY)
    files(rig.archive_folder)[-1].unlink()


def forge_checkpoint(rig: JournalRig) -> None:
    lines = rig.checkpoints.read_text().replace('"size":', '"size":1')
    rig.checkpoints.write_text(lines)


def trim_to(rig: JournalRig, count: int) -> None:
    rig.client.xtrim(JOURNAL_KEY, maxlen=count, approximate=False)


def append(*lines: bytes) -> Attack:
    """Add lines to the archive."""

    def attack(rig: JournalRig) -> None:
        with files(rig.archive_folder)[-1].open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    return attack


ENDLESS = b"9" * 5000
"""More digits than Python reads as a number."""
BROKEN = (b"", b"{", b"[" * 9000, b'{"note":1}', b'{"note":"gap","at":' + ENDLESS + b"}", b'{"note":"gap","lost":1}')

ATTACKS: dict[str, tuple[Attack, str]] = {
    "an entry is edited": (lambda rig: rig.rewrite(edit), "chain archive"),
    "an entry is deleted": (lambda rig: rig.client.xdel(JOURNAL_KEY, rig.entries()[4][0]), "chain archive"),
    "an entry is left out of a rewritten stream": (lambda rig: rig.rewrite(without_fifth), "chain archive"),
    "two entries are swapped": (lambda rig: rig.rewrite(swap), "chain archive"),
    "an entry has another time": (lambda rig: rig.rewrite(shift), "chain archive"),
    "an entry is put in between": (lambda rig: rig.rewrite(insert), "chain archive"),
    "an entry of no chain is added": (lambda rig: rig.client.xadd(JOURNAL_KEY, OUTSIDE), "chain"),
    "an entry with an endless number is added": (
        lambda rig: rig.client.xadd(JOURNAL_KEY, {**OUTSIDE, b"seq": ENDLESS, b"sha": b""}),
        "chain",
    ),
    "the chain's end has an endless number": (
        lambda rig: rig.client.set(JOURNAL_HEAD_KEY, ENDLESS + b" a 1-0"),
        "chain",
    ),
    "broken lines are added to the archive": (append(*BROKEN), "archive"),
    "an entry with an endless position is added to the archive": (
        append(b'{"position":"' + ENDLESS + b'","fields":["a","b"]}'),
        "archive",
    ),
    "the last entry is deleted": (delete_last, "chain archive"),
    "the stream is deleted": (lambda rig: rig.client.delete(JOURNAL_KEY), "chain archive"),
    "the stream is deleted and goes on": (lambda rig: rig.client.delete(JOURNAL_KEY) and rig.write(), "chain"),
    "the chain's end is deleted": (lambda rig: rig.client.delete(JOURNAL_HEAD_KEY), "chain"),
    "the end is cut off, and the chain's end put back": (lambda rig: rig.rewrite(cut, recompute=True), "archive"),
    "a backup is put back": (lambda rig: rig.restore(), "archive"),
    "a backup is put back and goes on": (go_back, "archive"),
    "everything is deleted": (lambda rig: rig.client.delete(JOURNAL_KEY, JOURNAL_HEAD_KEY), "archive"),
    "an entry is edited, and the chain recomputed": (lambda rig: rig.rewrite(edit, recompute=True), "archive"),
    "the oldest entry that is left is edited": (
        lambda rig: trim_to(rig, 4) or rig.rewrite(lambda entries: edit([entries[0]] * 4 + entries)[4:]),
        "chain archive",
    ),
    "stream and archive are edited alike": (in_both, "checkpoint"),
    "stream and archive are cut off alike": (cut_both, "checkpoint"),
    "stream and archive are deleted": (remove_archive, "checkpoint"),
    "only the archive is edited": (lambda rig: rig.rewrite_archive(edit, recompute=False), "archive checkpoint"),
    "a checkpoint is forged": (forge_checkpoint, "checkpoint"),
    "nothing is done": (lambda rig: None, ""),
    "old entries are trimmed": (lambda rig: trim_to(rig, 5), ""),
    "old entries are trimmed, and it goes on": (lambda rig: trim_to(rig, 5) or rig.write(3) or rig.archive(), ""),
}


def test_the_wrong_key_of_the_checkpoints_is_told_as_that(rig: JournalRig) -> None:
    rig.write(5)
    rig.archive()
    rig.key = PrivateKey.generate("somebody", "1")
    notes = [each.text for each in rig.verify().found if not each.tampered]
    assert any("is it the public key of the archive" in text for text in notes), notes


@pytest.mark.parametrize(("attack", "told_by"), ATTACKS.values(), ids=ATTACKS)
def test_which_layer_tells_which_tampering(rig: JournalRig, attack: Attack, told_by: str) -> None:
    rig.write(5)
    rig.save()
    rig.write(5)
    rig.archive()
    attack(rig)
    found = rig.verify()
    assert {each.layer for each in found.found if each.tampered} == set(told_by.split())
    assert bool(found.tampered) == bool(told_by)
    alone = rig.verify(archive=False)
    assert bool(alone.tampered) == ("chain" in told_by)
