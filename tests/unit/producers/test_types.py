"""The package as its users see it: what can be imported from it, what that costs, and what a type checker says."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import producers
from producers import commands

ROOT = Path(__file__).parents[3]

TAKEN = """
from decimal import Decimal
from typing import assert_type

from collections.abc import AsyncIterator, Iterator

from producers import AsyncOrderClient, EnqueuedCommand, ReportStream
from producers import Cancel, Close, OrderClient, Outcome, Positions, Report, Submit, Withdraw, __version__
from producers.testing import InMemoryAsyncOrderClient, InMemoryOrderClient, InMemoryOrders

close = Close(account="main", pair="P", qty="0.5", price=Decimal(1), trigger_price=3, trigger_event="MARK_PRICE")
assert_type(close.qty, Decimal | None)
withdraw = Withdraw(account="main", asset="ETH", qty="0.5", address="0x", deadline=5)
assert_type(withdraw.qty, Decimal)
Close(account="main", pair="P", close_on_trigger=True, recv_window=5, deadline=5)
submit = Submit(account="main", pair="P", side="buy", qty=Decimal("0.5"), price=1, post_only=True, reduce_only=False)
assert_type(submit.qty, Decimal)
Cancel(account="main", order_id="1", deadline=5)
Positions(account="main", contract_id=101)


def send(client: OrderClient) -> bool:
    report = client.wait(client.enqueue(close))
    assert_type(report, Report)
    assert_type(client.as_completed(["1"]), Iterator[Report])
    return report.outcome is Outcome.ACCEPTED


async def send_with_asyncio(client: AsyncOrderClient) -> None:
    sent = await client.enqueue(close)
    assert_type(sent, EnqueuedCommand)
    assert_type(await client.wait(sent), Report)
    assert_type(client.as_completed([sent]), AsyncIterator[Report])
    assert_type(client.reports(sent), ReportStream)
    async for report in client.reports():
        assert_type(report, Report)


async def test_service(orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome=["unknown", None], message="m")
    orders.answers(send(orders.client) and "id" or "", outcome=None)
    await send_with_asyncio(orders.async_client)
    send(InMemoryOrderClient())
    await send_with_asyncio(InMemoryAsyncOrderClient(orders))


assert_type(__version__, str)
"""
REFUSED = """
from producers import Close, Submit, Withdraw

Close(account="main", pair="P", qty=0.5)
Close(account="main")
Close(account="main", pair="P", amount="1")
Withdraw(account="main", asset="ETH", qty=None, address="0x")
Submit(account="main", pair="P", side="bid", qty="1")
Submit(account="main", pair="P", side="buy", qty=1.5)
Withdraw(account="main", asset="ETH", qty=0.1, address="0x")
"""


COSTS = """
import sys
import producers
print(*{"pydantic", "celery"} & sys.modules.keys())
producers.Close(account="main", pair="P")
print(*{"pydantic", "celery"} & sys.modules.keys())
print(*sorted(name for name in producers.__all__ if getattr(producers, name).__name__ != name))
"""


def test_importing_the_package_imports_no_library_until_one_is_needed() -> None:
    """Celery takes most of a second to import; a service that validates a command must not pay for that."""
    done = subprocess.run([sys.executable, "-c", COSTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["", "pydantic", "", ""], done.stderr


def test_a_name_that_the_package_does_not_have() -> None:
    """A plain AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="module 'producers' has no attribute 'Closed'"):
        producers.Closed  # noqa: B018


def checked(program: str, folder: Path) -> str:
    """What mypy says of it, in strict mode and without this project's plugin."""
    (folder / "service.py").write_text(program)
    # Silent about what is imported, as about any installed package.
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--cache-dir", str(folder)]
    command = [sys.executable, "-m", "mypy", *options, "service.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250).stdout


def test_a_service_that_uses_the_commands_passes_mypy_strict(tmp_path: Path) -> None:
    """An amount is given as a string, a Decimal or an integer, and is a Decimal afterwards."""
    assert checked(TAKEN, tmp_path) == "Success: no issues found in 1 source file\n"


def test_what_a_command_does_not_take_is_found_before_it_runs(tmp_path: Path) -> None:
    """A float has lost digits, and a misspelt argument would be refused."""
    said = checked(REFUSED, tmp_path)
    assert [line for line in range(4, 11) if f"service.py:{line}: error" in said] == [*range(4, 11)], said


def test_the_types_name_every_argument_of_a_command() -> None:
    """The signatures for type checkers are written by hand, and must not fall behind the fields."""
    tree = ast.parse(Path(commands.__file__).read_text())
    written = {
        node.name: [argument.arg for argument in function.args.kwonlyargs]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for function in ast.walk(node)
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    }
    assert {name: sorted(names) for name, names in written.items()} == {
        model.__name__: sorted(model.model_fields) for model in (commands.Close, commands.Submit, commands.Withdraw)
    }
