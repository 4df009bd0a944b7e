"""The stacks that the attacks are made on, each started once for all of them: as compose has it, and guarded by all
that there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose_stack import ComposeStack
from tests.support.seals import DESK, PAYROLL, write_keys
from tests.support.signing_keys import fixed_key

WORKER = fixed_key("worker")
POLICY = """
[[withdrawals.main.to]]
name = "treasury"
asset = "ETH"
address = "0xabc"
max = "0.5"
[[withdrawals.main.to]]
name = "wages"
asset = "BTC"
address = "0xabc"
[[withdrawals.main.limit]]
asset = "BTC"
window = "24h"
total = "0.03"
"""


def all_guards(folder: Path) -> dict[str, str]:
    """Settings of workers that execute what is sealed and permitted, and sign their reports."""
    files = {"worker.toml": WORKER.to_file_text(), "policy.toml": POLICY}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {
        "ORDERS_AUTH__MODE": "require",
        "ORDERS_AUTH__KEYS_FILE": str(write_keys(folder / "keys.toml", PAYROLL, DESK)),
        "ORDERS_REPORT_KEY_FILE": str(folder / "worker.toml"),
        "ORDERS_POLICY__MODE": "require",
        "ORDERS_POLICY_FILE": str(folder / "policy.toml"),
        "ORDERS_LEDGER__INTENT_SECONDS": "1",
    }


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with ComposeStack(tmp_path_factory.mktemp("stack"), TEST_LOG_LEVEL="INFO") as started:
        yield started


@pytest.fixture
def stack(shared: ComposeStack) -> Iterator[ComposeStack]:
    """The stack with the venue as at its start; afterwards it works, with the same processes."""
    shared.venue.reset()
    pids = {login: node.pid for login, node in shared.workers.items()}
    yield shared
    shared.venue.clear_faults()
    shared.venue.release("drop")
    shared.check_alive()
    assert {login: node.pid for login, node in shared.workers.items()} == pids


@pytest.fixture(scope="session")
def shared_guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    folder = tmp_path_factory.mktemp("guarded")
    with ComposeStack(folder, **all_guards(folder)) as started:
        # As for a desk that lets withdrawals follow other commands: seals alone must keep out the others.
        started.admin(0).execute_command("ACL", "SETUSER", "worker", "~orders.*")
        yield started


@pytest.fixture
def guarded(shared_guarded: ComposeStack) -> Iterator[ComposeStack]:
    """The stack with every guard switched on and the venue as at its start."""
    shared_guarded.venue.reset()
    yield shared_guarded
    shared_guarded.venue.clear_faults()
    shared_guarded.venue.release("drop")
    assert {node.status for node in shared_guarded.workers.values()} == {"running"}
