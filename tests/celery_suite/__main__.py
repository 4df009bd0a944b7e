"""Run Celery's own integration tests twice, over stock Celery and over our transport and result backend, and compare.

pip downloads the source distribution of the installed Celery; every run of pytest has an embedded server of its own. A
test counts as passed when one of three tries passes; Celery's suite allows more. What ends in another way than with
stock Celery must be in `DIFFERENT`.
"""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.servers import Server

FOLDER = Path(__file__).resolve().parents[2] / ".artefacts" / "celery-suite"
KINDS = ("stock", "ours")
TEST_SECONDS = 300
"""As in Celery's own: some wait for more than a minute to see that nothing happens."""
SUITE_SECONDS = 2400
"""For one part. Each test of an error callback that is never called waits for its end."""
TRIES = 3
CANVAS = ("link_error", "result_set", "group", "xmap_xstarmap", "signature_serialization", "stamping_mechanism")
PARTS = {
    "chord": ["canvas.py::test_chord"],
    "chain": ["canvas.py::test_chain"],
    "canvas": [f"canvas.py::test_{name}" for name in CANVAS],
    "others": ["group_chains.py", "inspect.py", "redis_backend.py", "tasks.py"],
}
"""What of ``t/integration`` is run. The parts run at the same time: half of their time is waiting."""
WORKER_STARTER = "t/integration/test_tasks.py::test_tasks::test_basic_task"
"""This test starts the worker, which some tests expect to be there."""
LEFT_OUT = {
    "backend": "needs Azure's blob storage",
    "cache_backend, database_backend, security, upgrade": "nothing of ours is in them, and they need further packages",
    "connection_recovery": "needs RabbitMQ",
    "serialization, worker": "start Celery's programs, in which nothing is ours",
    "beat, loader, logfile_format, request_backend_down": "neither transport nor result backend is what they are about",
    "backend_leak…, events_state_memory_leak, mem_leak…": "measure Celery's own memory",
}
"""Modules of ``t/integration`` that are not run, and why."""

PURGE = "it purges the queue to be sure that it is idle: a queue is not purged here, for that would drop commands"
REVOKED = "a revocation is stored as the result of an id alone, which may be a command's"
ASKED = "a result is subscribed to when somebody asks for it: nobody asks for what follows a command"
SENT = "an error callback is sent as a message with an id of its own, and never called inside the worker"
_HEADER_ERRBACK = "test_group_chains.test_group_chains::test_pending_chord_keeps_header_errback[{}]"
_KEPT_STATE = "test_tasks.test_tasks::test_revoke_keeps_state_of_task_started_elsewhere[{}]"
_CHORD_ERRBACK = "test_canvas.test_chord::test_mutable_errback_called_by_chord_from_{}[errback_new_style]"
_FAILURES = tuple(f"group_fail_multiple_on_{part}_failure" for part in ("body", "header"))
_CHORDS = ("chain", "chain_tail", "group", *_FAILURES)
_SUBSCRIPTION = "test_tasks.test_task_redis_result_backend::test_asyncresult_{}_cancels_subscription"
DIFFERENT = {
    "test_tasks.test_tasks::test_revoked_by_headers_complex_canvas": PURGE,
    **{_HEADER_ERRBACK.format(case): PURGE for case in ("0-1", "0-2", "2-1", "2-2")},
    **{_KEPT_STATE.format(state): REVOKED for state in ("STARTED", "PROGRESS")},
    **{_SUBSCRIPTION.format(verb): ASKED for verb in ("get", "forget")},
    **{_CHORD_ERRBACK.format(name): SENT for name in (*_CHORDS, "simple")},
    "test_canvas.test_chord::test_link_error_option_runs_on_body_failure": SENT,
    "test_canvas.test_group::test_mutable_errback_called_by_group[errback_new_style]": SENT,
    "test_canvas.test_link_error::test_mutable_errback_with_stored_arguments[new-style-args]": SENT,
}
"""Tests that end in another way than with stock Celery, and why that is meant."""

PYTEST_INI = "[pytest]\npython_classes = test_*\nmarkers =\n  flaky: Celery's suite tries these again\n"
OUR_CONFTEST = """
from celery.app.backends import BACKEND_ALIASES
from kombu.transport import TRANSPORT_ALIASES

BACKEND_ALIASES["redis"] = "worker.celery_app.results:ReportBackend"
TRANSPORT_ALIASES["redis"] = "worker.broker.transport:Transport"
"""

Run = tuple[str, str, Sequence[str]]
"""One run of pytest: kind, name of the run, tests."""
Outcomes = dict[str, str]
"""Test id (`module.class::name`) to passed, failed or skipped."""


