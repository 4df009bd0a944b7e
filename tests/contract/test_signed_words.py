"""Operators' words: signed where the operator has a key, and told apart from those that anybody may have written."""

from collections.abc import Callable

import pytest
import redis

from producers.report import Outcome
from tests.contract.conftest import OperatorFixture
from tests.support.signing_keys import fixed_key
from worker.cli.output import entry_json, entry_line, halt_json
from worker.ledger.halts import HaltScope
from worker.ledger.journal_writer import JournalWriter
from worker.operations.operator import OperatorService
from worker.public_keys import PublicKeys, parse

ANNA, BOB = fixed_key("anna"), fixed_key("bob")
KEYS = parse(f'[operators]\nanna = "{ANNA.public().to_text()}"\n'.encode())


@pytest.fixture
def anna(operator: OperatorFixture) -> OperatorService:
    return OperatorService(operator.client, operator.ledger, operator.clock, ANNA)


def verdicts(operator: OperatorFixture, keys: PublicKeys | None = KEYS) -> list[str]:
    return [entry_json(entry, keys).get("word", "") for entry in operator.desk.journal()]


def halt_verdicts(operator: OperatorFixture) -> list[str]:
    return [halt_json(*halt, KEYS)["word"] for halt in operator.desk.halts()]


def test_each_word_is_signed_by_who_said_it(operator: OperatorFixture, anna: OperatorService) -> None:
    for command_id, reference in (("x", None), ("y", "ref-1")):
        operator.unknown(command_id)
        anna.resolve(command_id, reference=reference, who="anna", why="asked their support: ünd so")
    anna.halt(HaltScope(), HaltScope("main", "close"), who="anna", why="fire")
    assert halt_verdicts(operator) == ["signed by anna"] * 2
    anna.resume(HaltScope(), who="anna", why="")
    words = [word for word in verdicts(operator) if word]
    assert words == ["signed by anna"] * 5
    assert [word for word in verdicts(operator, None) if word] == [
        "signature not checked (ORDERS_AUTH__KEYS_FILE names no public keys here)"
    ] * 5
    entry = operator.desk.journal()[-1]
    assert entry.fields["sig"] not in entry_line(entry, KEYS) + str(entry_json(entry, KEYS))
    assert entry_line(entry, KEYS).endswith("[signed by anna]")


def test_without_a_key_a_word_is_unsigned(operator: OperatorFixture) -> None:
    """Workers heed an unsigned halt: halting is always safe."""
    operator.desk.halt(HaltScope(), who="ceo@bank", why="fire")
    assert (verdicts(operator), halt_verdicts(operator)) == (["unsigned"], ["unsigned"])


def reuse(**changes: str) -> Callable[[redis.Redis, dict[str, str]], None]:
    """Write a signed word once more, with other fields."""

    def attack(client: redis.Redis, said: dict[str, str]) -> None:
        fields = {name: text for name, text in {**said, **changes}.items() if name not in ("seq", "sha", "id", "event")}
        JournalWriter(client).write(changes.get("event", said["event"]), changes.get("id", said["id"]), **fields)

    return attack


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (reuse(who="bob"), "BAD SIGNATURE (by an unknown key)"),
        (reuse(why="otherwise"), "BAD SIGNATURE"),
        (reuse(scope="main/close"), "BAD SIGNATURE"),
        (reuse(event="resume"), "BAD SIGNATURE"),
        (reuse(id="y"), "BAD SIGNATURE"),
        (reuse(outcome="accepted"), "BAD SIGNATURE"),
        (reuse(reference="7"), "BAD SIGNATURE"),
        (reuse(signed_at="5"), "BAD SIGNATURE"),
        (reuse(signed_at="x" * 99), "BAD SIGNATURE"),
        (reuse(sig="AAAA"), "BAD SIGNATURE"),
        (reuse(sig=""), "unsigned"),
    ],
)
def test_a_signature_is_for_one_word(
    operator: OperatorFixture, anna: OperatorService, attack: Callable[..., None], told: str
) -> None:
    anna.halt(HaltScope(), who="anna", why="fire")
    attack(operator.client, operator.journal()[0])
    assert verdicts(operator) == ["signed by anna", told]


def test_an_old_word_is_not_said_again(operator: OperatorFixture, anna: OperatorService) -> None:
    operator.clock.turn(-3600)
    anna.halt(HaltScope(), who="anna", why="fire")
    assert verdicts(operator) == ["BAD SIGNATURE (of another time)"]


def test_another_s_signature_is_not_anna_s(operator: OperatorFixture) -> None:
    OperatorService(operator.client, operator.ledger, operator.clock, BOB).halt(HaltScope(), who="anna", why="fire")
    assert verdicts(operator) == ["BAD SIGNATURE"]


def test_what_a_reconcile_settles_is_nobody_s_word(operator: OperatorFixture) -> None:
    operator.unknown("x")
    report = operator.desk.unknown("x")
    operator.ledger.resolve(report.model_copy(update={"outcome": Outcome.ACCEPTED}), who="reconcile", why="found it")
    assert verdicts(operator)[-1] == ""
