"""Run Celery's own integration tests twice, over stock Celery and over our transport and result backend, and compare.

Celery's source distribution of the installed version is downloaded by pip; each of the two has an embedded server of
its own. A test counts as passed when one of three tries passes; Celery's suite allows more. What ends
in another way than with stock Celery must be in `DIFFERENT`.
"""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.servers import Server

FOLDER = Path(__file__).resolve().parents[2] / ".artefacts" / "celery-suite"
KINDS = ("stock", "ours")
TEST_SECONDS = 300
"""As in Celery's own: some wait for more than a minute to see that nothing happens."""
SUITE_SECONDS = 1200
TRIES = 3
PARTS = {
    "chord": ("canvas.py::test_chord",),
    "chain": ("canvas.py::test_chain",),
    "canvas": tuple(
        f"canvas.py::test_{name}"
        for name in (
            "link_error",
            "result_set",
            "group",
            "xmap_xstarmap",
            "signature_serialization",
            "stamping_mechanism",
        )
    ),
    "others": ("group_chains.py", "inspect.py", "redis_backend.py", "tasks.py"),
}
"""What of ``t/integration`` is run, at the same time and each part with its own server: half of its time is waiting."""
FIRST = "t/integration/test_tasks.py::test_tasks::test_basic_task"
"""It starts the worker, which some tests expect to be there."""
LEFT_OUT = {
    "backend": "needs Azure's blob storage",
    "cache_backend, database_backend, security, upgrade": "nothing of ours is in them, and they need further packages",
    "connection_recovery": "needs RabbitMQ",
    "serialization, worker": "start Celery's programs, in which nothing is ours",
    "beat, loader, logfile_format, request_backend_down": "neither transport nor result backend is what they are about",
    "backend_leak…, events_state_memory_leak, mem_leak…": "measure Celery's own memory",
}
"""Those that are not, and why."""

CASES, STATES, VERBS = ("0-1", "0-2", "2-1", "2-2"), ("STARTED", "PROGRESS"), ("get", "forget")
PURGE = "it purges the queue to be sure that it is idle: a queue is not purged here, for that would drop commands"
REVOKED = "a revocation is stored as the result of an id alone, which may be a command's"
ASKED = "a result is subscribed to when somebody asks for it: nobody asks for what follows a command"
DIFFERENT = {
    **{
        f"test_group_chains.test_group_chains::test_pending_chord_keeps_header_errback[{case}]": PURGE for case in CASES
    },
    "test_tasks.test_tasks::test_revoked_by_headers_complex_canvas": PURGE,
    **{
        f"test_tasks.test_tasks::test_revoke_keeps_state_of_task_started_elsewhere[{state}]": REVOKED
        for state in STATES
    },
    **{
        f"test_tasks.test_task_redis_result_backend::test_asyncresult_{verb}_cancels_subscription": ASKED
        for verb in VERBS
    },
}
"""Tests that end in another way than with stock Celery, and why that is meant."""

PYTEST_INI = "[pytest]\npython_classes = test_*\nmarkers =\n  flaky: Celery's suite tries these again\n"
OURS = """
from celery.app.backends import BACKEND_ALIASES
from kombu.transport import TRANSPORT_ALIASES

BACKEND_ALIASES["redis"] = "worker.celery_app.results:ReportBackend"
TRANSPORT_ALIASES["redis"] = "worker.broker.transport:Transport"
"""

Ends = dict[str, str]
"""Test id (`module::class::name`) to passed, failed or skipped."""


