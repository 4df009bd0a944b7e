"""The file of public keys: what it says, what is wrong with one, and that a changed one is read again."""

import logging
import os
from pathlib import Path

import pytest

from tests.support.signing_keys import fixed_key
from worker.public_keys import KeysFile, parse
from worker.watched_file import FileUnusable

KEYS = [fixed_key("payroll", "k", number).public().to_text() for number in range(3)]
NOON_MS = 1_797_336_000_000  # 2026-12-15T12:00:00Z
WHOLE = f"""
[producers.payroll]
may = ["withdraw:Treasury", "cancel"]
[producers.payroll.keys]
2026-08 = {{ key = "{KEYS[0]}", not_after = 2026-12-15T12:00:00Z }}
2026-11 = "{KEYS[1]}"
[operators]
anna = "{KEYS[2]}"
"""


def test_a_file_says_whose_keys_there_are_until_when_and_what_each_producer_may() -> None:
    keys = parse(WHOLE.encode())
    payroll = keys.producers["payroll"]
    assert [key.key.to_text() for key in payroll.keys.values()] == KEYS[:2]
    assert payroll.keys["2026-08"].valid_at(NOON_MS)
    assert not payroll.keys["2026-08"].valid_at(NOON_MS + 1)
    assert payroll.keys["2026-11"].valid_at(NOON_MS * 2)
    allowed = {(command, account) for command in ("withdraw", "cancel", "close") for account in ("TREASURY", "main")}
    assert {each for each in allowed if payroll.allows(*each)} == {
        ("withdraw", "TREASURY"),
        ("cancel", "TREASURY"),
        ("cancel", "main"),
    }
    found = keys.operator_key("anna", "2026-11")
    assert found is not None
    assert found.key.to_text() == KEYS[2]
    assert keys.operator_key("bob", "2026-11") is None


def test_an_operator_may_have_several_keys_and_then_only_those_ids() -> None:
    keys = parse(f'[operators.anna]\n2026-11 = "{KEYS[0]}"\n2026-12 = {{ key = "{KEYS[1]}" }}'.encode())
    assert keys.operator_key("anna", "2026-12")
    assert keys.operator_key("anna", "2027-01") is None


PRODUCER = f'[producers.a]\nmay = ["cancel"]\nkeys.k = "{KEYS[0]}"\n'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[producers", "not TOML, at end of document"),
        ("a = " + "[" * 3000, "not TOML"),
        ("[producer.a]", "the file: there is no producer"),
        ("producers = 1", "[producers] is not a table"),
        ("[producers.a]\nkeys.k = 1", "[producers.a] needs `may`"),
        (PRODUCER + "allow = 1", "[producers.a]: there is no allow"),
        ('[producers.a]\nmay = ["cancel"]', "[producers.a] keys: there is no key"),
        (PRODUCER.replace("cancel", "pay"), "[producers.a] may: pay names no command"),
        (PRODUCER.replace('"cancel"', "7"), "[producers.a] may: 7 names no command"),
        (PRODUCER.replace("cancel", "cancel:"), "cancel: does not name an account"),
        (PRODUCER.replace("cancel", "cancel:ma\\nin"), "cancel:ma in does not name an account"),
        (PRODUCER.replace("producers.a", 'producers."A\\u001b"'), r"A\x1b is not 1 to 64 lower-case letters"),
        (PRODUCER.replace(KEYS[0], "ed25519:c2VjcmV0"), "[producers.a] keys k: it is not base64 of 32 bytes"),
        (
            PRODUCER.replace(f'"{KEYS[0]}"', "{ not_after = 2026-01-01T00:00:00Z }"),
            "keys k: a key begins with ed25519:",
        ),
        (PRODUCER.replace(f'"{KEYS[0]}"', f'{{ key = "{KEYS[0]}", not_after = 2026-01-01 }}'), "a time with a zone"),
        (
            PRODUCER + f'[operators]\nanna = "{KEYS[0]}"',
            "key k of the producer a and that of the operator anna are the same key",
        ),
        (f'[operators]\nanna = {{ key = "{KEYS[0]}", may = 1 }}', "[operators] anna: there is no may"),
    ],
)
def test_a_wrong_file_is_refused_with_the_entry_and_without_the_key(content: str, problem: str) -> None:
    with pytest.raises(FileUnusable) as caught:
        parse(content.encode())
    assert problem in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 2
        return self.seconds


def replace_atomically(path: Path, content: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(content)
    new.replace(path)


def swap_folder_link(path: Path, content: str) -> None:
    """As Kubernetes changes a mounted secret: the file is a link through ``..data``, a link that is replaced."""
    folder = path.parent / f"..{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    (folder / path.name).write_text(content)
    link = path.parent / "..new"
    link.symlink_to(folder.name)
    link.replace(path.parent / "..data")
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(Path("..data") / path.name)


def write_in_place(path: Path, content: str) -> None:
    path.write_text(content)


@pytest.mark.parametrize("change", [replace_atomically, swap_folder_link, write_in_place])
def test_a_changed_file_is_read_again_and_a_broken_one_leaves_the_last_valid_one_in_force(
    tmp_path: Path, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(change)
    path = tmp_path / "keys.toml"
    change(path, WHOLE)
    file = KeysFile(path, Now())
    assert list(file.current().producers) == ["payroll"]

    # As long as before, and within one tick of the file system's clock.
    change(path, WHOLE.replace("payroll", "payrool"))
    assert list(file.current().producers) == ["payrool"]

    change(path, "[producers")
    with caplog.at_level(logging.ERROR):
        assert [list(file.current().producers) for _ in range(3)] == [["payrool"]] * 3
    assert "not TOML" in file.problem
    assert caplog.text.count("the last valid one counts") == 1

    change(path, WHOLE)
    assert list(file.current().producers) == ["payroll"]
    assert file.problem == ""


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(WHOLE)
    monkeypatch.setattr("worker.watched_file.UNSETTLED_SECONDS", 0)
    file = KeysFile(path, Now())
    keys = file.current()
    assert file.current() is keys
    replace_atomically(path, WHOLE)
    assert file.current() is not keys


def test_what_is_no_readable_file_of_a_sane_size_is_a_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))
    problems = {name: KeysFile(tmp_path / name).problem for name in ("missing", "pipe", "large")}
    assert "last valid one" not in caplog.text, "there was none"
    assert problems == {
        "missing": "it can't be read: No such file or directory",
        "pipe": "it is not a file",
        "large": "it is larger than 1,048,576 bytes",
    }
