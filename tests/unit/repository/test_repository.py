"""Settings in documents, lock files, the built packages, and the policy that the tests themselves are under."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from pydantic import BaseModel

from producers import __version__
from tests.support.ci_scripts import ci_script
from worker.account_settings import AccountSettings
from worker.observability import catalogue
from worker.settings import VenueSettings, VenuesSettings, WorkerSettings, load
from worker.webhook_settings import WebhookSettings

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
LOCKS = ("requirements.lock", "requirements-demo.lock", "requirements-ccxt.lock", "requirements-worker.lock")
ALL_LOCKS = (*LOCKS, "requirements-lowest.lock")
NOT_IN_MODELS = {
    *("ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR", "ORDERS_PROFILE", "ORDERS_CI_OTHER_PYTHONS"),
    *("ORDERS_TEST_SERVER", "ORDERS_TEST_NODES", "ORDERS_TEST_WORKER_IMAGE", "ORDERS_TEST_SERVER_IMAGE"),
}


# -- settings ----------------------------------------------------------------------------------------------------------


def models_settings(model: type[BaseModel] = WorkerSettings, prefix: str = "ORDERS_") -> Iterator[tuple[str, Any]]:
    """Every setting of the models as environment-variable name and default."""
    for name, field in model.model_fields.items():
        inner = next((a for a in (field.annotation, *get_args(field.annotation)) if is_model(a)), None)
        if inner is AccountSettings:
            yield from models_settings(inner, f"{prefix}{name.upper()}__<ALIAS>__")
        elif inner is WebhookSettings:
            yield from models_settings(inner, f"{prefix}{name.upper()}__<NAME>__")
        elif inner is VenuesSettings:
            yield from models_settings(VenueSettings, f"{prefix}{name.upper()}__<VENUE>__")
        elif inner:
            yield from models_settings(inner, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), field.default


def is_model(annotation: object) -> bool:
    """Whether an annotation is a group of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def documented() -> dict[str, str]:
    """The default in words by setting, from the tables of docs/settings.md."""
    return dict(re.findall(r"^\| `(ORDERS_[A-Z_<>]+)` \| ([^|]+?) \|", SETTINGS, re.MULTILINE))


@pytest.mark.parametrize(("name", "default"), list(models_settings()))
def test_a_setting_is_documented_with_its_default(name: str, default: Any) -> None:
    """Otherwise nobody would find the setting, or the documented default would be wrong."""
    words = documented()[name]
    if isinstance(default, bool):
        assert words == f"`{str(default).lower()}`"
    elif isinstance(default, int | float) or (isinstance(default, str) and default):
        assert words == f"`{default}`"


def test_nothing_is_documented_that_does_not_exist() -> None:
    """A setting that was renamed or removed must not stay in the documentation."""
    assert set(documented()) == {name for name, _ in models_settings()} | NOT_IN_MODELS


def test_variables_that_the_code_reads_itself_are_documented() -> None:
    """These settings are not part of the models."""
    sources = [p.read_text(encoding="utf-8") for d in ("producers", "worker") for p in (ROOT / d).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"""environ(?:\.get\(|\[)["'](ORDERS_\w+)""", text)}
    assert "ORDERS_CONFIG_FILE" in read
    assert read <= set(documented())


