"""What celery-node and celery-ts do with our messages and reports: the examples of docs/senders.md, at a worker."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.conftest import CANCEL, ROOT
from tests.support.stack import Stack
from tests.support.waiting import until

PACKAGES = ("celery-node@0.5.9", "celery-ts@1.2.3")
SECONDS = 120.0


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, require_service: Callable[[str, object], None]) -> Path:
    """A folder in which both packages are installed."""
    npm = shutil.which("npm")
    require_service("npm", npm and shutil.which("node"))
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text("{}", encoding="utf-8")
    command = [str(npm), "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    require_service("npm's registry", installed.returncode == 0)
    return folder


def example(package: str) -> str:
    document = (ROOT / "docs" / "senders.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```js\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if f'from "{package}"' in block]
    return str(found)


def run(folder: Path, program: str, stack: Stack, **environment: str) -> "subprocess.CompletedProcess[str]":
    (folder / "sender.mjs").write_text(program, encoding="utf-8")
    url = stack.queue_settings.broker_url.rpartition("/")[0]
    variables = {**os.environ, "ORDERS_REDIS_URL": url, **environment}
    command = ["node", "sender.mjs"]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.fixture(scope="module")
def shared(make_bed: Callable[..., Stack]) -> Stack:
    made = make_bed()
    # At its first command a worker publishes on a channel of its own, which celery-ts does not survive.
    made.ended(made.send("orders.cancel", **CANCEL), 60)
    return made


@pytest.fixture
def stack(shared: Stack) -> Stack:
    shared.reset_venue()
    return shared


@pytest.mark.parametrize("package", ["celery-node", "celery-ts"])
def test_the_examples_read_both_kinds_of_report(clients: Path, stack: Stack, package: str) -> None:
    for account, outcome in (("main", "accepted ok"), ("nobody", "not_sent invalid")):
        ran = run(clients, example(package), stack, ACCOUNT=account)
        assert ran.returncode == 0, ran.stderr
        command_id, _, said = ran.stdout.strip().partition(" ")
        assert said == outcome
        assert " ".join(stack.ended(command_id).outcome) == outcome


def test_celery_node_repeats_a_command_with_its_id(clients: Path, stack: Stack) -> None:
    command_id = str(uuid4())
    said = {run(clients, example("celery-node"), stack, ID=command_id).stdout for _ in range(2)}
    assert said == {f"{command_id} accepted ok\n"}
    assert len(stack.venue.executions()) == 1


def test_celery_ts_resolves_on_failure_and_ends_at_an_id_that_is_no_uuid(clients: Path, stack: Stack) -> None:
    """As the document says: it is to be seen here when a new version does better."""
    example_of = example("celery-ts")
    resolved = example_of.replace(
        "console.log(", "console.log(JSON.stringify(Object.keys(result).sort())); console.log("
    )
    ran = run(clients, resolved, stack, ACCOUNT="nobody")
    assert set(json.loads(ran.stdout.splitlines()[0])) >= {"exc_message", "exc_type"}
    listens = example_of.partition("const kwargs")[0] + "setTimeout(() => process.exit(0), 60000); console.log('up');"
    (clients / "listens.mjs").write_text(listens, encoding="utf-8")
    url = stack.queue_settings.broker_url.rpartition("/")[0]
    environment = {**os.environ, "ORDERS_REDIS_URL": url}
    with subprocess.Popen(
        [str(shutil.which("node")), "listens.mjs"],
        cwd=clients,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            told = "celery-task-meta-payroll.1"
            until(lambda: (stack.results.publish(told, "{}"), process.poll() is not None)[1], "its end", SECONDS)
            assert "is not a celery result" in process.communicate(timeout=SECONDS)[1]
        finally:
            process.kill()
