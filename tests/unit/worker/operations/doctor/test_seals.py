"""What the doctor says about seals: who is not asked for one, and the keys."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.signing import PrivateKey
from tests.support.seals import DESK, PAYROLL, PAYROLL_OLD, write_keys
from worker.operations.doctor.seals import check_seals
from worker.settings import WorkerSettings
from worker.venues.everstrike.adapter import Everstrike

ACCOUNT = {"venue": "everstrike", "api_key": "key", "secret_key": "secret"}
QUERIES_ONLY = {**ACCOUNT, "venue": "bitz"}


def found(*, account: dict[str, str] = ACCOUNT, report_key_file: str = "", **auth: Any) -> dict[str, tuple[str, str]]:
    """Level and message by name."""
    settings = WorkerSettings(accounts={"main": account}, auth=auth, report_key_file=report_key_file)
    return {each.name: (each.level.value, each.message) for each in check_seals(settings)}


def test_a_worker_that_can_withdraw_and_asks_for_no_seal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or place an order, where the venue takes one."""
    (told,) = found().items()
    assert (told[0], told[1][0], "withdraws from main" in told[1][1]) == ("ORDERS_AUTH__WITHDRAW", "warning", True)
    with monkeypatch.context() as context:
        context.setattr(Everstrike, "commands", ("submit",))
        (told,) = found().items()
    assert (told[0], "places orders for main" in told[1][1]) == ("ORDERS_AUTH__SUBMIT", True)
    assert found(account=QUERIES_ONLY) == {}
    keys = str(write_keys(tmp_path / "keys.toml", PAYROLL))
    assert found(withdraw="warn", keys_file=keys) == {
        "modes": ("ok", "cancel off, close off, positions off, submit off, withdraw warn"),
        "public keys": ("ok", "producers: 1, operators: 0"),
    }


def test_keys_that_end_soon_or_have_ended_are_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ends = {
        PAYROLL.kid: now + timedelta(days=13),
        PAYROLL_OLD.kid: now - timedelta(days=3),
        DESK.kid: now + timedelta(days=20),
    }
    keys = write_keys(tmp_path / "keys.toml", PAYROLL, PAYROLL_OLD, DESK, not_after=ends)
    said = found(mode="require", keys_file=str(keys))
    assert said["key payroll/2026-11"] == ("warning", "expires in 13 d")
    assert said["key payroll/2026-08"][0] == "warning"
    assert "expired 3 d ago" in said["key payroll/2026-08"][1]
    assert "key desk/k1" not in said


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_file_that_others_may_write_is_a_fault(tmp_path: Path, mode: int) -> None:
    keys = write_keys(tmp_path / "keys.toml", PAYROLL)
    keys.chmod(mode)
    assert found(mode="require", keys_file=str(keys))[str(keys)][0] == "fault"


def test_a_broken_file_is_a_fault(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    level, message = found(mode="require", keys_file=str(keys))["public keys"]
    assert (level, "No such file" in message) == ("fault", True)


def test_the_key_that_signs_reports_is_a_secret(tmp_path: Path) -> None:
    key = tmp_path / "worker.toml"
    assert found(report_key_file=str(key))["ORDERS_REPORT_KEY_FILE"][0] == "fault"
    key.write_text(PrivateKey.generate("worker", "1").to_file_text())
    key.chmod(0o640)
    assert found(report_key_file=str(key))["ORDERS_REPORT_KEY_FILE"][0] == "fault"
    key.chmod(0o600)
    assert found(report_key_file=str(key))["reports"] == ("ok", "signed as worker/1")