def example(language: str, number: int = 0) -> str:
    """A code block of docs/settings.md."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", SETTINGS, re.MULTILINE | re.DOTALL)
    return blocks[number]


def test_the_four_forms_of_the_example_say_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every example of docs/settings.md yields the same settings, in each of its forms."""
    for name in [name for name in os.environ if name.upper().startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    found = []
    with monkeypatch.context() as context:
        for line in example("sh").splitlines():
            context.setenv(*line.split("=", 1))
        found.append(load())
    for number in (0, 1):
        file = tmp_path / f"{number}.toml"
        file.write_text(example("toml", number), encoding="utf-8")
        with monkeypatch.context() as context:
            context.setenv("ORDERS_CONFIG_FILE", str(file))
            found.append(load())
    folder = tmp_path / "secrets"
    folder.mkdir()
    for line in example("text").splitlines():
        path, value = line.split()
        (folder / Path(path).name).write_text(value + "\n", encoding="utf-8")
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(folder))
    found.append(load())

    first = found[0]
    assert all(settings == first for settings in found[1:])
    assert {alias: account.venue for alias, account in first.accounts.items()} == {
        "main": "everstrike",
        "archive": "bitz",
    }
    assert first.accounts["main"].secret_key.get_secret_value() == "secret-of-main"
    assert first.retry.attempts == 3
    assert first.broker_url.startswith("rediss://:a-password@redis.internal:6380/0?")


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_every_metric_is_documented_as_it_is() -> None:
    """With its name, type and labels; and no metric that does not exist."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(orders_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", page, re.MULTILINE)
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(rows) == len(documented)
    assert documented == {(m.name, m.kind, m.labels) for m in (*catalogue.EVENTS, *catalogue.STATE, *catalogue.ARCHIVE)}


# -- lock files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    """``.ci/lock.py`` as a module."""
    return ci_script("lock")


@pytest.fixture
def project(lock: ModuleType) -> dict[str, Any]:
    """What the lock files are compiled from, to be changed at will."""
    found: dict[str, Any] = lock.read_project()
    return found


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_a_lock_file_names_no_index(name: str) -> None:
    """It must not contain addresses of the machine that compiled it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    plain = re.compile(r" *#.*|[a-z0-9._-]+==[^ ]+( ; .+)? \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in text.splitlines() if not plain.fullmatch(line)] == []


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_every_pin_is_hashed(name: str) -> None:
    """So that no package is installed with other contents than those that were tested."""
    pins = re.split(r"^(?=\S+==)", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(pins) > 30
    assert [pin.split()[0] for pin in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}", pin)] == []


def test_lock_files_are_current_and_agree(lock: ModuleType) -> None:
    """They match the dependencies, and the demo and the image use the versions that are tested."""
    assert lock.main(["--check"]) == 0
    tested, *used = (set(lock.PINNED.findall((ROOT / name).read_text(encoding="utf-8"))) for name in LOCKS)
    assert all(pins <= tested for pins in used)


def test_a_changed_dependency_makes_the_locks_stale(lock: ModuleType, project: dict[str, Any]) -> None:
    """The check itself: a base dependency is in every lock file, a developer's in one."""
    changed = copy.deepcopy(project)
    changed["project"]["dependencies"][0] = "celery>=99"
    assert [bool(lock.stale(ROOT / name, changed, extra)) for name, extra in lock.COMPILED.items()] == [True] * 5
    changed = copy.deepcopy(project)
    changed["project"]["optional-dependencies"]["dev"].append("another-linter")
    assert [bool(lock.stale(ROOT / name, changed, extra)) for name, extra in lock.COMPILED.items()] == [
        *(True, False, False, False, True)
    ]


def test_the_lowest_versions_are_those_that_pyproject_names(lock: ModuleType, project: dict[str, Any]) -> None:
    """A bound that nothing is tested with is a guess; so is none."""
    text = (ROOT / lock.LOWEST).read_text(encoding="utf-8")
    pinned = {name: Version(version) for name, version in lock.PINNED.findall(text)}
    for requirement in map(Requirement, lock.named(project["project"], "dev")):
        lowest = [Version(bound.version) for bound in requirement.specifier if bound.operator in (">=", "==")]
        assert [pinned[requirement.name]] == lowest, requirement


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_our_own_distributions_are_in_no_lock_file(lock: ModuleType, name: str) -> None:
    """No index has them: an installation from the lock file would fail, or take a stranger's."""
    assert not {package for package, _ in lock.PINNED.findall((ROOT / name).read_text())} & set(lock.OWN)


def test_both_distributions_are_built_alike(lock: ModuleType) -> None:
    """The locks hold the build requirements and the Python versions of one of them for both."""
    root, producers = (tomllib.loads((ROOT / name).read_text(encoding="utf-8")) for name in lock.PROJECTS)
    assert root["build-system"] == producers["build-system"]
    assert root["project"]["requires-python"] == producers["project"]["requires-python"]


def test_a_pin_outside_its_bounds_is_told(lock: ModuleType, project: dict[str, Any]) -> None:
    """A lock file edited by hand."""
    text = (ROOT / LOCKS[0]).read_text(encoding="utf-8")
    assert lock.violated(text, project, "dev") == []
    edited = re.sub(r"^celery==\S+", "celery==4.0.0", text, flags=re.MULTILINE)
    assert [problem.split(",")[0] for problem in lock.violated(edited, project, "dev")] == ["celery is pinned to 4.0.0"]


# -- the packages ------------------------------------------------------------------------------------------------------


def test_the_licence_is_there() -> None:
    """Without a licence nobody may use the project."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n")
    assert "the order-execution-worker authors" in text


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by the package that they carry, built from a copy: stale build results would get into them."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("producers", "worker", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    built = {}
    for package, folder in (("producers", source / "producers"), ("worker", source)):
        out = source / "dist" / package
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (built[package],) = out.glob("*.whl")
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    """What a wheel holds, by path."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata_of(wheel: Path) -> Message:
    """Name, version and requirements of a distribution."""
    (text,) = (data for name, data in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(text)


@pytest.mark.parametrize(
    "name",
    [
        *("producers/py.typed", "worker/py.typed", "producers/client.py"),
        *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "worker").rglob("*.lua")),
    ],
)
def test_a_wheel_holds_what_is_not_code(wheels: dict[str, Path], name: str) -> None:
    """A package that works from the source tree alone."""
    assert contents(wheels[name.split("/")[0]])[name] == (ROOT / name).read_bytes()


@pytest.mark.parametrize("package", ["producers", "worker"])
def test_a_wheel_holds_its_package_the_licence_and_nothing_else(wheels: dict[str, Path], package: str) -> None:
    """A module that was forgotten; tests; or, with the producers, anything that signs."""
    names = contents(wheels[package]).keys()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {package}


def test_the_wheel_of_the_producers_holds_the_schemas(wheels: dict[str, Path]) -> None:
    """They are part of the contract."""
    schemas = {path.relative_to(ROOT).as_posix() for path in (ROOT / "producers" / "schemas").glob("*.json")}
    assert len(schemas) == 8
    assert schemas <= contents(wheels["producers"]).keys()


def test_the_worker_requires_the_producers_of_its_own_version(wheels: dict[str, Path]) -> None:
    """Two versions beside each other: a worker that does not understand what is enqueued."""
    producers, worker = (metadata_of(wheels[name]) for name in ("producers", "worker"))
    assert producers["Version"] == worker["Version"] == __version__
    own, *_ = worker.get_all("Requires-Dist", [])
    assert own == f"{producers['Name']}=={__version__}"
    assert producers.get_all("Provides-Extra") == ["signing"]


USE_PRODUCERS = """
import sys
sys.path[:0] = [sys.argv[1]]
sys.modules["worker"] = sys.modules["cryptography"] = None  # as where they are not installed
import producers
assert producers.__file__.startswith(sys.argv[1]), producers.__file__
print(producers.Close(account="main", pair="USD_BTC_PERP").fingerprint)
from producers.cli.app import main
main(["demo"])
"""


def test_the_producers_wheel_works_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    """A command is made, and what needs the worker says what to install."""
    with zipfile.ZipFile(wheels["producers"]) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-c", USE_PRODUCERS, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stdout.strip()) == 64
    assert "pip install ./producers '.[demo]'" in done.stderr


IMPORT_ALL = """
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
import producers
for module in pkgutil.walk_packages(producers.__path__, "producers."):
    importlib.import_module(module.name)
    print(module.name)
"""


def import_all_without(blocked: set[str]) -> subprocess.CompletedProcess[str]:
    """Import every module of producers where these packages are not installed."""
    program = IMPORT_ALL.replace("{blocked}", repr(blocked))
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_producers_need_their_own_dependencies_alone(project: dict[str, Any]) -> None:
    """A service that enqueues commands would have to install an HTTP client, or the worker."""
    extras = project["project"]["optional-dependencies"]
    others = {re.split(r"[\[<>=]", r)[0] for extra in ("worker", "demo") for r in extras[extra]}
    done = import_all_without({*others, "worker"} - {"order-execution-worker"})
    assert done.returncode == 0, done.stderr
    assert {"producers.client", "producers.settings", "producers.report"} <= set(done.stdout.split())


def test_the_import_check_notices_a_missing_dependency() -> None:
    """The check itself: without Celery the client can't be imported."""
    done = import_all_without({"celery"})
    assert done.returncode != 0
    assert "No module named 'celery'" in done.stderr


# -- the tests' own policy ---------------------------------------------------------------------------------------------


def run_with_policy(tmp_path: Path, test: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one test under a copy of this project's conftest.py."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = integration: x\n", encoding="utf-8")
    path = tmp_path / "integration" / "test_it.py"
    path.parent.mkdir()
    path.write_text(test, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    return subprocess.run(
        command, env={**inherited, **environ}, cwd=tmp_path, capture_output=True, text=True, check=False
    )


NEEDS = "def test_it(require_service):\n    require_service('the moon', available=False)\n"


def test_a_missing_service_skips_on_a_laptop(tmp_path: Path) -> None:
    """So that the other tests run without installing every service."""
    done = run_with_policy(tmp_path, NEEDS)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "the moon is missing" in done.stdout


def test_a_missing_service_fails_in_ci(tmp_path: Path) -> None:
    """A test that is skipped in CI would never run."""
    done = run_with_policy(tmp_path, NEEDS, CI="true")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


LEAVES = "import subprocess\ndef test_it():\n    {}\n"


@pytest.mark.parametrize(
    "how",
    [
        "subprocess.Popen(['sleep', '61.25'])",
        # An orphan: its parent, the shell, is gone.
        "subprocess.run('sleep 61.25 >/dev/null 2>&1 &', shell=True)",
    ],
)
def test_a_process_left_behind_fails_the_run_and_is_ended(tmp_path: Path, how: str) -> None:
    """Servers and workers left over by tests hold ports, and make other runs fail."""
    done = run_with_policy(tmp_path, LEAVES.format(how))
    assert done.returncode == 1, done.stdout
    left = re.search(r"left processes behind:\s+(?:E\s+)?(\d+) sleep 61.25", done.stdout)
    assert left, done.stdout
    assert not is_running(int(left[1]))


def test_the_folder_makes_the_mark(tmp_path: Path) -> None:
    """The fast part stays fast whatever a file in integration/ forgot."""
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "test_fast.py").write_text("def test_fast():\n    pass\n", encoding="utf-8")
    done = run_with_policy(tmp_path, "def test_slow():\n    pass\n", PYTEST_ADDOPTS='-m "not integration"')
    assert "1 passed, 1 deselected" in done.stdout
