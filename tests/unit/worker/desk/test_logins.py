"""The file of logins: what a line is, how a password is checked, and how the file is written."""

from pathlib import Path

import pytest

from worker.desk import logins
from worker.desk.logins import Attempts, Logins, access_problem, add_login, hashed, parse, password_problem
from worker.watched_file import FileUnusable

PASSWORD = "correct horse battery"


def test_a_login_is_written_found_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    add_login(path, "ann", PASSWORD)
    add_login(path, "bob", PASSWORD)
    first = Logins(path).proof_of("ann")
    assert Logins(path).check("ann", PASSWORD) == first
    assert Logins(path).check("ann", PASSWORD + "x") is None
    assert Logins(path).check("nobody", PASSWORD) is None
    add_login(path, "ann", "another password")
    assert Logins(path).proof_of("ann") not in (None, first)
    assert list(parse(path.read_bytes())) == ["bob", "ann"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text(encoding="utf-8")


def test_the_same_password_has_another_hash_each_time() -> None:
    assert hashed(PASSWORD) != hashed(PASSWORD)


def test_a_password_longer_than_any_is_wrong_even_if_it_begins_right(tmp_path: Path) -> None:
    longest = "x" * logins.MAX_PASSWORD
    add_login(tmp_path / "logins", "ann", longest)
    assert Logins(tmp_path / "logins").check("ann", longest + "y") is None


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_a_password_has_bounds(password: str) -> None:
    assert "12 to 200" in password_problem(password)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff", "UTF-8"),
        (b"Ann:x", "line 1: a name"),
        (b"ann:plain", "line 1: no hash"),
        (b"ann:scrypt$3$8$1$" + b"A" * 22 + b"$" + b"A" * 43, "no hash"),
        (b"ann:scrypt$4194304$8$1$" + b"A" * 22 + b"$" + b"A" * 43, "no hash"),
        (b"ann:scrypt$32768$8$0$" + b"A" * 22 + b"$" + b"A" * 43, "no hash"),
    ],
)
def test_a_broken_line_is_named_and_not_quoted(content: bytes, says: str) -> None:
    with pytest.raises(FileUnusable, match=says) as error:
        parse(content)
    assert "plain" not in str(error.value)


@pytest.mark.parametrize("content", ["", "# nobody\n"])
def test_a_file_without_a_login_opens_no_desk_and_ends_every_login_of_one_that_runs(
    tmp_path: Path, content: str
) -> None:
    now, path = 0.0, tmp_path / "logins"
    add_login(path, "ann", PASSWORD)
    running = Logins(path, lambda: now)
    path.write_text(content, encoding="utf-8")
    now += 10
    assert (running.proof_of("ann"), running.check("ann", PASSWORD)) == (None, None)
    with pytest.raises(FileUnusable, match="no login"):
        Logins(path)


def test_a_name_twice_is_refused() -> None:
    line = f"ann:{hashed(PASSWORD)}\n"
    with pytest.raises(FileUnusable, match="line 2: ann"):
        parse((line * 2).encode())


@pytest.mark.parametrize("name", ["", "Ann", "a:b", "a\nb", "../x", "x" * 65])
def test_a_name_that_would_break_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        add_login(tmp_path / "logins", name, PASSWORD)


def test_others_must_not_read_the_file_but_in_the_folder_of_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "logins"
    add_login(path, "ann", PASSWORD)
    path.chmod(0o644)
    assert access_problem(path)
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(tmp_path))
    assert not access_problem(path)


def test_a_wait_is_over_when_it_says() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    assert [attempts.wait_seconds("ann") for _ in range(5)] == [0] * 5
    wait = attempts.wait_seconds("ann")
    assert 0 < wait <= Attempts.NAMES_SECONDS
    assert attempts.wait_seconds("bob") == 0
    now += wait
    assert attempts.wait_seconds("ann") == 0
    assert attempts.wait_seconds("ann") > 0