def unpack(folder: Path) -> None:
    """Celery's tests, of the installed version, for each kind."""
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-input", "--no-deps", "--no-binary", "celery"]
    subprocess.run([*download, "-d", str(folder), f"celery=={version('celery')}"], check=True)
    with tarfile.open(folder / f"celery-{version('celery')}.tar.gz") as archive:
        tests = [each for each in archive.getmembers() if "/t/" in each.name and each.isfile()]
        for each in tests:
            each.name = each.name.partition("/")[2]
        for kind in KINDS:
            archive.extractall(folder / kind, tests, filter="data")
            (folder / kind / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
    (folder / "ours" / "conftest.py").write_text(OUR_CONFTEST, encoding="utf-8")


def run(kind: str, name: str, tests: Sequence[str]) -> Outcomes:
    """The outcomes of these tests; those that a run which is out of time has not come to are missing."""
    folder = FOLDER / kind
    report = folder / f"{name}.xml"
    report.unlink(missing_ok=True)
    options = ["-v", f"--timeout={TEST_SECONDS}", f"--session-timeout={SUITE_SECONDS}", f"--junitxml={report}"]
    options += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist"]
    with Server() as server, (folder / f"{name}.log").open("wb") as log:
        addresses = {"TEST_BROKER": server.url(0), "TEST_BACKEND": server.url(0)}
        addresses |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        try:
            subprocess.run(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=folder,
                env={**os.environ, **addresses},
                stdout=log,
                stderr=log,
                timeout=SUITE_SECONDS + TEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{kind}, {name}: does not end", flush=True)
    return read_report(report) if report.exists() else {}


def read_report(report: Path) -> Outcomes:
    """The outcomes in pytest's report; of a test's sub-tests and its teardown, the worst."""
    worst = ("skipped", "passed", "failed")
    found: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        name = "::".join([case.get("classname", "").removeprefix("t.integration."), case.get("name", "")])
        tags = {child.tag for child in case}
        outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        found[name] = max(found.get(name, outcome), outcome, key=worst.index)
    return found


def run_all(runs: Sequence[Run]) -> dict[str, Outcomes]:
    """The outcomes by kind of runs that are made at the same time."""
    found: dict[str, Outcomes] = {kind: {} for kind in KINDS}
    with ThreadPoolExecutor(max(1, len(runs))) as pool:
        for (kind, _, _), outcomes in zip(runs, pool.map(lambda each: run(*each), runs), strict=True):
            found[kind].update(outcomes)
    return found


def retries(found: Mapping[str, Outcomes], attempt: int) -> list[Run]:
    """What failed, each module with a server of its own: some look for what tests before them have left there."""
    modules: dict[tuple[str, str], list[str]] = {}
    for kind, outcomes in found.items():
        for name in (name for name, outcome in outcomes.items() if outcome == "failed"):
            where, _, test = name.partition("::")
            module, *classes = where.split(".")
            path = "::".join([f"t/integration/{module}.py", *classes, test])
            modules.setdefault((kind, module), [WORKER_STARTER]).append(path)
    return [(kind, f"again-{attempt}-{module}", tests) for (kind, module), tests in modules.items()]


def tell(found: Mapping[str, Outcomes]) -> bool:
    """Print the comparison; whether only those tests differ that are listed."""
    names = sorted({name for outcomes in found.values() for name in outcomes})
    ends = {name: [found[kind].get(name, "not run") for kind in KINDS] for name in names}
    differ = [name for name in names if len(set(ends[name])) > 1]
    for kind in KINDS:
        print(f"{kind}: {json.dumps(Counter(found[kind].values()), sort_keys=True)} of {len(found[kind])}")
        for name in names:
            if found[kind].get(name) == "failed":
                print(f"  failed: {name}")
    for name in differ:
        stock, ours = ends[name]
        print(f"differs: {name}: stock {stock}, ours {ours}. {DIFFERENT.get(name, 'NOT LISTED')}")
    for name in sorted(DIFFERENT.keys() - set(differ)):
        # Some fail with stock Celery, too, on a busy machine.
        print(f"listed, and does not differ this time: {name}")
    return set(differ) <= set(DIFFERENT) and all(found.values())


def main() -> int:
    """0 when what differs is what is listed."""
    started = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ".gitignore").write_text("*", encoding="utf-8")
    unpack(FOLDER)
    parts = {name: [f"t/integration/test_{each}" for each in part] for name, part in PARTS.items()}
    found = run_all([(kind, name, tests) for kind in KINDS for name, tests in parts.items()])
    for attempt in range(1, TRIES):
        for kind, outcomes in run_all(retries(found, attempt)).items():
            found[kind].update({name: outcome for name, outcome in outcomes.items() if outcome == "passed"})
    as_listed = tell(found)
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if as_listed else 1


if __name__ == "__main__":
    sys.exit(main())