def unpack(folder: Path) -> None:
    """Celery's tests, of the installed version, for each kind."""
    wanted = f"celery=={version('celery')}"
    download = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*download, "--no-deps", "--no-binary", "celery", "-d", str(folder), wanted], check=True)
    (archive,) = folder.glob(f"celery-{version('celery')}.tar.gz")
    for kind in KINDS:
        with tarfile.open(archive) as packed:
            tests = [each for each in packed.getmembers() if "/t/" in each.name and each.isfile()]
            for each in tests:
                each.name = each.name.split("/", 1)[1]
            packed.extractall(folder / kind, tests, filter="data")
        (folder / kind / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
    (folder / "ours" / "conftest.py").write_text(OURS, encoding="utf-8")


def run(kind: str, name: str, tests: Sequence[str]) -> Ends:
    """How these end; those that a run which is out of time has not come to are missing."""
    folder = FOLDER / kind
    told = folder / f"{name}.xml"
    told.unlink(missing_ok=True)
    server = Server().start()
    environment = {**os.environ, "TEST_BROKER": server.url(0), "TEST_BACKEND": server.url(0)}
    environment |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
    options = ["-v", "--timeout", str(TEST_SECONDS), f"--session-timeout={SUITE_SECONDS}", f"--junitxml={told}"]
    options += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist"]
    try:
        with (folder / f"{name}.log").open("wb") as log:
            subprocess.run(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                timeout=SUITE_SECONDS + TEST_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        print(f"{kind}, {name}: does not end", flush=True)
    finally:
        server.kill()
    return ends_in(told) if told.exists() else {}


def ends_in(told: Path) -> Ends:
    """The ends in pytest's report; of a test's sub-tests, and its tearing down, the worst."""
    worst = ("skipped", "passed", "failed")
    found: Ends = {}
    for case in ET.parse(told).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        module, _, group = case.get("classname", "").partition(".test_")
        name = "::".join([f"{module}.test_{group}".replace("t.integration.", ""), case.get("name", "")])
        kinds = {child.tag for child in case}
        end = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[name] = max(found.get(name, end), end, key=worst.index)
    return found


def run_all(runs: Sequence[tuple[str, str, Sequence[str]]]) -> dict[str, Ends]:
    """All at the same time: kind, a name of the run, its tests."""
    with ThreadPoolExecutor(max_workers=len(runs)) as pool:
        made = [(kind, pool.submit(run, kind, name, tests)) for kind, name, tests in runs]
    found: dict[str, Ends] = {kind: {} for kind in KINDS}
    for kind, ran in made:
        found[kind].update(ran.result())
    return found


def path_of(name: str) -> str:
    """A test as pytest is asked for it."""
    where, _, test = name.partition("::")
    module, *classes = where.split(".")
    return "::".join([f"t/integration/{module}.py", *classes, test])


def compare(found: dict[str, Ends]) -> list[str]:
    """Tests that end differently."""
    names = sorted({name for ends in found.values() for name in ends})
    return [name for name in names if len({found[kind].get(name, "not run") for kind in KINDS}) > 1]


def main() -> int:
    """0 when what differs is what is listed."""
    started = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ".gitignore").write_text("*", encoding="utf-8")
    unpack(FOLDER)
    parts = [(name, [f"t/integration/test_{each}" for each in part]) for name, part in PARTS.items()]
    found = run_all([(kind, name, tests) for kind in KINDS for name, tests in parts])
    for number in range(1, TRIES):
        # Each module with a server of its own: some look for what tests before them have left there.
        failed = [(kind, path_of(name)) for kind in KINDS for name, end in found[kind].items() if end == "failed"]
        modules = sorted({(kind, path.partition("::")[0]) for kind, path in failed})
        again = [
            (
                kind,
                f"again-{number}-{Path(module).stem}",
                [FIRST, *(path for of, path in failed if of == kind and path.startswith(module))],
            )
            for kind, module in modules
        ]
        for kind, ends in run_all(again).items() if again else ():
            found[kind].update({name: end for name, end in ends.items() if end == "passed"})
    differ = compare(found)
    for kind in KINDS:
        counted = Counter(found[kind].values())
        print(f"{kind}: {json.dumps(dict(sorted(counted.items())))} of {len(found[kind])}")
        for name in sorted(name for name, end in found[kind].items() if end == "failed"):
            print(f"  failed: {name}")
    for name in differ:
        ends = ", ".join(f"{kind} {found[kind].get(name, 'not run')}" for kind in KINDS)
        print(f"differs: {name}: {ends}. {DIFFERENT.get(name, 'NOT LISTED')}")
    for name in sorted(DIFFERENT.keys() - set(differ)):
        # Some fail with stock Celery, too, on a machine that is busy.
        print(f"listed, and does not differ this time: {name}")
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if set(differ) <= set(DIFFERENT) and all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
