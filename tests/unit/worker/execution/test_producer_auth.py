"""What a worker makes of a command's seal in each mode: who sent it, whether they may, and what is counted."""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from producers.seal import HEADER
from tests.support.fakes import START_MS, TurnedClock
from tests.support.seals import CANCEL, DESK, PAYROLL, PAYROLL_OLD, STRANGER, WITHDRAW, sealed, write_keys
from worker.auth_settings import AuthSettings
from worker.execution.policy.producer_auth import (
    AGAIN_BURST,
    AGAIN_SECONDS,
    MAX_AHEAD_MS,
    Authority,
    NotTrusted,
    ProducerAuth,
)
from worker.public_keys import KeysFile

DAY_MS = 86_400_000
KEEP_MS = 7 * DAY_MS


class Checked:
    """A check of seals, and what it told."""

    def __init__(self, folder: Path, **modes: Any) -> None:
        expired = datetime.fromtimestamp(START_MS / 1000 - 2, UTC)
        file = write_keys(folder / "keys.toml", PAYROLL, PAYROLL_OLD, DESK, not_after={PAYROLL_OLD.kid: expired})
        self.clock = TurnedClock()
        self.counted: list[tuple[str, str, str]] = []
        self.journal: list[tuple[str, str, dict[str, str]]] = []
        self.auth = ProducerAuth(
            AuthSettings(keys_file=str(file), **modes).modes,
            KeysFile(file),
            clock=self.clock,
            keep_ms=KEEP_MS,
            count=lambda *labels: self.counted.append(labels),
            journal=lambda event, command_id, **more: self.journal.append((event, command_id, more)),
        )

    def check(
        self, task: str, kwargs: dict[str, Any], headers: dict[str, Any], *args: Any, again: bool = False
    ) -> Authority:
        return self.auth.check(task, headers["id"], (list(args), kwargs), headers.get(HEADER), again=again)

    def refuses(self, task: str, kwargs: dict[str, Any], headers: dict[str, Any], *args: Any) -> str:
        with pytest.raises(NotTrusted) as caught:
            self.check(task, kwargs, headers, *args)
        return caught.value.problem


def withdrawal(**changes: Any) -> dict[str, Any]:
    return sealed("orders.withdraw", WITHDRAW, **{"at": START_MS, **changes})


def test_a_sealed_command_says_by_whom_and_until_when(tmp_path: Path) -> None:
    checked = Checked(tmp_path, mode="require")
    authority = checked.check("orders.withdraw", WITHDRAW, withdrawal(valid_ms=1000))
    known_until = START_MS + KEEP_MS - MAX_AHEAD_MS
    assert authority == Authority("payroll", START_MS + 1000, known_until)
    other_case = {**WITHDRAW, "account": "MAIN"}
    checked.check("orders.withdraw", other_case, sealed("orders.withdraw", other_case, at=START_MS))
    assert checked.counted == checked.journal == []


REFUSED = [
    ("unsealed", WITHDRAW, {"id": "payroll.1"}, ()),
    ("malformed", WITHDRAW, {**withdrawal(), HEADER: "sealed"}, ()),
    ("unknown_key", WITHDRAW, sealed("orders.withdraw", WITHDRAW, STRANGER.generate("other", "k"), at=START_MS), ()),
    ("expired_key", WITHDRAW, withdrawal(key=PAYROLL_OLD), ()),
    ("signature", WITHDRAW, withdrawal(key=STRANGER), ()),
    ("signature", {**WITHDRAW, "qty": "0.10"}, withdrawal(), ()),
    ("foreign_id", WITHDRAW, {**withdrawal(), "id": "desk.1"}, ()),
    ("arguments", {**WITHDRAW, "qty": 0.1}, withdrawal(), ()),
    ("arguments", WITHDRAW, withdrawal(), ("a positional one",)),
    ("out_of_scope", WITHDRAW, withdrawal(key=DESK), ()),
    ("future", WITHDRAW, withdrawal(at=START_MS + MAX_AHEAD_MS + 60_000), ()),
]


@pytest.mark.parametrize(("problem", "kwargs", "headers", "args"), REFUSED)
def test_what_is_not_sealed_well_is_refused_counted_and_journalled_or_with_warn_executed_and_counted(
    tmp_path: Path, problem: str, kwargs: dict[str, Any], headers: dict[str, Any], args: tuple[Any, ...]
) -> None:
    require, warn, off = (Checked(tmp_path, mode=mode) for mode in ("require", "warn", "off"))
    assert require.refuses("orders.withdraw", kwargs, headers, *args) == problem
    assert require.counted == [("withdraw", problem, "require")]
    ((event, command_id, more),) = require.journal
    assert (event, command_id, more["why"]) == (
        "unsealed" if problem == "unsealed" else "badly_sealed",
        headers["id"],
        problem,
    )
    # Only a verified seal says by whom it is.
    assert ("by" in more) == (problem in ("out_of_scope", "future"))
    assert warn.check("orders.withdraw", kwargs, headers, *args).begin_by == 0
    assert (warn.counted, warn.journal) == ([("withdraw", problem, "warn")], [])
    assert off.check("orders.withdraw", kwargs, headers, *args) == Authority()


def test_each_command_may_have_a_mode_of_its_own(tmp_path: Path) -> None:
    checked = Checked(tmp_path, mode="off", withdraw="require", cancel="warn")
    unsealed = {"id": "1"}
    assert checked.refuses("orders.withdraw", WITHDRAW, unsealed) == "unsealed"
    assert checked.check("orders.cancel", CANCEL, unsealed) == checked.check("orders.close", CANCEL, unsealed)
    assert [command for command, _, _ in checked.counted] == ["withdraw", "cancel"]


def test_a_command_that_comes_again_may_be_ended_but_not_begun(tmp_path: Path) -> None:
    """It may have begun when its key was still listed, or before the mode was changed."""
    checked = Checked(tmp_path, mode="require")
    authority = checked.check("orders.withdraw", WITHDRAW, {"id": "1"}, again=True)
    assert (authority.sealed_by, authority.begin_by, authority.known_until) == ("", 1, 1)
    assert checked.counted == []
    with pytest.raises(NotTrusted):  # a query has no record: it never counts as begun
        checked.check("orders.positions", {"account": "main"}, {"id": "1"}, again=True)


def test_a_flood_of_messages_that_say_that_they_come_again_is_refused_without_a_look_into_the_ledger(
    tmp_path: Path,
) -> None:
    checked = Checked(tmp_path, mode="require")

    def looked_up() -> int:
        count = 0
        for _ in range(1000):
            with suppress(NotTrusted):
                checked.check("orders.withdraw", WITHDRAW, {"id": "1"}, again=True)
                count += 1
        return count

    assert looked_up() == AGAIN_BURST
    checked.clock.turn(2 * AGAIN_SECONDS)
    assert looked_up() == 2


def test_a_warning_is_logged_once_in_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checked = Checked(tmp_path, mode="warn")
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            checked.check("orders.withdraw", WITHDRAW, withdrawal(key=STRANGER))
        assert len(caplog.records) == 1
        assert "payroll" in caplog.text
        checked.clock.sleep(61)
        checked.check("orders.withdraw", WITHDRAW, withdrawal(key=STRANGER))
    assert len(caplog.records) == 2
    assert len(checked.counted) == 101
